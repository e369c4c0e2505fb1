//! `heddlectl run`.

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::process;
use crate::support::{World, alive, pid, text_of, until, until_within};

/// A command that says when it runs, and goes on until it is told to stop.
pub(crate) const WAITS: &str =
    "echo $$ > ready.tmp; mv ready.tmp ready; while [ ! -e stop ]; do sleep 0.01; done; echo done > finished";

pub(crate) fn began(world: &World) -> i32 {
    until("the command runs", || world.path("app/ready").exists());
    text_of(&world.path("app/ready")).trim().parse().unwrap_or_default()
}

pub(crate) fn start(world: &World, script: &str) -> Child {
    let mut command = world.command(&["run", "--thread", "x", "--", "sh", "-c", script]);
    command.stderr(Stdio::piped()).spawn().expect("started")
}

pub(crate) fn end(world: &World) {
    std::fs::write(world.path("app/stop"), "").expect("written");
}

pub(crate) fn pair(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn the_command_runs_under_its_reservation_and_its_code_is_ours() {
    let world = World::with_daemon();
    let script = "echo $$ $HEDDLE_SESSION $HEDDLE_THREAD; test -S $HEDDLE_SOCKET && test -d $HEDDLE_REPO || exit 1
        heddlectl() { \"$0\" \"$@\"; }; heddlectl validate --hook && exit 7";
    let program = crate::support::heddlectl();
    let said = world.run(&["run", "-t", "feature/x", "--", "sh", "-c", script, program.to_str().expect("text")]);
    assert_eq!(said.code, Some(7), "{said}");
    let session = world.session("feature/x").expect("a session");
    let id = session["session_id"].as_str().expect("an id");
    let holder = session["hold"]["process"]["pid"].as_i64().expect("a pid");
    assert_eq!(said.stdout, format!("{holder} {id} feature/x\n"), "held for CMD's own process");
    assert!(said.stderr.contains("git -C $ROOT/app switch feature/x"), "{}", said.stderr);
    assert_eq!(world.standing("feature/x"), pair("abandoned", "released"));
}

#[test]
fn it_is_complete_whenever_the_command_succeeds() {
    let world = World::with_daemon();
    for round in 0..50 {
        let said = world.run(&["run", "-q", "-t", "x", "--", "true"]);
        assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (Some(0), "", ""));
        assert_eq!(world.standing("x"), pair("complete", "released"), "round {round}");
    }
}

/// Processes that leave the others on the first processor hardly any time.
struct Hogs(Vec<Child>);

impl Hogs {
    fn start() -> Self {
        let hog = |_| {
            let mut hog = Command::new("taskset");
            hog.args(["-c", "0", "sh", "-c", "while :; do :; done"]).spawn().expect("taskset of util-linux is there")
        };
        Self((0..3).map(hog).collect())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            hog.kill().ok();
            process::wait(hog);
        }
    }
}

/// The daemon knows of the end of CMD before a heddlectl that gets no processor can say how it was: it waits for the word.
#[test]
#[cfg(target_os = "linux")]
fn it_is_complete_also_where_heddlectl_gets_hardly_any_processor() {
    let world = World::with_daemon();
    let _hogs = Hogs::start();
    for round in 0..8 {
        let program = crate::support::heddlectl();
        let mut starved = Command::new("taskset");
        world.environment(&mut starved).args(["-c", "0", "nice", "-n", "10"]).arg(program);
        let said = world.say(starved.args(["run", "-q", "-t", "x", "--", "true"]));
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
        assert_eq!(world.standing("x"), pair("complete", "released"), "round {round}");
    }
}

