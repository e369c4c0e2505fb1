//! Subscriptions as they stand on the wire: the answer first, then each event once, as its schema says.

use std::os::unix::fs::DirBuilderExt;

use heddled::registry::{Change, Registry};
use heddled::store;
use proto_schema::Timestamp;
use serde_json::{Value, json};

use crate::schema::Schemas;
use crate::support::{Client, Place, eventually};

/// The revisions of events.
fn revisions(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["revision"].as_u64().unwrap()).collect()
}

#[test]
fn events_are_the_operation_log_live_and_as_their_schema_says() {
    let place = Place::new();
    let daemon = place.start();
    let (repo, other) = (place.repo("r"), place.repo("other"));
    let schemas = Schemas::read();
    let mut client = daemon.client();
    let before = client.reserve(repo.at(), "before");
    client.release(&before);
    // Each filter, each from the beginning; nothing was ever reserved in the second repository.
    let filters = [
        json!({}),
        json!({"repo": repo.at()}),
        json!({"repo": other.at()}),
        json!({"thread": "x"}),
        json!({"repo": repo.at(), "thread": "x"}),
    ];
    let mut subscribers: Vec<(Value, Client, Value)> = Vec::new();
    for filter in filters {
        let mut subscriber = daemon.client();
        let mut params = filter.clone();
        params["after"] = 0.into();
        let subscription = subscriber.subscribe(&params);
        subscribers.push((filter, subscriber, subscription));
    }
    for at in [repo.at(), other.at(), repo.at()] {
        let held = client.reserve(at, "x");
        client.release(&held);
    }
    for (filter, mut subscriber, subscription) in subscribers {
        let mut params = filter.clone();
        params["limit"] = 1000.into();
        let expected = client.ok("oplog.list", &params)["operations"].take();
        let expected = expected.as_array().unwrap();
        assert!(expected.len() >= 3, "{filter}: {expected:?}");
        let events: Vec<Value> = expected.iter().map(|_| subscriber.event(&subscription)).collect();
        assert_eq!(&events, expected, "{filter}");
        for event in &events {
            schemas.check_event(&json!({"subscription": subscription, "result": event}));
        }
        // Nothing more: what comes next is the answer of a call.
        assert_eq!(subscriber.ok("events.unsubscribe", &json!([subscription])), true);
    }
}

#[test]
fn the_answer_comes_before_the_first_event_and_nothing_comes_after_the_end() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "t");
    let subscribe = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "events.subscribe", "params": {"after": 0}});
    // As a batch, too.
    for line in [subscribe(7).to_string(), json!([subscribe(7)]).to_string()] {
        let mut subscriber = daemon.client();
        subscriber.send_line(&line);
        let answer = subscriber.receive();
        let answer = answer.get(0).unwrap_or(&answer);
        assert_eq!(answer["id"], 7, "{answer}");
        let first = subscriber.event(&answer["result"]);
        assert_eq!((&first["revision"], &first["kind"]), (&json!(1), &json!("daemon_started")));
    }
    // One connection carries several, and each ends alone.
    let mut subscriber = daemon.client();
    let (one, two) = (subscriber.subscribe(&json!({})), subscriber.subscribe(&json!({})));
    assert_ne!(one, two);
    let id = subscriber.start("events.unsubscribe", &json!({"subscription": one}));
    client.release(&held);
    let mut answered = false;
    loop {
        let told = subscriber.receive();
        if told.get("id").is_some() {
            assert_eq!((&told["id"], &told["result"]), (&json!(id), &json!(true)), "{told}");
            answered = true;
        } else if told["params"]["subscription"] == two {
            assert_eq!(told["params"]["result"]["kind"], "released");
            if answered {
                break;
            }
        } else {
            assert!(!answered, "nothing of it comes after its end: {told}");
        }
    }
    // Another's is not theirs to end.
    assert_eq!(client.ok("events.unsubscribe", &json!({"subscription": two})), false);
}

