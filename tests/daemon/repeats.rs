//! The same thing asked twice.

use std::sync::Barrier;

use serde_json::{Value, json};

use crate::support::{Place, Random, eventually, key, token};

#[test]
fn releasing_twice_is_a_success_that_changes_nothing() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "t");
    let first = client.release(&held);
    let revision = client.ok("daemon.info", &json!({}))["revision"].take();
    assert_eq!(client.release(&held), first);
    let mut abandon = key(&held);
    abandon["status"] = "abandoned".into();
    let fault = client.refused("agent_session_inactive", "agent.release", &abandon);
    assert_eq!((&fault.details()["status"], &fault.details()["end_reason"]), (&json!("complete"), &json!("released")));
    assert_eq!(client.show(&held), first, "R4");
    assert_eq!(client.ok("daemon.info", &json!({}))["revision"], revision);
    // Not found, then the token, then inactive.
    let mut wrong = key(&held);
    wrong["reservation_token"] = token(&mut Random::new(4)).into();
    client.refused("reservation_token_mismatch", "agent.release", &wrong);
    wrong["session_id"] = "agent-aaaaaaaaaaaaaaaaaaaa".into();
    client.refused("agent_session_not_found", "agent.release", &wrong);
}

#[test]
fn a_request_id_used_for_something_else_is_a_conflict_that_names_only_the_parameters() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let mut random = Random::new(5);
    let secret = token(&mut random);
    let params = json!({
        "repo": repo.at(), "thread": "t", "request_id": "r1", "reservation_token": secret, "task": "the secret plan",
        "ttl_ms": 60_000,
    });
    let mut client = daemon.client();
    let held = client.ok("agent.reserve", &params)["reservation"].take();
    type Change<'a> = (&'a [(&'a str, Value)], &'a [&'a str]);
    let changes: [Change<'_>; 14] = [
        (&[("task", json!("another plan"))], &["task"]),
        (&[("ttl_ms", json!(61_000))], &["ttl_ms"]),
        (&[("thread", json!("u")), ("model", json!("m"))], &["model", "thread"]),
        (&[("reservation_token", json!(token(&mut random)))], &["reservation_token"]),
        (&[("reservation_token", json!(token(&mut random))), ("task", json!("x"))], &["reservation_token"]),
        // What no request may be is a conflict all the same: a known request is looked up before anything is checked.
        (&[("thread", json!("a..b"))], &["thread"]),
        (&[("repo", json!("relative"))], &["repo"]),
        (&[("repo", json!("/nowhere"))], &["repo"]),
        (&[("ttl_ms", json!(1))], &["ttl_ms"]),
        (&[("ttl_ms", json!("long")), ("at_tip", json!(5))], &["at_tip", "ttl_ms"]),
        (
            &[("hold_connection", json!(true)), ("new_in_version_9", json!(1))],
            &["hold_connection", "unknown parameter"],
        ),
        (&[("reservation_token", json!("hrt_x"))], &["reservation_token"]),
        (&[("reservation_token", Value::Null)], &["reservation_token"]),
        (&[("path", json!("/nowhere")), ("worktree", json!({}))], &["path", "worktree"]),
    ];
    for restart in [false, true] {
        if restart {
            daemon.kill();
            daemon.restart();
            client = daemon.client();
        }
        for (change, differing) in &changes {
            let mut other = params.clone();
            for (name, value) in *change {
                other[*name] = value.clone();
            }
            let fault = client.refused("idempotency_conflict", "agent.reserve", &other);
            assert_eq!(fault.details(), &json!({"request_id": "r1", "differing": differing}));
            let told = fault.0.to_string();
            for value in ["the secret plan", &secret, other["reservation_token"].as_str().unwrap_or(&secret)] {
                assert!(!told.contains(value), "only names are told: {told}");
            }
        }
        let mut params = params.clone();
        params["model"] = Value::Null;
        let again = client.ok("agent.reserve", &params);
        assert_eq!((&again["replayed"], &again["reservation"]["session_id"]), (&json!(true), &held["session_id"]));
    }
    client.release(&held);
    client.refused("agent_session_inactive", "agent.reserve", &params);
    assert!(client.holder(repo.at(), "t").is_none(), "a request that has had its session gets no other");
}

#[test]
fn the_same_request_at_the_same_time_is_one_reservation() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut random = Random::new(6);
    for round in 0..30 {
        // New threads, so that there is Git work to join.
        let params = json!({
            "repo": repo.at(), "thread": format!("t{round}"), "request_id": format!("r{round}"),
            "reservation_token": token(&mut random),
        });
        let barrier = Barrier::new(4);
        let answers: Vec<Value> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = daemon.client();
                        barrier.wait();
                        client.ok("agent.reserve", &params)
                    })
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        let ids: Vec<&Value> = answers.iter().map(|answer| &answer["reservation"]["session_id"]).collect();
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
        assert_eq!(answers.iter().filter(|answer| answer["replayed"] == false).count(), 1);
    }
    let listed = daemon.client().ok("agent.list", &json!({"status": "active"}));
    assert_eq!(listed["reservations"].as_array().unwrap().len(), 30);
}

#[test]
fn the_owner_of_the_same_request_is_recognized() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    client.reserve(repo.at(), "t");
    let other = json!({
        "repo": repo.at(), "thread": "t", "request_id": "r2", "reservation_token": token(&mut Random::new(7)),
    });
    let fault = client.refused("live_owner", "agent.reserve", &other);
    assert_eq!(fault.details()["same_request"], false);
}

#[test]
fn a_heartbeat_never_revives_what_has_expired() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let params = json!({"repo": repo.at(), "thread": "t", "ttl_ms": 1000});
    let held = client.ok("agent.reserve", &params)["reservation"].take();
    let ended = eventually("it expires", || Some(client.show(&held)).filter(|now| now["status"] != "active"));
    assert_eq!((&ended["status"], &ended["end_reason"]), (&json!("abandoned"), &json!("heartbeat_expired")));
    for _ in 0..3 {
        let fault = client.refused("agent_session_inactive", "agent.heartbeat", &key(&held));
        assert_eq!(fault.details()["end_reason"], "heartbeat_expired");
    }
    assert_eq!(client.show(&held), ended, "R4: nothing of it changes");
    let next = client.reserve(repo.at(), "t");
    assert!(next["fencing_token"].as_u64() > held["fencing_token"].as_u64(), "R2");
    client.refused("agent_session_inactive", "agent.heartbeat", &key(&held));
    let valid = client.ok("agent.validate", &key(&held));
    assert_eq!((&valid["valid"], &valid["reason"]), (&json!(false), &json!("agent_session_inactive")));
}
