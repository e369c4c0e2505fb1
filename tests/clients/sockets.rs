//! Where a client looks for its daemon, and what it does not trust.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use serde_json::json;

use crate::fake::Fake;
use crate::puppet::Puppet;
use crate::support::{Actor, Place, role, say};
use crate::tools::{Language, in_both_languages};

/// `$HEDDLE_SOCKET`, the runtime directory, the temporary directory, and at last what the lock file says.
fn the_socket_is_found_where_the_daemon_listens(language: Language) {
    let place = Place::new();
    let daemon = place.start();
    let uid = nix::unistd::geteuid();
    let (runtime, temporary) = (place.root.join("run"), place.root.join("tmp"));
    let link = |path: std::path::PathBuf| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::set_permissions(path.parent().unwrap(), std::fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(daemon.socket(), path).unwrap();
    };
    link(runtime.join("heddle/heddled.sock"));
    link(temporary.join(format!("heddle-{uid}/heddled.sock")));
    let nowhere = place.root.join("nowhere");
    for (name, value) in [
        ("HEDDLE_SOCKET", daemon.socket()),
        ("XDG_RUNTIME_DIR", runtime),
        ("TMPDIR", temporary),
        ("HEDDLE_STATE_DIR", place.state()),
    ] {
        let Some(mut command) = language.command("tests/puppet") else { return };
        let mut puppet = Puppet::launch(command.env("HOME", &nowhere).env("TMPDIR", &nowhere).env(name, value));
        puppet.told("connected");
        let info = puppet.ok(json!({"do": "call", "method": "daemon.info", "params": {}}));
        assert_eq!(info["pid"], daemon.pid(), "{name}");
    }
    let Some(mut command) = language.command("tests/puppet") else { return };
    let mut puppet = Puppet::launch(command.env("HOME", &nowhere).env("TMPDIR", &nowhere));
    let told = puppet.told("not connected");
    assert_eq!(told["error"], "Unreachable");
    assert!(told["text"].as_str().unwrap().contains("heddlectl daemon start"), "{told}");
}

/// Nothing is sent to a socket that somebody else may have put there.
fn a_directory_that_others_write_into_is_not_trusted(language: Language) {
    let place = Place::new();
    let refuses = |path: &std::path::Path| {
        let mut command = language.command("tests/puppet")?;
        let mut puppet = Puppet::launch(command.env("HEDDLE_SOCKET", path));
        assert_eq!(puppet.told("not connected")["error"], "Unsafe");
        Some(())
    };
    let directory = place.root.join("shared");
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o1777)).unwrap();
    let listener = UnixListener::bind(directory.join("s")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let Some(()) = refuses(&directory.join("s")) else { return };
    assert!(listener.accept().is_err(), "nobody has connected");
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)).unwrap();
    if nix::unistd::geteuid().is_root() {
        nix::unistd::chown(&directory, Some(nix::unistd::Uid::from_raw(12345)), None).unwrap();
        refuses(&directory.join("s"));
        assert!(listener.accept().is_err(), "nobody has connected");
    }
}

/// Python asks the system who listens; Node cannot, and trusts the socket's owner. Run again as the role, this test is a
/// daemon of another user, in a directory of ours.
#[test]
fn a_daemon_of_another_user_is_not_trusted() {
    if role().is_some() {
        let path = std::env::var("HEDDLE_SOCKET").unwrap();
        let stream = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap();
        bind(stream.as_raw_fd(), &UnixAddr::new(path.as_str()).unwrap()).unwrap();
        // The system keeps who called `listen`.
        nix::unistd::seteuid(nix::unistd::Uid::from_raw(12345)).unwrap();
        listen(&stream, Backlog::new(5).unwrap()).unwrap();
        say("LISTENING");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        writeln!(std::io::stdout(), "clients: not run here: only root may be somebody else").unwrap();
        return;
    }
    let directory = Fake::directory();
    let socket = directory.path().join("d.sock");
    let mut other = Actor::start("sockets::a_daemon_of_another_user_is_not_trusted", "other", &socket);
    other.hear("LISTENING");
    let Some(mut command) = Language::Python.command("tests/puppet") else { return };
    let told = Puppet::launch(command.env("HEDDLE_SOCKET", &socket)).told("not connected");
    assert_eq!(told["error"], "Unsafe");
    assert!(told["text"].as_str().unwrap().contains("runs as user 12345"), "{told}");
}

in_both_languages!(the_socket_is_found_where_the_daemon_listens, a_directory_that_others_write_into_is_not_trusted);