#[test]
fn a_subscription_that_nobody_would_know_of_is_not_made() {
    let place = Place::new();
    let daemon = place.start();
    let mut client = daemon.client();
    client.send_line(&json!({"jsonrpc": "2.0", "method": "events.subscribe", "params": {"after": 0}}).to_string());
    assert_eq!(client.ok("daemon.info", &json!({}))["counts"]["subscriptions"], 0);
    let newest = client.ok("daemon.info", &json!({}))["revision"].as_u64().unwrap();
    let mut schemas = Schemas::read();
    let fault = schemas.refused(&mut client, "invalid_params", "events.subscribe", &json!({"after": newest + 1}));
    assert_eq!(fault.details()["field"], "after");
    schemas.refused(&mut client, "invalid_params", "events.subscribe", &json!({"repo": "relative"}));
    schemas.refused(&mut client, "repository_not_found", "events.subscribe", &json!({"repo": "/"}));
    schemas.refused(&mut client, "thread_name_invalid", "events.subscribe", &json!({"thread": "a..b"}));
    assert_eq!(client.ok("daemon.info", &json!({}))["counts"]["subscriptions"], 0);
}

#[test]
fn subscriptions_are_limited_and_end_with_their_connection() {
    let place = Place::new();
    place.configure("[limits]\nsubscriptions = 2\n");
    let daemon = place.start();
    let mut schemas = Schemas::read();
    let (mut one, mut two) = (daemon.client(), daemon.client());
    let first = one.subscribe(&json!({}));
    two.subscribe(&json!({}));
    let fault = schemas.refused(&mut one, "limit_exceeded", "events.subscribe", &json!({}));
    assert_eq!(fault.details(), &json!({"limit": "subscriptions", "value": 2, "max": 2}));
    assert_eq!(one.ok("events.unsubscribe", &json!({"subscription": first})), true);
    one.subscribe(&json!({}));
    let count = |client: &mut Client| client.ok("daemon.info", &json!({}))["counts"]["subscriptions"].clone();
    assert_eq!(count(&mut daemon.client()), 2);
    // Half closed is closed: who subscribes keeps its side open.
    two.half_close();
    two.expect_end();
    assert_eq!(count(&mut daemon.client()), 1);
    drop(one);
    eventually("all have ended", || (count(&mut daemon.client()) == 0).then_some(()));
}

#[test]
fn v3_what_is_no_longer_kept_is_said_to_be_so() {
    let place = Place::new();
    // A daemon was started five times, and forty days later looks at the clock agreed that this is old.
    std::fs::DirBuilder::new().mode(0o700).create(place.state()).unwrap();
    let mut opened = store::open(&place.state(), &store::Options::default()).unwrap();
    let mut registry = Registry::default();
    let long_ago = Timestamp::from_unix_ms(1_600_000_000_000);
    for pid in 1..=5 {
        let entry = registry.entry(long_ago, Change::DaemonStarted { version: "0".into(), pid });
        registry.apply(&entry);
        let operations = registry.operation(&entry).into_iter().collect();
        opened.store.append(&[entry], operations, &registry).unwrap();
    }
    let as_of = Timestamp::from_unix_ms(1_600_000_000_000 + 40 * 86_400_000);
    let pruned = registry.entry(as_of, Change::Pruned { as_of });
    registry.apply(&pruned);
    opened.store.append(&[pruned], Vec::new(), &registry).unwrap();
    opened.store.close(&registry).unwrap();
    let mut daemon = place.start();
    let mut client = daemon.client();
    let all = client.subscribe(&json!({"after": 0}));
    let events: Vec<Value> = (0..6).map(|_| client.event(&all)).collect();
    assert_eq!(revisions(&events), [1, 2, 3, 4, 5, 6], "they are kept until others are written");
    daemon.stop();
    daemon.restart();
    let mut schemas = Schemas::read();
    let mut client = daemon.client();
    let fault = schemas.refused(&mut client, "events_compacted", "events.subscribe", &json!({"after": 4}));
    assert_eq!(fault.details(), &json!({"oldest": 6}));
    assert_eq!(fault.0["data"]["primary_command"], "heddlectl watch --after 5");
    let rest = client.subscribe(&json!({"after": 5}));
    let events: Vec<Value> = (0..3).map(|_| client.event(&rest)).collect();
    assert_eq!(revisions(&events), [6, 7, 8], "started, stopped, started again");
}