#[test]
fn it_works_in_a_pipe() {
    let world = World::with_daemon();
    let mut command = world.command(&["run", "-q", "-t", "x", "--", "tr", "a-z", "A-Z"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
    child.stdin.take().expect("a pipe").write_all(b"through the gate\n").expect("written");
    let output = process::output_of(child);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "THROUGH THE GATE\n");
}

#[test]
fn a_reader_that_goes_away_is_the_commands_own_affair() {
    let world = World::with_daemon();
    let mut command = world.command(&["run", "-q", "-t", "x", "--", "yes"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    drop(child.stdout.take());
    let output = process::output_of(child);
    // By SIGPIPE, or by an error that it reports itself.
    assert!(matches!(output.status.code(), Some(141 | 1)), "{:?}", output.status);
    assert_eq!(world.standing("x"), pair("abandoned", "released"));
}

#[test]
fn a_refusal_starts_nothing() {
    let world = World::with_daemon();
    let held = world.reserve("x");
    let said = world.run(&["run", "-t", "x", "--", "touch", "ran"]);
    assert_eq!(said.code, Some(3), "{said}");
    assert!(!world.path("app/ran").exists());
    assert_eq!(world.token_files(), [held], "the refused token is forgotten");
}

#[test]
fn a_typing_error_reserves_nothing() {
    let world = World::with_daemon();
    insta::assert_snapshot!(world.run(&["run", "-t", "x", "--", "no-such-command"]), @r"
    ! error: there is no command no-such-command
    !   nothing was reserved
    ! hint: check its name and your PATH, or give its whole path
    [exit 127]
    ");
    assert_eq!(world.session("x"), None);
    let said = world.run(&["run", "-q", "-t", "x", "--", "./no-such-command"]);
    assert_eq!(said.code, Some(127), "{said}");
    assert_eq!(world.standing("x"), pair("abandoned", "released"));
}

#[test]
fn a_signal_reaches_the_command_and_its_end_is_ours() {
    let world = World::with_daemon();
    let mut child = start(&world, &format!("trap 'echo got it > got; exit 9' TERM; {WAITS}"));
    began(&world);
    kill(pid(&child), Signal::SIGTERM).expect("sent");
    assert_eq!(process::wait(&mut child).code(), Some(9));
    assert_eq!(text_of(&world.path("app/got")), "got it\n");
    assert_eq!(world.standing("x"), pair("abandoned", "released"));
}

#[test]
fn kill_9_of_the_command_gives_128_and_9() {
    let world = World::with_daemon();
    let mut child = start(&world, WAITS);
    kill(Pid::from_raw(began(&world)), Signal::SIGKILL).expect("killed");
    assert_eq!(process::wait(&mut child).code(), Some(137));
    assert_eq!(world.standing("x").0, "abandoned");
}

#[test]
fn kill_9_of_heddlectl_leaves_the_command_and_its_thread() {
    let world = World::with_daemon();
    let mut child = start(&world, WAITS);
    let command = began(&world);
    child.kill().expect("killed");
    assert_eq!(process::wait(&mut child).signal(), Some(9));
    assert!(alive(command));
    let refused = world.run(&["reserve", "-t", "x", "--at-tip"]);
    assert_eq!(refused.code, Some(3), "the thread is held: {refused}");
    assert_eq!(world.standing("x"), pair("active", "-"));
    end(&world);
    until("the command goes on to its end", || text_of(&world.path("app/finished")) == "done\n");
    until("and its thread is free", || world.standing("x") == pair("abandoned", "process_exited"));
    assert_eq!(world.run(&["reserve", "-t", "x", "--at-tip"]).code, Some(0));
}

#[test]
fn kill_9_of_the_daemon_costs_nothing() {
    let mut world = World::with_daemon();
    let mut child = start(&world, WAITS);
    began(&world);
    world.kill_daemon();
    world.start_daemon();
    assert_eq!(world.standing("x"), pair("active", "-"), "the session is there again");
    end(&world);
    assert_eq!(process::wait(&mut child).code(), Some(0));
    assert_eq!(world.standing("x"), pair("complete", "released"));
}

#[test]
fn the_daemon_that_was_killed_is_started_again_by_the_watch() {
    let mut world = World::with_daemon();
    let mut command = world.command(&["run", "--thread", "x", "--", "sh", "-c", WAITS]);
    let mut child = command.env_remove("HEDDLE_NO_AUTOSTART").spawn().expect("started");
    began(&world);
    world.kill_daemon();
    until("a daemon serves again", || world.run(&["list"]).code == Some(0));
    assert_eq!(world.standing("x"), pair("active", "-"));
    end(&world);
    assert_eq!(process::wait(&mut child).code(), Some(0));
    assert_eq!(world.standing("x"), pair("complete", "released"));
}

#[test]
fn a_daemon_that_is_gone_for_good_does_not_stop_the_command() {
    let mut world = World::with_daemon();
    let child = start(&world, WAITS);
    began(&world);
    world.kill_daemon();
    end(&world);
    let output = process::output_of(child);
    let said = world.said(&output);
    assert_eq!(said.code, Some(0), "its own code: {said}");
    assert!(said.stderr.contains("the session was not given back"), "{said}");
}

#[test]
fn an_eviction_stops_the_command() {
    let world = World::with_daemon();
    let child = start(&world, &format!("trap 'exit 5' TERM; {WAITS}"));
    began(&world);
    let id = world.session("x").expect("a session")["session_id"].as_str().expect("an id").to_owned();
    assert_eq!(world.run(&["evict", &id, "--reason", "stuck"]).code, Some(0));
    let said = world.said(&process::output_of(child));
    assert_eq!(said.code, Some(5), "{said}");
    assert!(said.stderr.contains("holds x no longer: it was evicted; stopping the command"), "{said}");
    assert_eq!(world.standing("x"), pair("abandoned", "evicted"));
}

/// Slow: the grace of 10 s is waited out.
#[test]
fn a_command_that_ignores_term_is_killed_10_s_later() {
    let world = World::with_daemon();
    let mut child = start(&world, &format!("trap '' TERM; {WAITS}"));
    let command = began(&world);
    let id = world.session("x").expect("a session")["session_id"].as_str().expect("an id").to_owned();
    assert_eq!(world.run(&["evict", &id, "--reason", "stuck"]).code, Some(0));
    let mut ended = None;
    until_within("it is killed", Duration::from_secs(25), || {
        ended = child.try_wait().expect("asked");
        ended.is_some()
    });
    assert_eq!(ended.and_then(|status| status.code()), Some(137));
    assert!(!alive(command));
}

#[test]
fn with_worktree_it_runs_there() {
    let world = World::with_daemon();
    let script = "git rev-parse --show-toplevel --abbrev-ref HEAD";
    let said = world.run(&["run", "-t", "feature/x", "--worktree", "--", "sh", "-c", script]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "$ROOT/app.worktrees/feature/x\nfeature/x\n"), "{said}");
    assert!(!said.stderr.contains("warning"), "it stands on its thread: {said}");
    let session = world.session("feature/x").expect("a session");
    assert_eq!(session["path"], "$ROOT/app.worktrees/feature/x");
}

#[test]
fn a_signal_to_the_whole_group_ends_both() {
    let world = World::with_daemon();
    let mut command = world.command(&["run", "-q", "-t", "x", "--", "sh", "-c", WAITS]);
    let mut child = command.process_group(0).spawn().expect("started");
    began(&world);
    killpg(pid(&child), Signal::SIGINT).expect("sent");
    assert_eq!(process::wait(&mut child).code(), Some(130));
    assert_eq!(world.standing("x").0, "abandoned");
}

/// A script's `&` has SIGINT ignored, `nohup` SIGHUP: what is ignored at the start stays so, as in a shell.
#[test]
fn a_signal_that_was_ignored_at_the_start_is_not_passed_on() {
    let world = World::with_daemon();
    // Perl sets a handler also for what it was started with as ignored; sh does not.
    let perl = "sub note { open my $f, '>', shift } $SIG{INT} = sub { note 'interrupted' }; \
                $SIG{USR1} = sub { note 'next' }; note 'began'; while (1) { sleep 1 }";
    let mut command = world.command(&["run", "-q", "-t", "x", "--", "perl", "-e", perl]);
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    command = Command::new("sh");
    world.environment(&mut command).args(["-c", "trap '' INT; exec \"$@\"", "sh"]).arg(program).args(arguments);
    let mut child = command.spawn().expect("started");
    until("the command runs", || world.path("app/began").exists());
    kill(pid(&child), Signal::SIGINT).expect("sent");
    // Passed on after it, so that the other would have come before.
    kill(pid(&child), Signal::SIGUSR1).expect("sent");
    until("the next signal is passed on", || world.path("app/next").exists());
    kill(pid(&child), Signal::SIGTERM).expect("sent");
    assert_eq!(process::wait(&mut child).code(), Some(143));
    assert!(!world.path("app/interrupted").exists(), "SIGINT was ignored when `run` was started");
}

/// The file is found by hooks of the command: whoever removes it does not part the command from its session.
#[test]
fn a_token_file_that_is_removed_is_written_again_while_the_command_runs() {
    let world = World::with_daemon();
    let mut child = start(&world, WAITS);
    began(&world);
    let files = world.token_files();
    assert_eq!(files.len(), 1);
    std::fs::remove_dir_all(world.path("state/sessions")).expect("removed");
    until("its file is there again", || world.token_files() == files);
    assert_eq!(world.run(&["heartbeat"]).code, Some(0), "it is the token of the session of this worktree");
    end(&world);
    assert_eq!(process::wait(&mut child).code(), Some(0));
}
