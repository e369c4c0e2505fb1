//! `heddlectl watch`: it shows each event once, whatever is killed meanwhile, and ends when nobody reads it.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use crate::process;
use crate::restarts::Installed;
use crate::support::{World, pid, steady, until};

/// A watch that runs; killed when this is dropped.
pub(crate) struct Watching {
    child: Child,
    lines: Receiver<String>,
}

impl Watching {
    pub(crate) fn start(world: &World, arguments: &[&str]) -> Self {
        let mut command = world.command(&[&["watch"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("heddlectl runs");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            // A line that was cut short was not shown.
            for line in output.split(b'\n').map_while(Result::ok) {
                tell.send(String::from_utf8(line).expect("text")).ok();
            }
        });
        Self { child, lines }
    }

    /// The next line.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(20)).expect("a line")
    }

    /// The next line with --json.
    #[track_caller]
    pub(crate) fn event(&self) -> Value {
        serde_json::from_str(&self.line()).expect("JSON")
    }

    /// Ends it by a signal; gives what it said on stderr, and the lines that nobody has taken.
    pub(crate) fn end(mut self, signal: Signal) -> (String, Vec<String>) {
        kill(pid(&self.child), signal).expect("sent");
        assert_eq!(process::wait(&mut self.child).signal(), Some(signal as i32));
        let said = process::rest_of(self.child.stderr.take().expect("a pipe"));
        (said, self.lines.iter().collect())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.child.kill().ok();
        process::wait(&mut self.child);
    }
}

/// Fails unless these are events as the wire has them.
fn check(events: &[Value]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto-schema/schema/openrpc.json");
    let document: Value = serde_json::from_slice(&std::fs::read(path).expect("there")).expect("JSON");
    let result = document["components"]["schemas"]["Event"].clone();
    let schema = json!({"components": document["components"], "allOf": [result]});
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for event in events {
        assert!(validator.is_valid(event), "{event}");
    }
}

#[test]
fn it_goes_on_by_itself_when_the_daemon_was_killed_and_is_back() {
    let mut world = World::with_daemon();
    let watching = Watching::start(&world, &["--json", "--all-repos", "--after", "0"]);
    let mut events = vec![watching.event()];
    for round in 0..3 {
        let session = world.reserve(&format!("t{round}"));
        while events.last().expect("one")["session_id"] != session.as_str() {
            events.push(watching.event());
        }
        world.kill_daemon();
        world.start_daemon();
    }
    while events.iter().filter(|event| event["kind"] == "daemon_started").count() < 4 {
        events.push(watching.event());
    }
    for (event, revision) in events.iter().zip(1..) {
        assert_eq!(event["revision"], revision, "no gap, nothing twice: {events:?}");
    }
    check(&events);
    let logged = world.json(&["log", "--all-repos", "--after", "0", "-n", "1000"]);
    let seen = json!(events).to_string().replace(&*world.path("").to_string_lossy(), "$ROOT/");
    let logged = logged["operations"].to_string();
    assert!(logged.starts_with(&seen[..seen.len() - 1]), "the log reads it back: {logged}\n{seen}");
    let (said, rest) = watching.end(Signal::SIGINT);
    assert_eq!(rest, [""; 0]);
    assert_eq!(said.matches("the connection to the daemon is lost").count(), 3, "once each time: {said}");
    assert_eq!(said.lines().filter(|line| line.contains("revision")).count(), 3, "{said}");
}

