//! A call whose connection is lost before its answer is sent again where that is safe, and nowhere else.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fake::{Fake, result};
use crate::puppet::Puppet;
use crate::support::{Stopwatch, eventually};
use crate::tools::{Language, in_both_languages};

/// How long a daemon takes to hang up.
const PAUSE: Duration = Duration::from_millis(20);

const TOKEN: &str = "hrt_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A daemon that hangs up on the first call of each method, and answers the next ones.
fn forgetful() -> Fake {
    let mut seen: Vec<String> = Vec::new();
    Fake::start(move |call| {
        let method = call["method"].as_str().unwrap().to_owned();
        if !seen.contains(&method) {
            seen.push(method);
            // So long that who waits has waited for some time.
            let watch = Stopwatch::start();
            return eventually("some time has passed", || (watch.elapsed() > PAUSE).then_some(None));
        }
        let reservation = json!({"session_id": "agent-aaaaaaaaaaaaaaaaaaaa", "thread": "mine", "status": "active",
            "reservation_token": call["params"]["reservation_token"], "fencing_token": 1, "path": null,
            "hold": {"heartbeat": null, "process": null, "connection": false}});
        Some(vec![result(call, &json!({"reservation": reservation}))])
    })
}

fn what_is_safe_to_repeat_is_repeated(language: Language) {
    let fake = forgetful();
    let Some(mut puppet) = Puppet::start(language, &fake.socket()) else { return };
    let key = json!({"session_id": "agent-aaaaaaaaaaaaaaaaaaaa", "reservation_token": TOKEN});
    for (method, params) in [("agent.list", json!({})), ("agent.heartbeat", key.clone()), ("agent.release", key)] {
        puppet.ok(json!({"do": "call", "method": method, "params": params}));
        assert_eq!(fake.calls(method).len(), 2, "{method} is sent again");
    }
    puppet.reserve("mine", &json!({"repo": "/r", "thread": "mine", "wait_ms": 60_000}));
    let calls = fake.calls("agent.reserve");
    let [first, second] = calls.as_slice() else { panic!("a reserve is sent again: {calls:?}") };
    for name in ["request_id", "reservation_token", "repo", "thread"] {
        assert!(first["params"][name].is_string(), "{first}");
        assert_eq!(first["params"][name], second["params"][name], "{name}: it is the same request");
    }
    let wait = |call: &Value| call["params"]["wait_ms"].as_u64().unwrap();
    let waited = wait(first).saturating_sub(wait(second));
    assert!(u128::from(waited) >= PAUSE.as_millis() - 1, "what was waited before counts: {waited}");
    assert!(wait(second) > 0, "0 would not wait");
}

fn what_may_have_happened_is_not_repeated(language: Language) {
    let fake = forgetful();
    let Some(mut puppet) = Puppet::start(language, &fake.socket()) else { return };
    let key = json!({"session_id": "agent-aaaaaaaaaaaaaaaaaaaa", "reservation_token": TOKEN});
    let evict = json!({"session_id": "agent-aaaaaaaaaaaaaaaaaaaa", "reason": "it is in the way"});
    let bare = json!({"repo": "/r", "thread": "mine"});
    for (method, params) in [("agent.capture", key), ("agent.evict", evict), ("agent.reserve", bare)] {
        let refused = puppet.ask(json!({"do": "call", "method": method, "params": params})).unwrap_err();
        assert_eq!(refused["error"], "OutcomeUnknown", "{refused}");
        assert!(refused["text"].as_str().unwrap().starts_with(method), "{refused}");
        assert_eq!(fake.calls(method).len(), 1, "{method} is sent once");
    }
    puppet.ok(json!({"do": "call", "method": "agent.capture", "params": {}}));
}

/// Also what may be repeated may have happened, once it was sent and there is nobody left to ask.
fn what_was_sent_and_never_answered_may_have_happened(language: Language) {
    let directory = Fake::directory();
    let socket = directory.path().join("d.sock");
    let fake = Fake::within(directory, move |_| {
        std::fs::remove_file(&socket).unwrap();
        None
    });
    let Some(mut command) = language.command("tests/puppet") else { return };
    let mut puppet = Puppet::launch(command.env("HEDDLE_SOCKET", fake.socket()).env("PUPPET_PATIENCE_MS", "100"));
    puppet.told("connected");
    let reserve = json!({"do": "reserve", "as": "mine", "params": {"repo": "/r", "thread": "mine"}});
    assert_eq!(puppet.ask(reserve.clone()).unwrap_err()["error"], "OutcomeUnknown");
    assert_eq!(puppet.ask(reserve).unwrap_err()["error"], "Unreachable", "this one was never sent");
}

