//! `heddlectl run` in a pid namespace of its own, as in a container that shares the socket with its host.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::run::{WAITS, began, end, pair};
use crate::support::{World, alive, pid, text_of, until};

/// heddlectl as a child of the first process of a pid namespace; none where the system forbids making one.
fn in_namespace(world: &World, arguments: &[&str]) -> Option<Child> {
    let works = Command::new("unshare").args(["--pid", "--fork", "true"]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        eprintln!("NOT TESTED: this system forbids making pid namespaces");
        return None;
    }
    let mut inside = Command::new("unshare");
    world.environment(&mut inside).args(["--pid", "--fork", "--kill-child", "sh", "-c", "\"$@\"; exit $?", "sh"]);
    inside.arg(crate::support::heddlectl()).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    Some(inside.stderr(Stdio::piped()).spawn().expect("started"))
}

/// The one child of a process.
fn child_of(pid: i32) -> i32 {
    let children = text_of(Path::new(&format!("/proc/{pid}/task/{pid}/children")));
    children.trim().parse().expect("one child")
}

#[test]
fn in_a_container_the_thread_is_held_by_the_connection_also_over_a_restart_of_the_daemon() {
    let mut world = World::with_daemon();
    let arguments = ["run", "--thread", "x", "--worktree", "--", "sh", "-c"];
    let script = format!("cd {}; {WAITS}", world.path("app").display());
    let Some(mut run) = in_namespace(&world, &[&arguments[..], &[&script]].concat()) else { return };
    began(&world);
    let hold = world.session("x").expect("a session")["hold"].take();
    assert_eq!((&hold["connection"], &hold["process"]), (&true.into(), &serde_json::Value::Null));
    world.kill_daemon();
    world.start_daemon();
    until("its connection is another one", || world.session("x").is_some_and(|session| session["alive"] == "alive"));
    end(&world);
    assert!(run.wait().expect("ended").success());
    assert_eq!(world.standing("x"), pair("complete", "released"));
    let mut said = String::new();
    run.stderr.take().expect("stderr").read_to_string(&mut said).expect("read");
    assert!(said.contains("held by this process's connection"), "{said}");
}

#[test]
fn a_command_that_only_its_connection_holds_ends_with_the_run_that_is_killed() {
    let world = World::with_daemon();
    let script = format!("cd {}; {WAITS}", world.path("app").display());
    let Some(mut outside) = in_namespace(&world, &["run", "--thread", "x", "--", "sh", "-c", &script]) else {
        return;
    };
    began(&world);
    let first = child_of(pid(&outside).as_raw());
    let run = child_of(first);
    let command = child_of(run);
    kill(Pid::from_raw(run), Signal::SIGKILL).expect("killed");
    until("the command is gone", || !alive(command));
    outside.wait().expect("ended");
}

/// As the first process of a container without an init: it is the parent of every process whose parent has ended.
#[test]
fn as_the_first_process_run_reaps_what_the_command_leaves_and_passes_signals_on() {
    let world = World::with_daemon();
    let (orphan, reaped) = (world.path("orphan"), world.path("reaped"));
    let script = format!(
        "trap 'exit 7' TERM; sh -c 'sleep 0 & echo $!' >{orphan}; while [ -e /proc/$(cat {orphan}) ]; do sleep 0.02; done; \
         touch {reaped}; while :; do sleep 0.02; done",
        orphan = orphan.display(),
        reaped = reaped.display()
    );
    let makes = ["--mount-proc", "--pid", "--fork", "--kill-child"];
    if !Command::new("unshare").args(makes).arg("true").output().is_ok_and(|output| output.status.success()) {
        eprintln!("NOT TESTED: this system forbids making pid namespaces");
        return;
    }
    let mut unshare = Command::new("unshare");
    world.environment(&mut unshare).args(makes).arg(crate::support::heddlectl());
    unshare.args(["run", "--thread", "x", "--", "sh", "-c", &script]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut unshare = unshare.stderr(Stdio::null()).spawn().expect("started");
    until("the orphan is reaped", || reaped.exists());
    kill(Pid::from_raw(child_of(pid(&unshare).as_raw())), Signal::SIGTERM).expect("sent");
    assert_eq!(unshare.wait().expect("ended").code(), Some(7), "the command got the signal, and its code is the run's");
    assert_eq!(world.standing("x"), pair("abandoned", "released"));
}
