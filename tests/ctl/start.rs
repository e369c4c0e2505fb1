//! Finding the daemon, starting it, and when it is not started.

use std::process::{Child, Stdio};

use crate::process;
use crate::support::{World, alive, until};

/// The environment of somebody for whom the daemon is started.
fn eager(world: &World, arguments: &[&str]) -> std::process::Command {
    let mut command = world.command(arguments);
    command.env_remove("HEDDLE_NO_AUTOSTART");
    command
}

#[test]
fn no_daemon_and_not_allowed_to_start_one() {
    let world = World::new();
    insta::assert_snapshot!(world.run(&["list"]), @r"
    ! error: no daemon is listening on $ROOT/run/heddle/heddled.sock
    !   HEDDLE_NO_AUTOSTART is set
    ! next: heddlectl daemon start
    [exit 69]
    ");
    let json = world.run(&["list", "--json"]);
    assert_eq!(json.code, Some(69));
    insta::assert_snapshot!(json.stdout, @r#"{"code":69,"message":"no daemon is listening on $ROOT/run/heddle/heddled.sock","data":{"kind":"daemon_unreachable","error":"no daemon is listening on $ROOT/run/heddle/heddled.sock","hint":"","unsafe_condition":null,"would_change":null,"preserved":null,"primary_command":"heddlectl daemon start","recovery_commands":["heddlectl daemon start"],"retryable":true,"retry_after_ms":null,"details":{"facts":["HEDDLE_NO_AUTOSTART is set"]},"request":null}}"#);
}

#[test]
fn in_a_sandbox_none_is_started() {
    let world = World::new();
    let said = world.say(eager(&world, &["list"]).env("CODEX_SANDBOX", "seatbelt"));
    insta::assert_snapshot!(said, @r"
    ! error: no daemon is listening on $ROOT/run/heddle/heddled.sock
    !   CODEX_SANDBOX is set: a daemon started inside a sandbox would serve nobody
    !   outside of it
    ! hint: start the daemon outside of the sandbox
    ! next: heddlectl daemon start
    [exit 69]
    ");
    let said = world.say(eager(&world, &["daemon", "start"]).env("CODEX_SANDBOX_NETWORK_DISABLED", "1"));
    assert_eq!(said.code, Some(69), "{said}");
    assert_eq!(world.recorded_daemon(), None);
}

#[test]
fn of_twenty_that_need_it_one_starts_it() {
    let world = World::new();
    let start = |_| eager(&world, &["daemon", "start", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let all: Vec<Child> = (0..20).map(start).map(|child| child.expect("started")).collect();
    let mut pids: Vec<_> = all
        .into_iter()
        .map(|child| {
            let said = world.said(&process::output_of(child));
            assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said}");
            serde_json::from_str::<serde_json::Value>(&said.stdout).expect("JSON")["pid"].as_i64()
        })
        .collect();
    pids.dedup();
    assert_eq!(pids.len(), 1, "all are served by one daemon: {pids:?}");
    let log = std::fs::read_to_string(world.path("state/heddled.log")).expect("a log");
    assert!(!log.contains("another heddled"), "no second one was even tried: {log}");
}

#[test]
fn a_daemon_that_was_started_has_nothing_of_the_agent() {
    let world = World::new();
    let mut command = eager(&world, &["list"]);
    let said = world.say(command.env("CLAUDECODE", "1").env("HEDDLE_SESSION", format!("agent-{}", "a".repeat(20))));
    assert_eq!(said.code, Some(0), "{said}");
    let pid = world.recorded_daemon().expect("a daemon");
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).expect("read");
    let environment = String::from_utf8(read("environ")).expect("text");
    assert!(!environment.contains("CLAUDECODE") && !environment.contains("HEDDLE_SESSION"), "{environment}");
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).expect("read"), std::path::Path::new("/"));
    let stat = String::from_utf8(read("stat")).expect("text");
    let session = stat.rsplit_once(')').expect("a name").1.split_whitespace().nth(3).expect("a session").to_owned();
    assert_eq!(session, pid.to_string(), "it leads a session of its own");
}

#[test]
fn started_stopped_and_looked_at() {
    let world = World::new();
    insta::assert_snapshot!(world.run(&["daemon", "status"]), @r"
    ! error: no daemon is listening on $ROOT/run/heddle/heddled.sock
    !   HEDDLE_NO_AUTOSTART is set
    ! next: heddlectl daemon start
    [exit 69]
    ");
    insta::assert_snapshot!(world.say(&mut eager(&world, &["status"])), @r"
    ! error: no daemon is listening on $ROOT/run/heddle/heddled.sock
    ! hint: any command that needs it starts it
    ! next: heddlectl daemon start
    [exit 69]
    ");
    let said = world.run(&["daemon", "start"]);
    assert!(said.code == Some(0) && said.stdout.contains("was started: pid"), "{said}");
    let said = world.run(&["daemon", "start"]);
    assert!(said.code == Some(0) && said.stdout.contains("is running already"), "{said}");
    let said = world.run(&["daemon", "status"]);
    assert!(
        said.code == Some(0) && said.stdout.contains("is running") && said.stdout.contains("$ROOT/state"),
        "{said}"
    );
    let id = world.reserve("x");
    let pid = world.recorded_daemon().expect("a daemon");
    let said = world.run(&["daemon", "stop"]);
    assert!(said.code == Some(0) && said.stdout.contains("was stopped"), "{said}");
    assert_eq!(said.stderr, "1 session is active; a running `heddlectl run` starts the daemon again\n");
    assert!(!alive(pid) && !world.socket().exists());
    insta::assert_snapshot!(world.run(&["daemon", "stop"]), @r"
    no daemon is running
    [exit 0]
    ");
    assert_eq!(world.run(&["daemon", "start", "-q"]).code, Some(0));
    let said = world.run(&["heartbeat", "--session", &id]);
    assert_eq!(said.code, Some(0), "sessions stay: {said}");
}

#[test]
fn one_that_does_not_come_up_is_told_in_its_own_words() {
    let world = World::new();
    std::fs::create_dir_all(world.path("home/.config/heddle")).expect("made");
    std::fs::write(world.path("home/.config/heddle/heddled.toml"), "no_such_key = 1\n").expect("written");
    let said = world.say(&mut eager(&world, &["list"]));
    assert_eq!(said.code, Some(69), "{said}");
    assert!(said.stderr.contains("no_such_key") && said.stderr.contains("$ROOT/state/heddled.log"), "{said}");
}

#[test]
fn the_running_daemon_is_found_by_what_its_lock_says() {
    let world = World::with_daemon();
    world.reserve("x");
    let list = |named: &[&str]| {
        let mut command = world.command(&[&["list"], named].concat());
        // As ssh and cron have it.
        world.say(command.env_remove("XDG_RUNTIME_DIR"))
    };
    let said = list(&[]);
    assert_eq!(said.code, Some(0), "{said}");
    assert!(said.stdout.contains("active"));
    let named = world.path("run/heddle/other.sock");
    assert_eq!(list(&["--socket", named.to_str().expect("text")]).code, Some(69), "a socket that was named is meant");
    let mut beat = world.command(&["heartbeat"]);
    let said = world.say(beat.env_remove("XDG_RUNTIME_DIR"));
    assert_eq!(said.code, Some(0), "its tokens are beside its socket: {said}");
}

#[test]
fn what_a_killed_daemon_left_does_not_stop_the_next() {
    let mut world = World::with_daemon();
    world.kill_daemon();
    assert!(world.socket().exists());
    let said = world.say(&mut eager(&world, &["list"]));
    assert_eq!(said.code, Some(0), "{said}");
    until("it serves", || world.run(&["list"]).code == Some(0));
}

/// `run` blocks the signals that it passes on; a daemon that it starts meanwhile must not inherit that.
#[test]
fn a_daemon_that_a_run_had_to_start_can_be_told_to_stop() {
    let mut world = World::with_daemon();
    let script = "echo > ready; while [ ! -e stop ]; do sleep 0.01; done";
    let mut run = eager(&world, &["run", "-q", "-t", "x", "--", "sh", "-c", script]).spawn().expect("started");
    until("the command runs", || world.path("app/ready").exists());
    let first = world.recorded_daemon();
    world.kill_daemon();
    until("another daemon serves", || world.recorded_daemon() != first && world.run(&["list"]).code == Some(0));
    std::fs::write(world.path("app/stop"), "").expect("written");
    assert_eq!(process::wait(&mut run).code(), Some(0));
    let second = world.recorded_daemon().expect("a daemon");
    let told = nix::sys::signal::kill(nix::unistd::Pid::from_raw(second), nix::sys::signal::Signal::SIGTERM);
    told.expect("told");
    until("it has stopped", || !alive(second));
}

/// It is the child of that `run`, which goes on.
#[test]
fn a_daemon_that_a_run_had_to_start_is_gone_when_it_was_stopped() {
    let mut world = World::with_daemon();
    let script = "echo > ready; while [ ! -e stop ]; do sleep 0.01; done";
    let mut run = eager(&world, &["run", "-q", "-t", "x", "--", "sh", "-c", script]).spawn().expect("started");
    until("the command runs", || world.path("app/ready").exists());
    world.kill_daemon();
    until("another daemon serves", || world.run(&["list"]).code == Some(0));
    let said = world.run(&["daemon", "stop"]);
    assert!(said.code == Some(0) && said.stdout.contains("was stopped"), "{said}");
    std::fs::write(world.path("app/stop"), "").expect("written");
    assert_eq!(process::wait(&mut run).code(), Some(0));
}

/// A slip in the socket's path is no reason to stop the daemon that other agents work with.
#[test]
fn a_socket_of_nowhere_is_told_as_such_while_the_daemon_runs_elsewhere() {
    let world = World::with_daemon();
    for arguments in [&["list"][..], &["status"], &["daemon", "start"]] {
        let said = world.say(&mut eager(&world, &[&["--socket", "/nope/x.sock"], arguments].concat()));
        insta::allow_duplicates! { insta::assert_snapshot!(said, @r"
        ! error: no daemon is listening on /nope/x.sock
        !   there is no directory /nope
        !   your daemon is running, and listens on $ROOT/run/heddle/heddled.sock
        ! hint: name that socket, or none
        ! next: heddlectl --socket $ROOT/run/heddle/heddled.sock status
        [exit 69]
        "); }
    }
    assert_eq!(world.run(&["list", "--socket", world.socket().to_str().expect("text")]).code, Some(0));
}

#[test]
fn a_socket_path_that_cannot_be_is_told_at_once() {
    let world = World::new();
    let said = world.run(&["list", "--socket", &format!("/{}", "a".repeat(120))]);
    assert_eq!(said.code, Some(78), "{said}");
}
