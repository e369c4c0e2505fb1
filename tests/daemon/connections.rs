//! Sessions that a connection holds: what counts as its loss, who may take them over, and what a restart leaves of them.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Actor, Client, Daemon, Place, Random, Repo, Stopwatch, eventually, key, role, say, token};

/// How long a session whose connection is lost may be resumed.
const GRACE: Duration = Duration::from_secs(10);

fn held_by_connection(repo: &Repo, thread: &str) -> Value {
    json!({"repo": repo.at(), "thread": thread, "hold_connection": true})
}

#[track_caller]
fn hold(client: &mut Client, repo: &Repo, thread: &str) -> Value {
    let held = client.ok("agent.reserve", &held_by_connection(repo, thread))["reservation"].take();
    let hold = &held["hold"];
    assert_eq!(
        (&hold["connection"], &hold["heartbeat"], &held["alive"]),
        (&json!(true), &Value::Null, &json!("alive"))
    );
    held
}

#[track_caller]
fn resume(client: &mut Client, held: &Value) -> Value {
    let resumed = client.ok("agent.resume", &key(held))["reservation"].take();
    assert_eq!((&resumed["status"], &resumed["alive"]), (&json!("active"), &json!("alive")));
    assert_eq!(resumed["reservation_token"], Value::Null, "nobody is told the secret again");
    resumed
}

/// Waits until the daemon has seen that the connection is lost.
#[track_caller]
fn until_lost(client: &mut Client, held: &Value) {
    eventually("the loss is seen", || {
        let now = client.show(held);
        assert_eq!(now["status"], "active", "{now}");
        (now["alive"] == "unknown").then_some(())
    });
}

/// Not a test but a caller that holds a thread by its connection. Its role is the parameters.
#[test]
fn caller_that_holds_by_its_connection() {
    let Some(params) = role() else { return };
    let mut client = Client::connect(&PathBuf::from(std::env::var_os("HEDDLE_SOCKET").unwrap()));
    let held = client.ok("agent.reserve", &serde_json::from_str(&params).unwrap());
    say(&format!("HELD {}", held["reservation"]));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// Slow: the grace of 10 s is waited out, once for all cases.
#[test]
fn what_is_lost_ends_after_its_grace_and_what_is_resumed_or_only_half_closed_does_not() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let mut before = daemon.client();
    let (restarted, resumed_after) = (hold(&mut before, &repo, "restarted"), hold(&mut before, &repo, "resumed-after"));
    daemon.kill();
    daemon.restart();
    let start = Stopwatch::start();
    let mut client = daemon.client();
    until_lost(&mut client, &restarted);
    let mut after = daemon.client();
    resume(&mut after, &resumed_after);

    let mut half = daemon.client();
    half.start("agent.reserve", &held_by_connection(&repo, "half"));
    half.half_close();
    let half_held = half.receive()["result"]["reservation"].take();
    let mut first = daemon.client();
    let (resumed, taken) = (hold(&mut first, &repo, "resumed"), hold(&mut first, &repo, "taken"));
    let mut second = daemon.client();
    resume(&mut second, &taken);
    let mut killed = Actor::start(
        "connections::caller_that_holds_by_its_connection",
        &held_by_connection(&repo, "killed").to_string(),
        &daemon.socket(),
    );
    let killed_held: Value = serde_json::from_str(&killed.hear("HELD ")).unwrap();
    let mut waiter = daemon.client();
    waiter.start("agent.reserve", &json!({"repo": repo.at(), "thread": "killed", "wait_ms": 60_000}));
    eventually("it waits", || (client.ok("daemon.info", &json!({}))["counts"]["waiters"] == 1).then_some(()));
    let lost = Stopwatch::start();
    drop(first);
    killed.process.kill_and_wait();
    until_lost(&mut client, &resumed);
    until_lost(&mut client, &killed_held);
    assert_eq!(client.show(&taken)["alive"], "alive", "the latest connection wins");
    assert_eq!(client.show(&half_held)["alive"], "alive", "who ended its input alone is still there");
    let fault = client.refused("live_owner", "agent.reserve", &json!({"repo": repo.at(), "thread": "killed"}));
    let told = fault.0["data"]["unsafe_condition"].as_str().unwrap();
    assert!(told.contains("held by its connection, which was lost") && told.contains("unless it is resumed"), "{told}");
    let mut third = daemon.client();
    resume(&mut third, &resumed);

    let granted = waiter.receive();
    assert!(lost.elapsed() >= GRACE, "{:?}", lost.elapsed());
    assert_eq!(granted["result"]["reservation"]["status"], "active", "{granted}");
    for (session, began) in [(&restarted, start), (&killed_held, lost)] {
        assert!(began.elapsed() >= GRACE);
        let ended = client.show(session);
        assert_eq!((&ended["status"], &ended["end_reason"]), (&json!("abandoned"), &json!("connection_lost")));
        let refused = client.refused("agent_session_inactive", "agent.resume", &key(session));
        assert_eq!(refused.details()["end_reason"], "connection_lost");
    }
    for session in [&resumed_after, &resumed, &taken, &half_held] {
        let now = client.show(session);
        assert_eq!((&now["status"], &now["alive"]), (&json!("active"), &json!("alive")), "{now}");
    }
    let operations = client.ok("oplog.list", &json!({"session_id": killed_held["session_id"]}));
    let last = operations["operations"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["kind"], &last["detail"]["end_reason"]), (&json!("abandoned"), &json!("connection_lost")));
    // It stays for what it holds; when that has ended, it is answered to its end as ever.
    client.ok("agent.evict", &json!({"session_id": half_held["session_id"], "reason": "a test"}));
    half.expect_end();
}

