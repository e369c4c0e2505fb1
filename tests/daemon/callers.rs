//! A caller that is lost before it knows what it was granted leaves no ghost; one that knows keeps what it has.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Actor, Client, Place, Random, eventually, key, role, say, token};

const ROUNDS: usize = 100;

fn reserve_params(place: &str, thread: &str) -> Value {
    json!({"repo": place, "thread": thread})
}

/// Not a test but a caller that asks and never reads. Its role is the parameters.
#[test]
fn caller_that_never_reads() {
    let Some(params) = role() else { return };
    let mut client = Client::connect(&PathBuf::from(std::env::var_os("HEDDLE_SOCKET").unwrap()));
    say("READY ");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    client.start("agent.reserve", &serde_json::from_str(&params).unwrap());
    say("ASKED ");
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn a_caller_killed_in_the_middle_of_a_reserve_leaves_no_ghost() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut random = Random::new(1);
    for round in 0..10 {
        // Every second thread is there already.
        let thread = format!("t{}", round / 2);
        let params = reserve_params(repo.at(), &thread).to_string();
        let mut actor = Actor::start("callers::caller_that_never_reads", &params, &daemon.socket());
        actor.hear("READY ");
        actor.tell("go");
        if random.one_in(2) {
            actor.hear("ASKED ");
        }
        for _ in 0..random.below(2000) {
            std::hint::spin_loop();
        }
        actor.process.kill_and_wait();
        eventually("no ghost holds the thread", || client.holder(repo.at(), &thread).is_none().then_some(()));
        client.ok("daemon.info", &json!({}));
        let next =
            eventually("the thread is free", || client.call("agent.reserve", &reserve_params(repo.at(), &thread)).ok());
        client.release(&next["reservation"]);
    }
}

#[test]
fn a_caller_killed_after_its_answer_was_written_but_unread_leaves_no_ghost() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    for round in 0..6 {
        let thread = format!("t{}", round / 2);
        let params = reserve_params(repo.at(), &thread).to_string();
        let mut actor = Actor::start("callers::caller_that_never_reads", &params, &daemon.socket());
        actor.hear("READY ");
        actor.tell("go");
        let held = eventually("it is granted", || client.holder(repo.at(), &thread));
        client.ok("daemon.info", &json!({}));
        assert!(client.holder(repo.at(), &thread).is_some(), "it lives, so it keeps what it will read");
        actor.process.kill_and_wait();
        let ended = eventually("it has ended", || Some(client.show(&held)).filter(|now| now["status"] == "abandoned"));
        assert_eq!(ended["end_reason"], "connection_lost");
    }
}

/// Waits until there are so many connections.
#[track_caller]
fn connected(client: &mut Client, count: u64) {
    eventually("there are as many connections", || {
        (client.ok("daemon.info", &json!({}))["counts"]["connections"] == count).then_some(())
    });
}

#[test]
fn connections_dropped_at_any_moment_of_a_reserve_leave_no_ghost() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut random = Random::new(2);
    for round in 0..ROUNDS {
        let thread = format!("t{}", round / 2);
        let mut lost = daemon.client();
        // Once it is let in, it is over when the daemon says so.
        connected(&mut client, 2);
        let before = client.ok("daemon.info", &json!({}))["revision"].as_u64().unwrap();
        lost.start("agent.reserve", &reserve_params(repo.at(), &thread));
        for _ in 0..random.below(50_000) {
            std::hint::spin_loop();
        }
        drop(lost);
        // It was granted and ended, or never granted; in the end the thread is free, and stays so.
        let next =
            eventually("the thread is free", || client.call("agent.reserve", &reserve_params(repo.at(), &thread)).ok());
        client.release(&next["reservation"]);
        // Its reserve may come only now, behind ours: the log is whole when its connection is over.
        connected(&mut client, 1);
        assert_eq!(client.holder(repo.at(), &thread), None);
        let after = json!({"after": before, "thread": thread, "limit": 1000});
        let operations = client.ok("oplog.list", &after);
        let count = |kind: &str| {
            operations["operations"].as_array().unwrap().iter().filter(|operation| operation["kind"] == kind).count()
        };
        assert_eq!(count("reserved"), count("released") + count("abandoned"), "{operations}");
    }
}

#[test]
fn a_caller_that_read_its_grant_keeps_it_when_it_hangs_up() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    for round in 0..20 {
        let mut gone = daemon.client();
        let held = gone.reserve(repo.at(), &format!("t{round}"));
        drop(gone);
        connected(&mut client, 1);
        assert_eq!(client.show(&held)["status"], "active");
        assert_eq!(client.ok("agent.heartbeat", &key(&held))["reservation"]["status"], "active");
    }
}

#[test]
fn a_half_closed_caller_gets_its_grant_and_keeps_it() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut half = daemon.client();
    half.start("agent.reserve", &reserve_params(repo.at(), "t"));
    half.half_close();
    let answer = half.receive();
    half.expect_end();
    assert_eq!(daemon.client().show(&answer["result"]["reservation"])["status"], "active");
}

#[test]
fn a_lost_caller_with_a_request_id_asks_again_and_gets_the_same() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut random = Random::new(3);
    for round in 0..30 {
        let mut params = reserve_params(repo.at(), &format!("t{}", round / 2));
        params["request_id"] = format!("r{round}").into();
        params["reservation_token"] = token(&mut random).into();
        let mut lost = daemon.client();
        lost.start("agent.reserve", &params);
        for _ in 0..random.below(50_000) {
            std::hint::spin_loop();
        }
        drop(lost);
        // It may be under way still: then this one joins it.
        let first = client.ok("agent.reserve", &params);
        let again = client.ok("agent.reserve", &params);
        assert_eq!(again["replayed"], true);
        assert_eq!(first["reservation"]["session_id"], again["reservation"]["session_id"]);
        assert_eq!(first["reservation"]["reservation_token"], params["reservation_token"]);
        client.release(&first["reservation"]);
    }
}
