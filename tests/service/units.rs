//! The files of `packaging/`, read by those who read them: systemd's own check, and a reader of property lists.

use std::path::{Path, PathBuf};
use std::process::Command;

use heddled::lifecycle::exit;

fn packaged(name: &str) -> String {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("packaging");
    std::fs::read_to_string(root.join(name)).unwrap()
}

/// The value of a setting, which is there once.
fn setting(unit: &str, name: &str) -> String {
    let values: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect();
    assert_eq!(values.len(), 1, "{name}");
    values[0].to_owned()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let service = packaged("systemd/heddled.service").replace("/usr/bin/heddled", env!("CARGO_BIN_EXE_heddled"));
    std::fs::write(folder.path().join("heddled.service"), service).unwrap();
    std::fs::write(folder.path().join("heddled.socket"), packaged("systemd/heddled.socket")).unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["--user", "verify", "--man=no"]).env("XDG_RUNTIME_DIR", folder.path()).env("HOME", folder.path());
    verify.args(["heddled.service", "heddled.socket"].map(|name| folder.path().join(name)));
    let Ok(output) = verify.output() else {
        eprintln!("skipped: there is no systemd-analyze here");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let ours: Vec<_> = said.lines().filter(|line| line.contains("heddled")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

/// The unit and the exit codes are one contract: what starting again does not mend is not started again.
#[test]
fn what_cannot_be_mended_is_not_restarted() {
    let codes = setting(&packaged("systemd/heddled.service"), "RestartPreventExitStatus");
    let codes: Vec<u8> = codes.split(' ').map(|code| code.parse().unwrap()).collect();
    assert_eq!(codes, [exit::USAGE, exit::UNAVAILABLE, exit::STORE, exit::PERMISSION, exit::CONFIG]);
    assert!(!codes.contains(&exit::INTERNAL), "a defect may be gone the next time");
}

#[test]
fn the_socket_is_the_users_alone() {
    let socket = packaged("systemd/heddled.socket");
    assert_eq!((setting(&socket, "SocketMode"), setting(&socket, "DirectoryMode")), ("0600".into(), "0700".into()));
    assert_eq!(setting(&socket, "ListenStream"), "%t/heddle/heddled.sock");
}

#[test]
fn the_property_list_is_one() {
    const READ: &str = "import plistlib, sys, json; json.dump(plistlib.load(sys.stdin.buffer), sys.stdout)";
    let list = packaged("launchd/io.github.heddled.heddled.plist");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("list");
    std::fs::write(&file, &list).unwrap();
    let input = std::fs::File::open(&file).unwrap();
    let output = Command::new("python3").args(["-c", READ]).stdin(input).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read["Label"], "io.github.heddled.heddled");
    let socket = &read["Sockets"]["Listeners"];
    assert_eq!((&socket["SockPathMode"], &socket["SockType"]), (&0o600.into(), &"stream".into()), "S1");
    assert_eq!(read["KeepAlive"]["SuccessfulExit"], false);
}
