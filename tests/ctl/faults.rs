//! What a sound daemon never does: lost answers, an answer that is none, a daemon of another version, a socket in a
//! place that is not safe. A scripted server does it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{World, until};
use crate::watch::Watching;

/// What is done with one call: the line to say, or nothing and the connection is cut.
pub(crate) type Answer = fn(&Value) -> Option<String>;

/// A server that answers the calls, one connection after the other, with these answers in turn; the last one stays.
pub(crate) fn scripted(world: &World, server: &'static str, answers: &[Answer]) -> Arc<Mutex<Vec<Value>>> {
    let listener = UnixListener::bind(world.socket()).expect("bound");
    let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
    let (calls, mut answers) = (Arc::clone(&seen), answers.to_vec());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            serve(&stream, server, &mut answers, &calls);
        }
    });
    seen
}

fn serve(stream: &UnixStream, server: &str, answers: &mut Vec<Answer>, calls: &Mutex<Vec<Value>>) {
    let mut writer = stream;
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let call: Value = serde_json::from_str(&line).expect("a call");
        let said = if call["method"] == "daemon.hello" {
            let hello = json!({"protocol": 1, "server": server, "capabilities": []});
            Some(json!({"jsonrpc": "2.0", "id": call["id"], "result": hello}).to_string())
        } else {
            calls.lock().expect("unpoisoned").push(call.clone());
            let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0] };
            answer(&call)
        };
        let Some(said) = said else { return };
        if writer.write_all(format!("{said}\n").as_bytes()).is_err() {
            return;
        }
    }
}

pub(crate) const SAME: &str = concat!("heddled/", env!("CARGO_PKG_VERSION"));

#[expect(clippy::unnecessary_wraps, reason = "one of several answers")]
fn list(call: &Value) -> Option<String> {
    let result = json!({"reservations": [], "alive_only": false, "thread": null, "verification": null, "revision": 1,
        "next_cursor": null, "of_tomorrow": [1]});
    Some(json!({"jsonrpc": "2.0", "id": call["id"], "result": result}).to_string())
}

fn lost(_: &Value) -> Option<String> {
    None
}

#[test]
fn a_lost_answer_is_asked_for_again_where_that_is_safe() {
    let world = World::new();
    let calls = scripted(&world, SAME, &[lost, list]);
    assert_eq!(world.run(&["list"]).code, Some(0));
    assert_eq!(calls.lock().expect("unpoisoned").len(), 2);
}

#[test]
fn a_reserve_whose_answers_are_all_lost_keeps_its_token() {
    let world = World::new();
    let calls = scripted(&world, SAME, &[lost]);
    let said = world.run(&["reserve", "-t", "x"]);
    assert_eq!(said.code, Some(69), "{said}");
    assert!(said.stderr.contains("may or may not have been executed"), "{said}");
    let calls = calls.lock().expect("unpoisoned");
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0]["params"], calls[1]["params"], "exactly the same request");
    let request = calls[0]["params"]["request_id"].as_str().expect("an id");
    assert_eq!(world.token_files(), [format!(".{request}")]);
}

#[test]
fn an_eviction_is_not_sent_twice() {
    let world = World::new();
    let calls = scripted(&world, SAME, &[lost]);
    let said = world.run(&["evict", &format!("agent-{}", "a".repeat(20)), "--reason", "r"]);
    assert_eq!(said.code, Some(69), "{said}");
    assert_eq!(calls.lock().expect("unpoisoned").len(), 1);
}

#[test]
fn a_daemon_of_another_version_is_warned_of_on_stderr_only() {
    let world = World::new();
    let _calls = scripted(&world, "heddled/99.0.0", &[list]);
    let said = world.run(&["list", "--json"]);
    assert_eq!(said.code, Some(0), "members of tomorrow are ignored: {said}");
    assert!(serde_json::from_str::<Value>(&said.stdout).is_ok(), "{said}");
    assert!(said.stderr.contains("heddled 99.0.0 is running"), "{said}");
    assert_eq!(world.run(&["list", "--json", "--quiet"]).stderr, "");
}