/// Nobody knows of a grant that came after its caller had given up, so it is given back. In Python alone, whose patience a
/// test can shorten.
#[test]
fn a_grant_that_comes_too_late_is_given_back() {
    let mut is_late = true;
    let fake = Fake::start(move |call| {
        if std::mem::take(&mut is_late) {
            let watch = Stopwatch::start();
            eventually("its caller has given up", || (watch.elapsed() > PAUSE * 10).then_some(()));
        }
        let reservation = json!({"session_id": "agent-aaaaaaaaaaaaaaaaaaaa", "thread": "mine", "status": "active"});
        Some(vec![result(call, &json!({"reservation": reservation}))])
    });
    let Some(mut command) = Language::Python.command("tests/puppet") else { return };
    let mut puppet = Puppet::launch(command.env("HEDDLE_SOCKET", fake.socket()).env("PUPPET_ANSWER_MS", "20"));
    puppet.told("connected");
    let reserve = json!({"do": "reserve", "as": "mine", "params": {"repo": "/r", "thread": "mine"}});
    assert_eq!(puppet.ask(reserve).unwrap_err()["error"], "OutcomeUnknown");
    let given_back = eventually("it is given back", || fake.calls("agent.release").pop());
    let token = &fake.calls("agent.reserve")[0]["params"]["reservation_token"];
    assert_eq!(
        (&given_back["params"]["reservation_token"], &given_back["params"]["status"]),
        (token, &json!("abandoned"))
    );
}

/// A subscriber that fell behind goes on where it was told to; what it is told again it does not tell.
fn a_subscription_goes_on_where_it_was(language: Language) {
    let mut subscriptions = 0;
    let fake = Fake::start(move |call| {
        let event = |revision: u64, kind: &str, detail: Value| {
            let result = json!({"revision": revision, "at": "2026-01-02T03:04:05.678Z", "kind": kind, "repo": null,
                "thread": null, "session_id": null, "detail": detail});
            json!({"jsonrpc": "2.0", "method": "events.event", "params": {"subscription": "sub-1", "result": result}})
        };
        let reserved = |revision| event(revision, "reserved", json!({}));
        match call["method"].as_str().unwrap() {
            "daemon.info" => Some(vec![result(call, &json!({"revision": 10}))]),
            "events.subscribe" => {
                subscriptions += 1;
                let mut lines = vec![result(call, &json!("sub-1"))];
                lines.extend(match subscriptions {
                    1 => vec![reserved(11), reserved(14), event(14, "lagged", json!({"resume_after": 14}))],
                    // One line too many: it is behind `after`.
                    2 => vec![reserved(14), reserved(15), event(17, "lagged", json!({"resume_after": 17}))],
                    _ => vec![reserved(18)],
                });
                Some(lines)
            }
            _ => None,
        }
    });
    let Some(mut puppet) = Puppet::start(language, &fake.socket()) else { return };
    puppet.ok(json!({"do": "subscribe", "params": {"repo": "/r"}}));
    let seen: Vec<_> = (0..4).map(|_| puppet.told("event")["revision"].as_u64().unwrap()).collect();
    assert_eq!(seen, [11, 14, 15, 18]);
    let calls = fake.calls("events.subscribe");
    let after: Vec<_> = calls.iter().map(|call| call["params"]["after"].as_u64().unwrap()).collect();
    assert_eq!(after, [10, 14, 17]);
    assert!(calls.iter().all(|call| call["params"]["repo"] == "/r"), "the filters stay: {calls:?}");
}

in_both_languages!(
    what_is_safe_to_repeat_is_repeated,
    what_may_have_happened_is_not_repeated,
    what_was_sent_and_never_answered_may_have_happened,
    a_subscription_goes_on_where_it_was,
);
