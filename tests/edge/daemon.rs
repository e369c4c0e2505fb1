//! Two daemons, a killed one and its successor, and the signals.

use std::os::unix::net::UnixStream;
use std::path::Path;

use heddled::lifecycle::{Lock, LockError, LockRecord, SocketError, bind};
use nix::sys::signal::{Signal, kill};
use proto_schema::Timestamp;

use crate::support::Helper;

fn acquire(state: &Path) -> Result<Lock, LockError> {
    Lock::acquire(state, &state.join("heddle/heddled.sock"), Timestamp::from_unix_ms(1))
}

#[test]
fn a_second_daemon_is_told_who_the_first_one_is() {
    let place = tempfile::tempdir().unwrap();
    let first = Helper::start("daemon", place.path());
    let message = acquire(place.path()).unwrap_err().to_string();
    let (pid, socket) = (first.child.id(), place.path().join("heddle/heddled.sock"));
    assert_eq!(
        message,
        format!(
            "another heddled is running (pid {pid}, socket {}); stop it with `heddlectl daemon stop`",
            socket.display()
        )
    );
    UnixStream::connect(socket).unwrap();
}

#[test]
fn after_kill_9_the_successor_takes_lock_and_socket() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("heddle/heddled.sock");
    let mut first = Helper::start("daemon", place.path());
    let pid = first.child.id();
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    assert_eq!(LockRecord::read(place.path()).map(|record| record.pid), Some(pid), "what it said is still there");
    assert!(socket.exists(), "and so is its socket");

    let lock = acquire(place.path()).unwrap();
    let (_listener, guard) = bind(&lock, &socket).unwrap();
    assert_eq!(LockRecord::read(place.path()).map(|record| record.pid), Some(std::process::id()));
    UnixStream::connect(&socket).unwrap();
    drop(guard);
    assert!(!socket.exists());
}

#[test]
fn a_daemon_with_another_state_directory_does_not_take_the_socket() {
    let (place, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _first = Helper::start("daemon", place.path());
    let socket = place.path().join("heddle/heddled.sock");
    let lock = acquire(other.path()).unwrap();
    assert!(matches!(bind(&lock, &socket), Err(SocketError::InUse { .. })), "F2");
    UnixStream::connect(&socket).unwrap();
}

#[test]
fn signals_ask_to_drain_and_then_to_hurry() {
    let place = tempfile::tempdir().unwrap();
    let mut helper = Helper::start("signals", place.path());
    for ignored in [Signal::SIGHUP, Signal::SIGPIPE] {
        kill(helper.pid(), ignored).unwrap();
    }
    kill(helper.pid(), Signal::SIGTERM).unwrap();
    helper.expect("drain");
    kill(helper.pid(), Signal::SIGINT).unwrap();
    helper.expect("hurry");
    assert!(helper.child.wait().unwrap().success(), "it was not killed by any of them");
}