#[test]
fn an_answer_that_cannot_be_read_is_said_to_be_so() {
    let world = World::new();
    let _calls = scripted(&world, SAME, &[|_| Some("220 smtp.example.com".to_owned())]);
    let said = world.run(&["list"]);
    assert_eq!(said.code, Some(1), "{said}");
    assert!(said.stderr.contains("cannot read the daemon's answer"), "{said}");
}

#[test]
fn an_unknown_kind_of_tomorrow_still_has_its_sentence() {
    let world = World::new();
    let answer: Answer = |call| {
        let data = json!({"kind": "of_tomorrow", "error": "not on Sundays"});
        let error = json!({"code": 1999, "message": "not on Sundays", "data": data});
        Some(json!({"jsonrpc": "2.0", "id": call["id"], "error": error}).to_string())
    };
    let _calls = scripted(&world, SAME, &[answer]);
    insta::assert_snapshot!(world.run(&["list"]), @r"
    ! error: not on Sundays
    [exit 1]
    ");
}

#[test]
fn nothing_is_sent_where_another_could_have_put_the_socket() {
    let world = World::new();
    let calls = scripted(&world, SAME, &[list]);
    std::fs::set_permissions(world.path("run/heddle"), std::fs::Permissions::from_mode(0o777)).expect("mode");
    let said = world.run(&["list"]);
    assert_eq!(said.code, Some(77), "{said}");
    assert!(said.stderr.contains("the socket's directory is not safe"), "{said}");
    assert!(calls.lock().expect("unpoisoned").is_empty());
}

/// The answer of a subscription, and the events that follow it.
fn events(call: &Value, events: &[Value]) -> String {
    let mut lines = vec![json!({"jsonrpc": "2.0", "id": call["id"], "result": "sub-1"})];
    let told = |event| json!({"jsonrpc": "2.0", "method": "events.event", "params": {"subscription": "sub-1", "result": event}});
    lines.extend(events.iter().map(told));
    lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}

fn event(revision: u64, kind: &str, detail: &Value) -> Value {
    json!({"revision": revision, "at": "2026-08-01T12:00:00.000Z", "kind": kind, "repo": null, "thread": null,
        "session_id": null, "detail": detail})
}

#[test]
fn a_watch_that_is_told_that_it_missed_something_says_so_and_goes_on() {
    let world = World::new();
    let compacted: Answer = |call| {
        let data = json!({"kind": "events_compacted", "error": "gone", "hint": "go on", "unsafe_condition": null,
            "would_change": null, "preserved": null, "primary_command": null, "recovery_commands": [], "retryable": false,
            "retry_after_ms": null, "details": {"oldest": 5}, "request": null});
        let error = json!({"code": 1203, "message": "gone", "data": data});
        Some(json!({"jsonrpc": "2.0", "id": call["id"], "error": error}).to_string())
    };
    let behind: Answer = |call| {
        let lagged = event(5, "lagged", &json!({"resume_after": 5}));
        Some(events(call, &[event(5, "released", &json!({})), lagged]))
    };
    let rest: Answer = |call| Some(events(call, &[event(6, "of_tomorrow", &json!({"x": 1}))]));
    let calls = scripted(&world, SAME, &[compacted, behind, rest]);
    let watching = Watching::start(&world, &["--json", "--all-repos", "--after", "1"]);
    assert_eq!(watching.event(), event(5, "released", &json!({})));
    assert_eq!(watching.event(), event(6, "of_tomorrow", &json!({"x": 1})), "what is not known is shown as it is");
    until("it waits for more", || calls.lock().expect("unpoisoned").len() == 3);
    let (said, shown) = watching.end(nix::sys::signal::Signal::SIGINT);
    assert_eq!(shown, [""; 0]);
    insta::assert_snapshot!(said, @r"
    warning: revisions 2 to 4 are no longer kept, and are not shown
    this fell behind; reading on after revision 5
    ");
    let after: Vec<Value> =
        calls.lock().expect("unpoisoned").iter().map(|call| call["params"]["after"].clone()).collect();
    assert_eq!(after, [1, 4, 5]);
}
