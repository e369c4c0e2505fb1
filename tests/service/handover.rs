//! From one daemon to the next on a socket that neither of them owns.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::activator::Activator;
use crate::support::{Client, eventually, within};

#[test]
fn who_comes_before_the_daemon_waits_for_it() {
    let activator = Activator::new();
    let mut early = Client::connect(&activator.place.socket());
    let call = early.start("daemon.info", &json!({}));
    let daemon = activator.start();
    let answer = early.receive();
    assert_eq!((&answer["id"], &answer["result"]["pid"]), (&json!(call), &json!(daemon.pid())));
}

#[test]
fn the_socket_and_the_sessions_outlive_the_daemon() {
    let activator = Activator::new();
    let socket = activator.place.socket();
    let inode = std::fs::metadata(&socket).unwrap().ino();
    let mut daemon = activator.start();
    let held = daemon.client().reserve(activator.place.repo("r").at(), "t");
    for how in ["stopped", "killed", "stopped"] {
        if how == "killed" {
            daemon.kill();
        } else {
            daemon.stop();
        }
        assert_eq!(std::fs::metadata(&socket).unwrap().ino(), inode, "F2: {how}, and the socket is the manager's");
        let mut waiting = Client::connect(&socket);
        waiting.start("agent.show", &json!({"session_id": held["session_id"]}));
        daemon = activator.start();
        let answer = waiting.receive();
        assert_eq!(answer["result"]["reservation"]["status"], "active", "{how}: {answer}");
    }
    daemon.stop();
}

/// A daemon that was asked by a call to stop leaves the socket as well: the next call starts another.
#[test]
fn a_shutdown_leaves_the_socket() {
    let activator = Activator::new();
    let mut daemon = activator.start();
    daemon.client().ok("daemon.shutdown", &json!({}));
    assert_eq!(daemon.ended().code(), Some(0));
    Client::connect(&activator.place.socket());
}

#[test]
fn the_next_waits_for_the_lock_and_nobody_else_does() {
    let activator = Activator::new();
    let mut first = activator.start();
    let mut second = activator.launch();
    eventually("it waits", || activator.place.log().contains("the daemon before has not ended yet").then_some(()));
    // One with a socket of its own is refused at once.
    let mut alone = activator.place.command();
    let (code, said) = activator.place.run(alone.env("HEDDLE_SOCKET", activator.place.root.join("heddle/other.sock")));
    assert_eq!(code, Some(69), "F1: {said}");
    assert!(said.contains("another heddled is running"), "{said}");
    first.client().ok("daemon.info", &json!({}));
    first.stop();
    activator.until_served_by(&second);
    // One that waits can be told to stop.
    let mut third = activator.launch();
    eventually("it waits", || (activator.place.log().matches("has not ended yet").count() == 2).then_some(()));
    third.signal(Signal::SIGTERM);
    assert_eq!(third.ended().code(), Some(69));
    second.stop();
}

/// What is handed over at another place, or open to others, is refused with the code that nobody restarts.
#[test]
fn a_socket_that_is_not_what_it_should_be_is_refused() {
    let activator = Activator::new();
    let refused = |command: &mut std::process::Command| activator.place.run(command.stdout(Stdio::null()));
    let elsewhere = activator.place.root.join("heddle/elsewhere.sock");
    let (code, said) = refused(activator.command().env("HEDDLE_SOCKET", &elsewhere));
    assert_eq!(code, Some(78), "A1: {said}");
    assert!(said.contains("elsewhere.sock") && said.contains("heddlectl service install"), "{said}");
    std::fs::set_permissions(activator.place.socket(), PermissionsExt::from_mode(0o666)).unwrap();
    let (code, said) = refused(&mut activator.command());
    assert_eq!(code, Some(77), "A1: {said}");
    assert!(said.contains("SocketMode=0600"), "{said}");
    let (code, said) = refused(activator.command().env("LISTEN_FDS", "many"));
    assert_eq!(code, Some(78), "{said}");
    assert!(activator.place.socket().exists(), "F2");
}

/// Variables that a shell in a service leaves to all that it starts are not meant for the daemon.
#[test]
fn variables_of_an_ancestor_are_ignored() {
    let activator = Activator::new();
    let other = activator.place.root.join("heddle/own.sock");
    let mut command = activator.place.command();
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1").env("HEDDLE_SOCKET", &other);
    let mut daemon = activator.place.launch(&mut command);
    eventually("it listens on its own", || Client::try_connect(&other).ok());
    daemon.stop();
    assert!(!other.exists(), "and removes what it made");
}

#[test]
fn nothing_that_the_daemon_starts_inherits_the_socket() {
    let activator = Activator::new();
    let daemon = activator.start();
    let flags = std::fs::read_to_string(format!("/proc/{}/fdinfo/3", daemon.pid())).unwrap();
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    let flags = i32::from_str_radix(flags, 8).unwrap();
    assert_eq!(flags & libc::O_CLOEXEC, libc::O_CLOEXEC, "A2");
    // Whoever started it sees no difference: what has an answer has one at once.
    within(std::time::Duration::from_secs(20), "it answers", || {
        Client::connect(&activator.place.socket()).try_call("daemon.health", &json!({})).ok()
    })
    .unwrap();
}
