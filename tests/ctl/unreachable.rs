//! A daemon that lives and cannot be reached: its socket is gone from its path, or the process does not answer.

use std::fs;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Said, World, until};

/// The longest that a command which only reads may take, whatever the daemon does.
const READ_BOUND: Duration = Duration::from_secs(3);

/// Commands that read, one of each kind. All stand in a worktree of the repository.
const READS: &[&[&str]] = &[
    &["list"],
    &["list", "--alive-only"],
    &["thread", "list"],
    &["thread", "show", "x"],
    &["status"],
    &["show"],
    &["log"],
    &["watch"],
    &["validate"],
    &["daemon", "status"],
];

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("signalled");
}

/// The daemon of a world, suspended for as long as this lives.
struct Suspended(i32);

impl Suspended {
    fn new(world: &World) -> Self {
        let pid = world.recorded_daemon().expect("a daemon");
        signal(pid, Signal::SIGSTOP);
        Self(pid)
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        kill(Pid::from_raw(self.0), Signal::SIGCONT).ok();
    }
}

/// Runs a command that must end within `bound`.
#[track_caller]
fn run_within(world: &World, arguments: &[&str], bound: Duration) -> Said {
    world.run_within(arguments, bound)
}

#[test]
fn a_socket_that_was_removed_is_bound_again_and_every_command_works() {
    let world = World::with_daemon();
    let held = world.reserve("x");
    let pid = world.recorded_daemon();
    // A logout removes the directory with everything in it; a cleaner of temporary files removes the socket alone.
    for is_directory in [true, false] {
        if is_directory {
            fs::remove_dir_all(world.path("run/heddle")).expect("removed");
        } else {
            fs::remove_file(world.socket()).expect("removed");
        }
        let said = world.run(&["daemon", "status"]);
        assert_eq!(said.code, Some(0), "{said}");
        let said = world.run(&["list"]);
        assert!(said.code == Some(0) && said.stdout.contains(&held), "the session is still there: {said}");
        let said = world.run(&["daemon", "start"]);
        assert!(said.code == Some(0) && said.stdout.contains("is running already"), "{said}");
        assert_eq!(world.recorded_daemon(), pid, "it is the same daemon");
    }
    assert_eq!(world.run(&["daemon", "stop"]).code, Some(0));
    assert!(!world.socket().exists(), "the socket that was bound again goes with the daemon");
}

#[test]
fn a_socket_of_another_listener_is_left_alone_and_the_daemon_can_still_be_stopped() {
    let mut world = World::with_daemon();
    let pid = world.recorded_daemon().expect("a daemon");
    fs::remove_file(world.socket()).expect("removed");
    // Bound by another process at once, so that the daemon finds it in its place.
    let other = UnixListener::bind(world.socket()).expect("bound");
    until("the daemon says so", || world.daemon_log().contains("cannot be bound again"));
    other.set_nonblocking(true).expect("set");
    while other.accept().is_ok() {}
    drop(other);
    // A dead socket is replaced.
    until("the daemon answers again", || world.run(&["daemon", "status"]).code == Some(0));

    // Where the socket cannot be made at all, `stop` signals the process that holds the lock.
    fs::remove_dir_all(world.path("run/heddle")).expect("removed");
    fs::write(world.path("run/heddle"), "in the way").expect("written");
    let status = world.run(&["daemon", "status"]);
    assert_eq!(status.code, Some(69), "{status}");
    assert!(status.stderr.contains(&format!("running as pid {pid}")), "{status}");
    assert!(status.stderr.contains("heddlectl daemon stop"), "the command that helps is named: {status}");
    let start = world.run(&["daemon", "start"]);
    assert!(start.stderr.contains(&format!("running as pid {pid}")), "`start` says the same: {start}");
    assert_eq!(start.code, Some(69), "{start}");
    let stop = world.run(&["daemon", "stop"]);
    assert!(stop.code == Some(0) && stop.stdout.contains(&format!("was stopped: pid {pid}")), "{stop}");
    until("it has ended", || world.is_daemon_gone());
}

