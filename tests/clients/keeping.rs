//! Reservations are kept alive in the background, given back when their block ends, and their loss is told.

use serde_json::json;

use crate::fake::{Fake, inactive, result};
use crate::puppet::Puppet;
use crate::support::{Place, eventually};
use crate::tools::{Language, in_both_languages};

fn heartbeats_come_by_themselves(language: Language) {
    let place = Place::new();
    let repo = place.repo("repo");
    let daemon = place.start();
    let Some(mut puppet) = Puppet::start(language, &daemon.socket()) else { return };
    let mine = puppet.reserve("mine", &json!({"repo": repo.at(), "thread": "mine", "ttl_ms": 1000}));
    let mut client = daemon.client();
    let mut seen = vec![mine["heartbeat_at"].clone()];
    // Three within the time to live, so five take longer than it.
    eventually("five heartbeats", || {
        let now = client.show(&mine);
        assert_eq!(now["status"], "active", "{now}");
        if seen.last() != Some(&now["heartbeat_at"]) {
            seen.push(now["heartbeat_at"].clone());
        }
        (seen.len() > 5).then_some(())
    });
    let released = puppet.ok(json!({"do": "held", "as": "mine", "method": "agent.release", "params": {}}));
    assert_eq!(released["reservation"]["status"], "complete");
    assert!(!puppet.has_told("lost"), "what was given back is not lost");
}

fn a_lost_reservation_is_told_and_of_no_more_use(language: Language) {
    let place = Place::new();
    let repo = place.repo("repo");
    let daemon = place.start();
    let Some(mut puppet) = Puppet::start(language, &daemon.socket()) else { return };
    let mine = puppet.reserve("mine", &json!({"repo": repo.at(), "thread": "mine", "ttl_ms": 1500}));
    assert_eq!(puppet.ok(json!({"do": "is_held", "as": "mine"})), true);
    let evict = json!({"session_id": mine["session_id"], "reason": "to see whether it is told"});
    daemon.client().ok("agent.evict", &evict);
    let lost = puppet.told("lost");
    assert_eq!((&lost["session_id"], &lost["end_reason"]), (&mine["session_id"], &json!("evicted")));
    assert_eq!(puppet.ok(json!({"do": "is_held", "as": "mine"})), false);
    for method in ["agent.heartbeat", "agent.validate", "agent.release"] {
        let refused = puppet.ask(json!({"do": "held", "as": "mine", "method": method, "params": {}})).unwrap_err();
        assert_eq!(refused["error"], "ReservationLost", "{method}: {refused}");
    }
    assert!(!puppet.has_told("lost"), "it is told once");
}

/// A heartbeat that was under way when the session was released is refused; that is not how a session is lost.
fn the_end_of_a_release_is_no_loss(language: Language) {
    let session = "agent-aaaaaaaaaaaaaaaaaaaa";
    let told = move |status: &str| {
        json!({"reservation": {"session_id": session, "thread": "mine", "status": status, "reservation_token": null,
            "fencing_token": 1, "path": null, "hold": {"process": null, "connection": false,
            "heartbeat": {"ttl_ms": 1000, "expires_at": "2026-01-02T03:04:05.678Z"}}}})
    };
    let mut beat = None;
    let fake = Fake::start(move |call| match call["method"].as_str().unwrap() {
        "agent.heartbeat" => {
            beat = Some(call.clone());
            Some(Vec::new())
        }
        "agent.release" => Some(vec![inactive(beat.as_ref().unwrap()), result(call, &told("complete"))]),
        _ => Some(vec![result(call, &told("active"))]),
    });
    let Some(mut puppet) = Puppet::start(language, &fake.socket()) else { return };
    puppet.reserve("mine", &json!({"repo": "/r", "thread": "mine"}));
    eventually("a heartbeat is under way", || (fake.calls("agent.heartbeat").len() == 1).then_some(()));
    puppet.ok(json!({"do": "held", "as": "mine", "method": "agent.release", "params": {}}));
    puppet.ok(json!({"do": "call", "method": "daemon.info", "params": {}}));
    assert!(!puppet.has_told("lost"));
}

fn a_block_that_ends_gives_its_thread_back(language: Language) {
    let place = Place::new();
    let repo = place.repo("repo");
    let daemon = place.start();
    let Some(mut puppet) = Puppet::start(language, &daemon.socket()) else { return };
    for (thread, fails, status) in [("good", false, "complete"), ("bad", true, "abandoned")] {
        let params = json!({"repo": repo.at(), "thread": thread});
        let ended = puppet.ask(json!({"do": "block", "fails": fails, "params": params}));
        match ended {
            Ok(_) => assert!(!fails),
            Err(error) => assert!(fails && error["text"] == "the work failed", "{error}"),
        }
        let listed = daemon.client().ok("agent.list", &json!({"repo": repo.at(), "thread": thread}));
        assert_eq!(listed["reservations"][0]["status"], status, "{thread}");
    }
}

fn a_refusal_is_an_error_of_its_own_kind(language: Language) {
    let place = Place::new();
    let repo = place.repo("repo");
    let daemon = place.start();
    let Some(mut puppet) = Puppet::start(language, &daemon.socket()) else { return };
    daemon.client().reserve(repo.at(), "busy");
    let params = json!({"repo": repo.at(), "thread": "busy"});
    let refused = puppet.ask(json!({"do": "reserve", "as": "mine", "params": params})).unwrap_err();
    assert_eq!((&refused["error"], &refused["kind"]), (&json!("LiveOwner"), &json!("live_owner")));
    assert!(refused["text"].as_str().unwrap().contains("; next: heddlectl thread show busy"), "{refused}");
}

fn no_token_is_printed(language: Language) {
    let place = Place::new();
    let repo = place.repo("repo");
    let daemon = place.start();
    let Some(mut puppet) = Puppet::start(language, &daemon.socket()) else { return };
    let told = puppet.reserve("mine", &json!({"repo": repo.at(), "thread": "mine"}));
    let params = json!({"repo": repo.at(), "thread": "raw"});
    let revealed = puppet.ok(json!({"do": "reveal", "as": "mine", "params": params}));
    let tokens: Vec<_> = revealed["tokens"].as_array().unwrap().iter().map(|token| token.as_str().unwrap()).collect();
    let shown = revealed["shown"].as_array().unwrap();
    assert!(shown.len() >= 10 && tokens.len() == 2);
    for token in &tokens {
        assert_eq!((token.len(), token.get(..4)), (56, Some("hrt_")), "a real one, when asked for");
        for text in shown {
            assert!(!text.as_str().unwrap().contains(token.get(4..).unwrap()), "{text}");
        }
    }
    // It is the real one, and the session's: whoever has it may give the session back.
    let key = json!({"session_id": told["session_id"], "reservation_token": tokens[0]});
    daemon.client().ok("agent.release", &key);
}

in_both_languages!(
    heartbeats_come_by_themselves,
    a_lost_reservation_is_told_and_of_no_more_use,
    the_end_of_a_release_is_no_loss,
    a_block_that_ends_gives_its_thread_back,
    a_refusal_is_an_error_of_its_own_kind,
    no_token_is_printed,
);