#[test]
fn a_half_closed_connection_is_lost_when_its_peer_goes() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    for round in 0..10 {
        let mut half = daemon.client();
        half.start("agent.reserve", &held_by_connection(&repo, &format!("t{round}")));
        half.half_close();
        let held = half.receive()["result"]["reservation"].take();
        assert_eq!(client.show(&held)["alive"], "alive");
        drop(half);
        until_lost(&mut client, &held);
        client.release(&held);
    }
}

#[test]
fn a_connection_whose_calls_keep_it_busy_is_seen_to_be_lost() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let other = client.reserve(repo.at(), "other");
    // As many as are taken at a time, so that the end of the input stays unseen.
    let mut busy = daemon.client();
    let held = hold(&mut busy, &repo, "t");
    for _ in 0..70 {
        busy.start("agent.reserve", &json!({"repo": repo.at(), "thread": "other", "wait_ms": 60_000}));
    }
    eventually("they wait", || (client.ok("daemon.info", &json!({}))["counts"]["waiters"] == 64).then_some(()));
    assert_eq!(client.show(&held)["alive"], "alive");
    drop(busy);
    until_lost(&mut client, &held);
    client.release(&other);
}

#[test]
fn a_grant_that_was_not_read_and_cannot_be_asked_for_again_ends_at_once() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut lost = daemon.client();
    lost.start("agent.reserve", &held_by_connection(&repo, "t"));
    let held = eventually("it is granted", || client.holder(repo.at(), "t"));
    let began = Stopwatch::start();
    drop(lost);
    let ended = eventually("it has ended", || Some(client.show(&held)).filter(|now| now["status"] == "abandoned"));
    assert_eq!(ended["end_reason"], "connection_lost");
    assert!(began.elapsed() < GRACE, "nobody knows its secret: there is nobody to resume it");
}

#[test]
fn the_same_request_on_a_new_connection_is_held_by_that() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let mut params = held_by_connection(&repo, "t");
    params["request_id"] = "r".into();
    params["reservation_token"] = token(&mut Random::new(70)).into();
    let mut lost = daemon.client();
    lost.start("agent.reserve", &params);
    // Its answer is never read.
    let held = eventually("it is granted", || daemon.client().holder(repo.at(), "t"));
    drop(lost);
    until_lost(&mut daemon.client(), &held);
    for restart in [false, true] {
        if restart {
            daemon.stop();
            daemon.restart();
            until_lost(&mut daemon.client(), &held);
        }
        let mut again = daemon.client();
        let answer = again.ok("agent.reserve", &params);
        assert_eq!((&answer["replayed"], &answer["reservation"]["session_id"]), (&json!(true), &held["session_id"]));
        assert_eq!(answer["reservation"]["alive"], "alive");
        drop(again);
        until_lost(&mut daemon.client(), &held);
    }
    params["hold_connection"] = false.into();
    let fault = daemon.client().refused("idempotency_conflict", "agent.reserve", &params);
    assert_eq!(fault.details()["differing"], json!(["hold_connection"]));
}

