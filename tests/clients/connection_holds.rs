//! A session that is held by its connection lives on over a connection that is lost and comes back in time.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fake::{Fake, inactive, result};
use crate::puppet::Puppet;
use crate::support::{Place, within};
use crate::tools::{Language, in_both_languages};

fn a_connection_that_comes_back_keeps_its_session(language: Language) {
    let place = Place::new();
    let repo = place.repo("repo");
    let mut daemon = place.start();
    let Some(mut puppet) = Puppet::start(language, &daemon.socket()) else { return };
    let params = json!({"repo": repo.at(), "thread": "mine", "hold_connection": true});
    let mine = puppet.ok(json!({"do": "reserve", "as": "mine", "params": params}));
    assert_eq!(mine["hold"]["connection"], true);
    for _ in 0..2 {
        daemon.kill();
        daemon.restart();
        // It says nothing to the puppet: the connection comes back by itself, and takes the session over.
        let key = json!({"do": "held", "as": "mine", "method": "agent.validate", "params": {}});
        assert_eq!(puppet.ok(key)["valid"], true);
    }
    assert_eq!(daemon.client().show(&mine)["status"], "active");
    puppet.process.kill_and_wait();
    let ended = within(Duration::from_secs(60), "the session ends with its connection", || {
        let now = daemon.client().show(&mine);
        (now["status"] != "active").then_some(now)
    });
    assert_eq!(ended["end_reason"], "connection_lost");
}

/// The client's side of it, on a daemon that has such holds: after a lost connection it comes back unasked, and the
/// first thing that it says is `agent.resume`.
fn what_a_connection_holds_is_resumed_first(language: Language) {
    let reservation = |token: &Value| {
        json!({"reservation": {"session_id": "agent-aaaaaaaaaaaaaaaaaaaa", "thread": "mine", "status": "active",
            "reservation_token": token, "fencing_token": 1, "path": null,
            "hold": {"heartbeat": null, "process": null, "connection": true}}})
    };
    let mut resumed = 0;
    let fake = Fake::start(move |call| match call["method"].as_str().unwrap() {
        "agent.reserve" => Some(vec![result(call, &reservation(&call["params"]["reservation_token"]))]),
        "agent.resume" => {
            resumed += 1;
            if resumed == 3 {
                return Some(vec![inactive(call)]);
            }
            Some(vec![result(call, &reservation(&Value::Null))])
        }
        // A way to lose the connection from here.
        "daemon.shutdown" => None,
        _ => Some(vec![result(call, &json!({}))]),
    });
    let Some(mut puppet) = Puppet::start(language, &fake.socket()) else { return };
    puppet.reserve("mine", &json!({"repo": "/r", "thread": "mine", "hold_connection": true}));
    let token = fake.calls("agent.reserve")[0]["params"]["reservation_token"].clone();
    for times in 1..=3 {
        puppet.ask(json!({"do": "call", "method": "daemon.shutdown", "params": {}})).unwrap_err();
        let calls = within(Duration::from_secs(30), "it comes back unasked", || {
            let calls = fake.calls("agent.resume");
            (calls.len() == times).then_some(calls)
        });
        let key = json!({"session_id": "agent-aaaaaaaaaaaaaaaaaaaa", "reservation_token": token});
        assert_eq!(calls[times - 1]["params"], key);
        assert_eq!(calls[times - 1]["id"], 2, "hello came first, and nothing between");
    }
    assert_eq!(puppet.told("lost")["end_reason"], "connection_lost");
}

in_both_languages!(a_connection_that_comes_back_keeps_its_session, what_a_connection_holds_is_resumed_first);
