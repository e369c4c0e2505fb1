//! `reserve --wait` and `run --wait`: what is told, who is served, and what gives a place up.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};

use crate::process;
use crate::support::{Said, World, pid, until};

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
}

/// Starts a command and waits until so many wait.
fn waits(world: &World, arguments: &[&str], places: u64) -> Child {
    let child = start(&mut world.command(arguments));
    until("it waits", || waiters(world) == places);
    child
}

fn waiters(world: &World) -> u64 {
    world.json(&["status"])["info"]["counts"]["waiters"].as_u64().expect("a number")
}

fn ended(world: &World, child: Child) -> Said {
    world.said(&process::output_of(child))
}

#[test]
fn a_reserve_that_waits_is_told_once_by_whom_it_is_held_and_gets_it_when_it_is_free() {
    let world = World::with_daemon();
    let held = world.reserve("x");
    let first = waits(&world, &["reserve", "-q", "--no-hold-for-agent", "-t", "x", "--wait", "20s"], 1);
    let second = waits(&world, &["reserve", "--no-hold-for-agent", "-t", "x", "--wait", "20s"], 2);
    world.git(&["commit", "--quiet", "--allow-empty", "--message=Next"]);
    assert_eq!(world.run(&["release", "--session", &held]).code, Some(0));
    let said = ended(&world, first);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "with -q nothing is told: {said}");
    let next = said.stdout.trim_end().to_owned();
    assert_ne!(next, held);
    assert_eq!(world.run(&["release", "--session", &next]).code, Some(0));
    let said = ended(&world, second);
    let told = format!("heddlectl: waiting for x, held by {held}; 1 other waits before you");
    let words = said.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!((said.code, words.matches("waiting for").count()), (Some(0), 1), "{said}");
    assert!(words.starts_with(&told), "{said}");
    assert!(world.token_files().iter().all(|name| !name.starts_with('.')), "each request has become a session");
}

#[test]
fn a_time_that_is_up_says_what_to_do() {
    let world = World::with_daemon();
    let held = world.reserve("x");
    let said = world.run(&["reserve", "-t", "x", "--wait", "50ms"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(75), ""), "{said}");
    for part in [
        "thread 'x' was not free in time; you were the next",
        &held,
        "next: heddlectl thread show x",
        "heddlectl reserve --thread x --wait 10m",
    ] {
        assert!(said.stderr.contains(part), "{part}: {said}");
    }
    assert_eq!(world.token_files(), [held], "who was refused leaves no token");
}

#[test]
fn ctrl_c_and_a_kill_give_the_place_up_and_nothing_is_left_running() {
    let world = World::with_daemon();
    let held = world.reserve("x");
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut waiting = waits(&world, &["run", "-t", "x", "--wait", "1h", "--", "touch", "ran"], 1);
        kill(pid(&waiting), signal).expect("signalled");
        let status = process::wait(&mut waiting);
        assert_eq!(status.signal(), Some(signal as i32), "as a shell expects it: 128 and the signal's number");
        until("its place is free", || waiters(&world) == 0);
    }
    assert_eq!(world.run(&["release", "--session", &held]).code, Some(0));
    let log = world.run(&["log"]).stdout;
    assert_eq!(log.matches("outcome=left").count(), 3, "{log}");
    assert!(!world.path("app/ran").exists(), "no command ran without its thread");
}

/// The queue is the daemon's memory: who waits asks the next one again.
#[test]
fn who_waits_goes_on_waiting_when_the_daemon_was_stopped_or_killed() {
    for (is_killed, starts_it) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::with_daemon();
        let held = world.reserve("x");
        let mut command = world.command(&["run", "-q", "-t", "x", "--wait", "1h", "--", "true"]);
        if starts_it {
            command.env_remove("HEDDLE_NO_AUTOSTART");
        }
        let waiting = start(&mut command);
        until("it waits", || waiters(&world) == 1);
        if is_killed {
            world.kill_daemon();
        } else {
            world.stop_daemon();
        }
        if !starts_it {
            world.start_daemon();
        }
        until("it waits again", || {
            let status = world.run(&["status", "--json"]).stdout;
            serde_json::from_str(&status).is_ok_and(|all: serde_json::Value| all["info"]["counts"]["waiters"] == 1)
        });
        assert_eq!(world.run(&["release", "--session", &held]).code, Some(0));
        let said = ended(&world, waiting);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "killed: {is_killed}: {said}");
        assert_eq!(world.standing("x"), ("complete".to_owned(), "released".to_owned()));
    }
}

/// The daemon sees the end of a command before its heddlectl can say how it was. Who waits must not have it recorded as dead.
#[test]
fn a_run_that_succeeds_is_complete_also_where_somebody_waits() {
    let world = World::with_daemon();
    for round in 0..10 {
        let script = "while [ ! -e stop ]; do sleep 0.01; done";
        let first = start(&mut world.command(&["run", "-q", "-t", "x", "--", "sh", "-c", script]));
        until("it is held", || world.session("x").is_some_and(|session| session["status"] == "active"));
        let held = world.session("x").expect("a session")["session_id"].clone();
        let second = waits(&world, &["run", "-q", "-t", "x", "--wait", "20s", "--", "true"], 1);
        std::fs::write(world.path("app/stop"), "").expect("written");
        for child in [first, second] {
            let said = ended(&world, child);
            assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said}");
        }
        let shown = world.json(&["show", "--session", held.as_str().expect("an id")]);
        assert_eq!(shown["reservation"]["status"], "complete", "round {round}: {shown}");
        std::fs::remove_file(world.path("app/stop")).expect("removed");
    }
}
