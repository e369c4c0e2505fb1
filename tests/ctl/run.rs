//! `heddlectl run`.

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::{World, text_of, until};

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a pid"))
}

fn alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

#[test]
fn the_command_runs_under_its_reservation_and_its_code_is_ours() {
    let (world, fake) = World::with_daemon();
    let script = "echo $$ $HEDDLE_SESSION $HEDDLE_THREAD; test -S $HEDDLE_SOCKET && test -d $HEDDLE_REPO && exit 7";
    let said = world.run(&["run", "--thread", "feature/x", "--", "sh", "-c", script]);
    assert_eq!(said.code, Some(7));
    let call = &fake.calls("agent.reserve")[0];
    assert_eq!((&call["at_tip"], &call["thread"]), (&json!(true), &json!("feature/x")));
    let pid = call["hold_for_pid"].as_i64().expect("a pid");
    assert_eq!(said.stdout, format!("{pid} agent-aaaaaaaaaaaaaaaaaaab feature/x\n"), "held for CMD's own process");
    assert!(said.stderr.contains("git -C $ROOT/app switch feature/x"), "{}", said.stderr);
    assert_eq!(fake.calls("agent.release")[0]["status"], "abandoned");

    let said = world.run(&["run", "--quiet", "--thread", "feature/y", "--", "true"]);
    insta::assert_snapshot!(said, @"[exit 0]");
    assert_eq!(fake.calls("agent.release")[1]["status"], "complete");
}

#[test]
fn it_works_in_a_pipe() {
    let (world, _fake) = World::with_daemon();
    let mut command = world.command(&["run", "-q", "-t", "x", "--", "tr", "a-z", "A-Z"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
    child.stdin.take().expect("a pipe").write_all(b"through the gate\n").expect("written");
    let output = child.wait_with_output().expect("ended");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "THROUGH THE GATE\n");
}

#[test]
fn a_refusal_starts_nothing() {
    let (world, fake) = World::with_daemon();
    let _first = world.run(&["reserve", "-t", "x", "--no-hold-for-agent"]);
    let said = world.run(&["run", "-t", "x", "--", "touch", "ran"]);
    assert_eq!(said.code, Some(3));
    assert!(!world.path("app/ran").exists());
    let pid = fake.calls("agent.reserve")[1]["hold_for_pid"].as_i64().expect("a pid");
    assert!(!alive(i32::try_from(pid).expect("a pid")), "the process that waited is gone");
    let kept = std::fs::read_dir(world.path("run/heddle/sessions")).expect("there").count();
    assert_eq!(kept, 1, "the refused token is forgotten");
}

#[test]
fn a_typing_error_reserves_nothing() {
    let (world, fake) = World::with_daemon();
    let said = world.run(&["run", "-t", "x", "--", "no-such-command"]);
    insta::assert_snapshot!(said, @r"
    ! error: there is no command no-such-command
    !   nothing was reserved
    [exit 127]
    ");
    assert!(fake.calls("agent.reserve").is_empty());
    let said = world.run(&["run", "-q", "-t", "x", "--", "./no-such-command"]);
    assert_eq!(said.code, Some(127), "{said}");
    assert_eq!(fake.calls("agent.release")[0]["status"], "abandoned");
}

#[test]
fn a_signal_reaches_the_command_and_its_end_is_ours() {
    let (world, fake) = World::with_daemon();
    let script = "trap 'echo got it > got; exit 9' TERM; echo > ready; while :; do sleep 0.01; done";
    let mut child = world.command(&["run", "-t", "x", "--", "sh", "-c", script]).spawn().expect("started");
    until("the command runs", || world.path("app/ready").exists());
    kill(pid(&child), Signal::SIGTERM).expect("sent");
    assert_eq!(child.wait().expect("ended").code(), Some(9));
    assert_eq!(text_of(&world.path("app/got")), "got it\n");
    assert_eq!(fake.calls("agent.release")[0]["status"], "abandoned");
}

#[test]
fn a_command_killed_by_a_signal_gives_128_and_its_number() {
    let (world, _fake) = World::with_daemon();
    let said = world.run(&["run", "-q", "-t", "x", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(said.code, Some(137));
}

#[test]
fn the_command_outlives_us() {
    let (world, fake) = World::with_daemon();
    let script = "echo > ready; while [ ! -e stop ]; do sleep 0.01; done; echo done > finished";
    let mut child = world.command(&["run", "-t", "x", "--", "sh", "-c", script]).spawn().expect("started");
    until("the command runs", || world.path("app/ready").exists());
    child.kill().expect("killed");
    assert_eq!(child.wait().expect("ended").signal(), Some(9));
    let held = fake.session("x").expect("a session");
    assert_eq!(held["status"], "active", "nobody gave it back");
    assert!(alive(i32::try_from(held["hold"]["process"]["pid"].as_i64().expect("a pid")).expect("a pid")));
    std::fs::write(world.path("app/stop"), "").expect("written");
    until("the command goes on to its end", || text_of(&world.path("app/finished")) == "done\n");
}

#[test]
fn an_eviction_stops_the_command() {
    let (world, fake) = World::with_daemon();
    let script = "trap 'exit 5' TERM; echo > ready; while :; do sleep 0.01; done";
    let mut command = world.command(&["run", "-t", "x", "--", "sh", "-c", script]);
    let child = command.stderr(Stdio::piped()).spawn().expect("started");
    until("the command runs", || world.path("app/ready").exists());
    fake.end_all("evicted");
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("holds x no longer: it was evicted; stopping the command"), "{said}");
    assert!(fake.calls("agent.release").is_empty(), "there is nothing to give back");
}

#[test]
fn the_session_goes_on_when_the_daemon_comes_back() {
    let (world, fake) = World::with_daemon();
    let script = "echo > ready; while [ ! -e stop ]; do sleep 0.01; done";
    let mut child = world.command(&["run", "-q", "-t", "x", "--", "sh", "-c", script]).spawn().expect("started");
    until("the command runs", || world.path("app/ready").exists());
    until("the watch asks", || !fake.calls("agent.validate").is_empty());
    std::fs::remove_file(world.socket()).expect("removed");
    fake.cut();
    fake.listen_again(&world.socket());
    let before = fake.calls("agent.validate").len();
    until("the watch asks the new daemon", || fake.calls("agent.validate").len() > before);
    std::fs::write(world.path("app/stop"), "").expect("written");
    assert_eq!(child.wait().expect("ended").code(), Some(0));
    assert_eq!(fake.calls("agent.release")[0]["status"], "complete");
}

#[test]
fn a_signal_to_the_whole_group_ends_both() {
    let (world, _fake) = World::with_daemon();
    let mut command = world.command(&["run", "-q", "-t", "x", "--", "sh", "-c", "echo > ready; sleep 60"]);
    let mut child = command.process_group(0).spawn().expect("started");
    until("the command runs", || world.path("app/ready").exists());
    killpg(pid(&child), Signal::SIGINT).expect("sent");
    assert_eq!(child.wait().expect("ended").code(), Some(130));
}
