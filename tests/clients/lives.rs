//! The daemon is killed in the middle, and nobody notices but by the time that it takes.

use serde_json::{Value, json};

use crate::puppet::Puppet;
use crate::support::{Place, eventually};
use crate::tools::{Language, in_both_languages};

/// Every revision of a repository after this one, as the operation log has them.
fn logged(daemon: &crate::support::Daemon<'_>, repo: &str, after: u64) -> Vec<u64> {
    let listed = daemon.client().ok("oplog.list", &json!({"repo": repo, "after": after, "limit": 1000}));
    let operations = listed["operations"].as_array().unwrap();
    operations.iter().map(|operation| operation["revision"].as_u64().unwrap()).collect()
}

/// V1-V3 as a client has them, R3 and R4.
fn a_daemon_that_is_killed_costs_no_session_and_no_event(language: Language) {
    let place = Place::new();
    let repo = place.repo("repo");
    let mut daemon = place.start();
    let Some(mut puppet) = Puppet::start(language, &daemon.socket()) else { return };
    let before = daemon.client().ok("daemon.info", &json!({}))["revision"].as_u64().unwrap();
    puppet.ok(json!({"do": "subscribe", "params": {"repo": repo.at()}}));
    let mine = puppet.reserve("mine", &json!({"repo": repo.at(), "thread": "mine", "ttl_ms": 5000}));
    let other = daemon.client().reserve(repo.at(), "other");
    // It waits over all the deaths below: its place is lost with each daemon, and it asks for another by itself.
    let waiting = json!({"repo": repo.at(), "thread": "other", "wait_ms": 600_000});
    let waiting = puppet.order(json!({"do": "reserve", "as": "other", "params": waiting}));
    for round in 0..3 {
        let queued = || {
            let info = daemon.client().ok("daemon.info", &json!({}));
            (info["counts"]["waiters"] == 1).then_some(())
        };
        eventually("the puppet waits in the queue", queued);
        let mut plain = daemon.client();
        for number in 0..20 {
            let passing = plain.reserve(repo.at(), &format!("passing-{number}"));
            plain.release(&passing);
        }
        daemon.kill();
        // Asked while there is nobody to answer.
        let asked = puppet.order(json!({"do": "held", "as": "mine", "method": "agent.validate", "params": {}}));
        daemon.restart();
        let valid = puppet.answer(asked).unwrap();
        assert_eq!(valid["valid"], true, "round {round}: {valid}");
    }
    daemon.client().release(&other);
    let granted = puppet.answer(waiting).unwrap();
    assert_eq!(granted["thread"], "other");
    let still = puppet.ok(json!({"do": "held", "as": "mine", "method": "agent.heartbeat", "params": {}}));
    assert_eq!(still["reservation"]["session_id"], mine["session_id"], "the same session all along");
    puppet.ok(json!({"do": "held", "as": "mine", "method": "agent.release", "params": {}}));

    let wanted = logged(&daemon, repo.at(), before);
    let last = wanted.last().copied().unwrap();
    let mut seen: Vec<u64> = Vec::new();
    while seen.last() != Some(&last) {
        let event: Value = puppet.told("event");
        seen.push(event["revision"].as_u64().unwrap());
        assert!(seen.len() <= wanted.len(), "more than there is: {seen:?}, {wanted:?}");
    }
    assert_eq!(seen, wanted, "each revision once, in order");
    assert!(!puppet.has_told("lost"));
}

/// A daemon that stops in order refuses what it is asked at last: that, too, is asked again of the next one.
fn a_daemon_that_is_stopped_is_waited_for(language: Language) {
    let place = Place::new();
    let repo = place.repo("repo");
    let mut daemon = place.start();
    let Some(mut puppet) = Puppet::start(language, &daemon.socket()) else { return };
    let held = daemon.client().reserve(repo.at(), "busy");
    let params = json!({"repo": repo.at(), "thread": "busy", "wait_ms": 600_000});
    let waiting = puppet.order(json!({"do": "reserve", "as": "mine", "params": params}));
    eventually("the puppet waits in the queue", || {
        (daemon.client().ok("daemon.info", &json!({}))["counts"]["waiters"] == 1).then_some(())
    });
    daemon.stop();
    daemon.restart();
    daemon.client().release(&held);
    assert_eq!(puppet.answer(waiting).unwrap()["thread"], "busy");
}

in_both_languages!(a_daemon_that_is_killed_costs_no_session_and_no_event, a_daemon_that_is_stopped_is_waited_for);
