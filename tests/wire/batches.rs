//! Batches, notifications, ids.

use serde_json::{Value, json};

use crate::support::{Place, key};

fn call(id: u64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn notification(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

#[test]
fn a_mixed_batch_is_answered_in_one_line_but_for_its_notifications() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let batch = json!([
        call(1, "daemon.info", &json!({})),
        notification("daemon.info", &json!({})),
        5,
        call(2, "no.such", &json!({})),
        call(3, "agent.reserve", &json!({"repo": repo.at(), "thread": "t"})),
        {"foo": "bar"},
        {"jsonrpc": "2.0", "id": "text"},
        notification("no.such", &json!({})),
        call(4, "agent.reserve", &json!({"repo": repo.at(), "thread": "t"})),
    ]);
    client.send_line(&batch.to_string());
    let answers = client.receive();
    let answers = answers.as_array().unwrap();
    let by_id = |id: Value| answers.iter().filter(|answer| answer["id"] == id).collect::<Vec<_>>();
    assert_eq!(answers.len(), 7, "{answers:?}");
    assert!(by_id(json!(1))[0]["result"].is_object());
    assert_eq!(by_id(json!(2))[0]["error"]["data"]["kind"], "method_not_found");
    let kinds: Vec<bool> = [3, 4].map(|id| by_id(json!(id))[0].get("result").is_some()).to_vec();
    assert_eq!(kinds.iter().filter(|won| **won).count(), 1, "R1 within a batch: {answers:?}");
    assert_eq!(by_id(Value::Null).len(), 2, "what is no call");
    assert_eq!(by_id(json!("text"))[0]["error"]["data"]["kind"], "invalid_request");
    client.ok("daemon.info", &json!({}));
}

#[test]
fn empty_and_too_long_batches_are_refused_whole() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    client.send_line("[]");
    let answer = client.receive();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(-32600)));
    let reserve = |n: u64| call(n, "agent.reserve", &json!({"repo": repo.at(), "thread": format!("t{n}")}));
    client.send_line(&Value::from((0..101).map(reserve).collect::<Vec<_>>()).to_string());
    let answer = client.receive();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(1401)), "{answer}");
    assert_eq!(answer["error"]["data"]["details"], json!({"limit": "batch", "value": 101, "max": 100}));
    assert_eq!(repo.branches().len(), 1, "none of it was done");
    client.send_line(&Value::from((0..100).map(reserve).collect::<Vec<_>>()).to_string());
    let answers = client.receive();
    assert_eq!(answers.as_array().unwrap().len(), 100);
    assert_eq!(repo.branches().len(), 101);
    client.send_line(&json!([notification("daemon.info", &json!({}))]).to_string());
    assert!(client.ok("daemon.info", &json!({})).is_object(), "a batch of notifications has no answer");
}

#[test]
fn notifications_change_nothing_and_are_not_answered() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "held");
    let revision = client.ok("daemon.info", &json!({}))["revision"].take();
    let mut evict = json!({"session_id": held["session_id"]});
    evict["reason"] = "a notification".into();
    for (method, params) in [
        ("agent.reserve", json!({"repo": repo.at(), "thread": "t"})),
        ("agent.heartbeat", key(&held)),
        ("agent.release", key(&held)),
        ("agent.evict", evict),
        ("daemon.shutdown", json!({})),
        ("daemon.info", json!({})),
        ("agent.list", json!({})),
        ("no.such", json!({})),
        ("agent.list", json!({"unknown": 1})),
    ] {
        client.send_line(&notification(method, &params).to_string());
    }
    // The first thing that is answered is this call.
    let info = client.ok("daemon.info", &json!({}));
    assert_eq!(info["revision"], revision);
    let mut unchanged = held;
    unchanged["reservation_token"] = Value::Null;
    assert_eq!(client.show(&unchanged), unchanged, "not even its heartbeat");
    assert!(!repo.branches().contains_key("t"));
    daemon.stop();
}

#[test]
fn an_id_of_every_type_comes_back_as_it_was_or_is_refused() {
    let place = Place::new();
    let daemon = place.start();
    let mut client = daemon.client();
    for id in [json!(0), json!(u64::MAX), json!(""), json!("a\u{0}\u{1F600}\"\\"), Value::Null, json!("x".repeat(1000))]
    {
        client.send_line(&json!({"jsonrpc": "2.0", "id": id, "method": "daemon.info"}).to_string());
        let answer = client.receive();
        assert_eq!(answer["id"], id);
        assert!(answer["result"].is_object(), "{answer}");
    }
    for id in ["true", "[1]", "{\"a\":1}", "1.5", "-1", "1e400"] {
        client.send_line(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"daemon.info\"}}"));
        let answer = client.receive();
        let is_refused = answer["id"].is_null() && answer["error"]["data"]["kind"].is_string();
        assert!(is_refused || answer["id"].to_string() == id, "{id}: {answer}");
    }
}