/// Stopped in order, killed, and replaced by the next version: each event once, and of the version it tells once.
#[test]
fn it_goes_on_through_stops_kills_and_upgrades() {
    let mut world = World::with_daemon();
    let next = Installed::new(&world, "next");
    next.upgrade();
    let watching = Watching::start(&world, &["--json", "--all-repos", "--after", "0"]);
    let mut events = vec![watching.event()];
    for round in 0..6 {
        let said = world.run(&["reserve", "-q", "--no-hold-for-agent", "--thread", &format!("t{round}")]);
        assert_eq!(said.code, Some(0), "{said}");
        match round % 2 {
            0 => world.kill_daemon(),
            _ => world.stop_daemon(),
        }
        if round < 2 {
            world.start_daemon();
        } else {
            world.start_daemon_of(&next.heddled());
        }
    }
    while events.iter().filter(|event| event["kind"] == "daemon_started").count() < 7 {
        events.push(watching.event());
    }
    for (event, revision) in events.iter().zip(1..) {
        assert_eq!(event["revision"], revision, "no gap, nothing twice: {events:?}");
    }
    assert_eq!(events.iter().filter(|event| event["kind"] == "daemon_stopped").count(), 3);
    assert_eq!(events.iter().filter(|event| event["kind"] == "reserved").count(), 6);
    check(&events);
    let (said, rest) = watching.end(Signal::SIGINT);
    assert_eq!(rest, [""; 0]);
    assert_eq!(said.matches("heddled 9.9.9 is newer").count(), 1, "{said}");
}

#[test]
fn one_that_is_killed_and_resumed_after_what_it_showed_misses_nothing() {
    let world = World::with_daemon();
    let mut seen: Vec<Value> = Vec::new();
    for round in 0..20 {
        let after = seen.len().to_string();
        let watching = Watching::start(&world, &["--json", "--all-repos", "--after", &after]);
        let session = world.reserve(&format!("t{round}"));
        seen.push(watching.event());
        assert_eq!(world.run(&["release", "--session", &session]).code, Some(0));
        let (said, rest) = watching.end(Signal::SIGKILL);
        assert_eq!(said, "");
        seen.extend(rest.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
    }
    for (event, revision) in seen.iter().zip(1..) {
        assert_eq!(event["revision"], revision, "no gap, nothing twice");
    }
    assert!(seen.len() >= 20);
}

#[test]
fn it_ends_well_when_nobody_reads_it() {
    let mut world = World::with_daemon();
    for round in ["nothing happens", "there is no daemon"] {
        let mut watching = world.command(&["watch"]);
        let mut child = watching.stdout(Stdio::piped()).spawn().expect("heddlectl runs");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        process::read_line(&mut output);
        if round == "there is no daemon" {
            world.kill_daemon();
        }
        drop(output);
        let mut ended = None;
        until("it ends", || {
            ended = child.try_wait().expect("ours");
            ended.is_some()
        });
        assert_eq!(ended.expect("ended").code(), Some(0), "{round}");
    }
}

#[test]
fn people_see_a_line_an_event_from_now_on() {
    let world = World::with_daemon();
    world.reserve("before");
    let watching = Watching::start(&world, &["--thread", "x"]);
    assert_eq!(steady(&watching.line()), "   REV  AT (UTC)             WHAT            THREAD              SESSION");
    let session = world.reserve("x");
    world.reserve("other");
    assert_eq!(world.run(&["evict", "--session", &session, "--reason", "a test"]).code, Some(0));
    for (kind, detail) in
        [("reserved", "fencing_token="), ("thread_created", "after="), ("evicted", "reason=\"a test\"")]
    {
        let line = watching.line();
        assert!(line.contains(&format!("  {kind}  ")) || line.contains(&format!("  {kind} ")), "{line}");
        assert!(line.contains("  x ") && line.contains(&session) && line.contains(detail), "{line}");
    }
}

#[test]
fn it_needs_a_daemon_to_begin_and_says_what_is_wrong_with_its_filters() {
    let world = World::new();
    assert_eq!(world.run(&["watch"]).code, Some(69));
    let world = World::with_daemon();
    let said = world.run(&["watch", "--after", "1000"]);
    assert_eq!(said.code, Some(2), "{said}");
    assert!(said.stderr.contains("a revision that there is"), "{said}");
    let said = world.run(&["watch", "--thread", "a..b"]);
    assert_eq!(said.code, Some(2), "{said}");
    let said = world.run(&["watch", "--repo", "/", "--json"]);
    assert_eq!((said.code, &said.error()["data"]["kind"]), (Some(3), &json!("repository_not_found")));
}
