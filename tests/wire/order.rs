//! Calls of one connection: answered by id in any order, but about one session applied as they were sent.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Place, Random, key};

#[test]
fn calls_side_by_side_are_answered_by_their_ids() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut asked = BTreeMap::new();
    for n in 0..60 {
        let thread = format!("t{n}");
        asked.insert(client.start("agent.reserve", &json!({"repo": repo.at(), "thread": thread})), Some(thread));
        asked.insert(client.start("daemon.info", &json!({})), None);
    }
    while !asked.is_empty() {
        let answer = client.receive();
        let thread = asked.remove(&answer["id"].as_u64().unwrap()).expect("each is answered once");
        match thread {
            Some(thread) => assert_eq!(answer["result"]["reservation"]["thread"], thread),
            None => assert!(answer["result"]["pid"].is_number()),
        }
    }
}

#[test]
fn calls_about_one_session_are_applied_in_the_order_sent() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let new = repo.loose_commit("HEAD", "two");
    for round in 0..50 {
        let held = client.reserve(repo.at(), &format!("t{round}"));
        let mut update = key(&held);
        update["expected"] = held["anchor_state"].clone();
        update["new"] = new.clone().into();
        let mut abandon = key(&held);
        abandon["status"] = "abandoned".into();
        let calls = [
            ("agent.heartbeat", key(&held), None),
            ("thread.update", update, None),
            ("agent.release", key(&held), None),
            ("agent.heartbeat", key(&held), Some("agent_session_inactive")),
            ("agent.release", key(&held), None),
            ("agent.release", abandon, Some("agent_session_inactive")),
        ];
        let mut lines = String::new();
        for (id, (method, params, _)) in calls.iter().enumerate() {
            lines += &(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string() + "\n");
        }
        client.send(lines.as_bytes()).unwrap();
        let mut answers: BTreeMap<u64, Value> = BTreeMap::new();
        for _ in &calls {
            let answer = client.receive();
            answers.insert(answer["id"].as_u64().unwrap(), answer);
        }
        for ((method, _, refusal), answer) in calls.iter().zip(answers.values()) {
            let kind = answer["error"]["data"]["kind"].as_str();
            assert_eq!(kind, *refusal, "round {round}, {method}: {answer}");
        }
        assert_eq!(repo.id(&format!("refs/heads/t{round}")), new);
    }
}

#[test]
fn a_session_that_is_busy_keeps_no_other_waiting() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut random = Random::new(13);
    let held: Vec<Value> = (0..8).map(|n| client.reserve(repo.at(), &format!("t{n}"))).collect();
    let mut expected = BTreeMap::new();
    for _ in 0..60 {
        let session = random.pick(&held);
        expected.insert(client.start("agent.heartbeat", &key(session)), session["session_id"].clone());
    }
    for _ in 0..60 {
        let answer = client.receive();
        let session = expected.remove(&answer["id"].as_u64().unwrap()).unwrap();
        assert_eq!(answer["result"]["reservation"]["session_id"], session);
    }
}