#[test]
fn resuming_is_for_whoever_has_the_secret_and_renews() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut params = held_by_connection(&repo, "t");
    params["ttl_ms"] = 60_000.into();
    let held = client.ok("agent.reserve", &params)["reservation"].take();
    assert_eq!(held["hold"]["heartbeat"]["ttl_ms"], 60_000, "both count");
    let mut other = daemon.client();
    let mut wrong = key(&held);
    wrong["reservation_token"] = token(&mut Random::new(71)).into();
    other.refused("reservation_token_mismatch", "agent.resume", &wrong);
    wrong["session_id"] = "agent-aaaaaaaaaaaaaaaaaaaa".into();
    other.refused("agent_session_not_found", "agent.resume", &wrong);
    let resumed = resume(&mut other, &held);
    assert!(resumed["heartbeat_at"].as_str() >= held["heartbeat_at"].as_str());
    assert!(resumed["hold"]["heartbeat"]["expires_at"].as_str() >= held["hold"]["heartbeat"]["expires_at"].as_str());
    // What no connection holds is renewed, and held as before.
    let plain = client.reserve(repo.at(), "plain");
    assert_eq!(resume(&mut other, &plain)["hold"]["connection"], false);
    drop(other);
    until_lost(&mut client, &held);
    assert_eq!(client.show(&plain)["alive"], "alive");
    resume(&mut client, &held);
    client.release(&held);
    client.refused("agent_session_inactive", "agent.resume", &key(&held));
}

/// An agent that lets its connection go and comes back.
struct Owner {
    held: Value,
    client: Option<Client>,
}

impl Owner {
    fn come_back(&mut self, daemon: &Daemon<'_>) {
        let mut client = daemon.client();
        resume(&mut client, &self.held);
        self.client = Some(client);
    }
}

/// Nobody is away for as long as its grace, so nobody may lose what it holds, whatever is killed meanwhile.
#[test]
fn connections_that_come_and_go_beside_a_daemon_that_is_killed_lose_nothing() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let mut random = Random::new(72);
    let mut owners: Vec<Owner> = (0..6)
        .map(|number| {
            let mut client = daemon.client();
            let held = hold(&mut client, &repo, &format!("t{number}"));
            Owner { held, client: Some(client) }
        })
        .collect();
    for round in 0..12 {
        let away = Stopwatch::start();
        for _ in 0..20 {
            let owner = &mut owners[random.below(6)];
            match (owner.client.is_some(), random.one_in(2)) {
                (true, true) => owner.client = None,
                (true, false) | (false, _) => owner.come_back(&daemon),
            }
            let thread = format!("t{}", random.below(6));
            let answer = daemon.client().call("agent.reserve", &json!({"repo": repo.at(), "thread": thread}));
            assert_eq!(answer.unwrap_err().kind(), "live_owner", "R1: two never hold {thread}");
        }
        if round % 3 == 2 {
            daemon.stop();
        } else {
            daemon.kill();
        }
        daemon.restart();
        for owner in &mut owners {
            owner.come_back(&daemon);
        }
        assert!(away.elapsed() < GRACE, "the machine is too slow for this test: {:?}", away.elapsed());
    }
    let listed = daemon.client().ok("agent.list", &json!({"repo": repo.at(), "alive_only": true}));
    assert_eq!(listed["reservations"].as_array().unwrap().len(), 6);
    for owner in &owners {
        let now = daemon.client().show(&owner.held);
        assert_eq!((&now["status"], &now["alive"]), (&json!("active"), &json!("alive")), "{now}");
    }
}