#[test]
fn a_command_that_reads_ends_within_3_s_when_the_daemon_hangs() {
    let world = World::with_daemon();
    let held = world.reserve("x");
    let suspended = Suspended::new(&world);
    for arguments in READS {
        let said = run_within(&world, arguments, READ_BOUND);
        assert_eq!(said.code, Some(69), "{arguments:?}: {said}");
        assert!(said.stderr.contains("did not answer"), "{arguments:?}: {said}");
        assert!(said.stderr.contains(&format!("kill -CONT {}", suspended.0)), "{arguments:?}: {said}");
    }
    let said = run_within(&world, &["validate", "--hook", "--session", &held], READ_BOUND);
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "a hook is refused: {said}");
    assert!(said.stderr.contains("did not answer"), "and told why: {said}");
    let stop = run_within(&world, &["daemon", "stop"], READ_BOUND);
    assert!(stop.code == Some(69) && stop.stderr.contains("kill -CONT"), "{stop}");
    drop(suspended);
    assert_eq!(world.run(&["list"]).code, Some(0));
}

#[test]
fn a_command_that_reads_ends_within_3_s_when_the_queue_of_the_socket_is_full() {
    let world = World::with_daemon();
    let _suspended = Suspended::new(&world);
    let mut waiting = Vec::new();
    while let Ok(stream) = world.connect_without_waiting() {
        waiting.push(stream);
    }
    let said = run_within(&world, &["list"], READ_BOUND);
    assert!(said.code == Some(69) && said.stderr.contains("queue is full"), "{said}");
    let said = run_within(&world, &["validate", "--hook"], READ_BOUND);
    assert_eq!(said.code, Some(2), "{said}");
}

#[test]
fn a_command_that_changes_something_says_what_it_waits_for() {
    let world = World::with_daemon();
    let held = world.reserve("x");
    let suspended = Suspended::new(&world);
    let arguments = ["release", "--session", &held, "--timeout", "30s"];
    let mut releasing = world.begin(&arguments);
    let line = releasing.line_of_stderr();
    assert!(line.contains("waiting up to 30 s for the daemon to answer agent."), "{line}");
    drop(suspended);
    let said = releasing.ended();
    assert_eq!(said.code, Some(0), "it waited for its answer: {said}");
}

#[test]
fn doctor_ends_in_time_and_fails_where_it_cannot_look() {
    let world = World::with_daemon();
    let suspended = Suspended::new(&world);
    let said = run_within(&world, &["doctor"], READ_BOUND);
    assert!(said.code == Some(1) && said.stdout.contains("kill -CONT"), "{said}");
    drop(suspended);

    // Whoever can write a folder above can put anything under the name that is looked for.
    fs::create_dir(world.path("trap")).expect("made");
    nix::unistd::mkfifo(&world.path("trap/.git"), nix::sys::stat::Mode::S_IRWXU).expect("made");
    let trap = world.path("trap");
    let trap = trap.to_str().expect("text");
    let said = run_within(&world, &["doctor", "--repo", trap], READ_BOUND);
    assert!(said.code == Some(1) && said.stdout.contains("not a regular file"), "{said}");
    let said = run_within(&world, &["show", "--repo", trap], READ_BOUND);
    assert_eq!(said.code, Some(2), "there is no worktree: {said}");
    let said = run_within(&world, &["validate", "--hook", "--repo", trap], READ_BOUND);
    assert_eq!(said.code, Some(2), "{said}");
}

#[test]
fn a_daemon_that_is_full_is_shown_explained_and_stopped() {
    let mut world = World::new();
    fs::create_dir_all(world.path("home/.config/heddle")).expect("made");
    fs::write(world.path("home/.config/heddle/heddled.toml"), "[limits]\nconnections = 3\n").expect("written");
    world.start_daemon();
    let mut open = Vec::new();
    until("it is full", || {
        open.push(world.connect_without_waiting().expect("connected"));
        world.run(&["list"]).code == Some(75)
    });
    let said = world.run(&["daemon", "status"]);
    assert!(said.code == Some(0) && said.stdout.contains("3 connections"), "{said}");
    let said = world.run(&["doctor"]);
    assert!(said.code == Some(1) && said.stdout.contains("3 of 3 connections are open"), "{said}");
    let said = world.run(&["daemon", "stop"]);
    assert!(said.code == Some(0) && said.stdout.contains("was stopped"), "{said}");
    until("it has ended", || world.is_daemon_gone());
}
