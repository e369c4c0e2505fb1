//! Waiting for a thread: whose turn it is when its holder ends or dies, and what gives a place up.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Actor, Client, Holder, Place, Random, Repo, eventually, key, role, say, token};

fn patient(repo: &Repo) -> Value {
    json!({"repo": repo.at(), "thread": "t", "wait_ms": 60_000})
}

fn waiters(client: &mut Client) -> u64 {
    client.ok("daemon.info", &json!({}))["counts"]["waiters"].as_u64().unwrap()
}

/// Waits until so many wait.
#[track_caller]
fn until_they_wait(client: &mut Client, count: u64) {
    eventually("they wait", || (waiters(client) == count).then_some(()));
}

#[track_caller]
fn granted(waiter: &mut Client) -> Value {
    let mut answer = waiter.receive();
    assert!(answer.get("result").is_some(), "{answer}");
    answer["result"]["reservation"].take()
}

/// The waits of the operation log: what happened, and what its detail says.
fn waits(client: &mut Client) -> Vec<(String, Value)> {
    let listed = client.ok("oplog.list", &json!({"limit": 1000}));
    let operations = listed["operations"].as_array().unwrap().clone();
    let wait = |operation: &Value| operation["kind"].as_str().is_some_and(|kind| kind.starts_with("wait"));
    let told = |operation: Value| {
        assert_eq!(operation["thread"], "t");
        let detail = &operation["detail"];
        let value = if detail["outcome"].is_null() { &detail["position"] } else { &detail["outcome"] };
        (operation["kind"].as_str().unwrap().to_owned(), value.clone())
    };
    operations.into_iter().filter(wait).map(told).collect()
}

#[test]
fn those_who_wait_are_served_in_order_at_the_tip_that_the_holder_left() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    std::fs::write(place.root.join("home/.gitconfig"), "[user]\n\tname = Ada\n\temail = ada@example.org\n").unwrap();
    let mut client = daemon.client();
    let reserve = json!({"repo": repo.at(), "thread": "t", "worktree": {}});
    let mut held = client.ok("agent.reserve", &reserve)["reservation"].take();
    let mut waiting: Vec<Client> = Vec::new();
    for number in 1..=3 {
        let mut waiter = daemon.client();
        let mut params = patient(&repo);
        params["worktree"] = json!({});
        waiter.start("agent.reserve", &params);
        until_they_wait(&mut client, number);
        waiting.push(waiter);
    }
    let fault = client.refused("live_owner", "agent.reserve", &json!({"repo": repo.at(), "thread": "t"}));
    assert_eq!(fault.details()["waiters"], 3);
    for (number, waiter) in waiting.iter_mut().enumerate() {
        std::fs::write(PathBuf::from(held["path"].as_str().unwrap()).join("new"), format!("{number}")).unwrap();
        let captured = client.ok("agent.capture", &key(&held))["capture"]["state"].take();
        client.release(&held);
        let next = granted(waiter);
        assert_eq!((&next["anchor_state"], captured.as_str()), (&captured, Some(repo.id("t").as_str())));
        assert!(next["fencing_token"].as_u64() > held["fencing_token"].as_u64(), "R2");
        assert_eq!(next["path"], held["path"], "it goes on where the one before it worked");
        held = next;
    }
    let place = |kind: &str, value: Value| (kind.to_owned(), value);
    let queued = (1..=3).map(|number| place("waiting", number.into()));
    let served = (0..3).map(|_| place("wait_ended", "granted".into()));
    assert_eq!(waits(&mut client), queued.chain(served).collect::<Vec<_>>());
}

#[test]
fn who_hangs_up_gives_its_place_up_and_who_ends_its_input_alone_does_not() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "t");
    let mut random = Random::new(50);
    let mut gone = daemon.client();
    let mut named = patient(&repo);
    named["request_id"] = "r".into();
    named["reservation_token"] = token(&mut random).into();
    gone.start("agent.reserve", &named);
    until_they_wait(&mut client, 1);
    let mut half = daemon.client();
    half.start("agent.reserve", &patient(&repo));
    half.half_close();
    until_they_wait(&mut client, 2);
    // More than are taken at a time, so that the end of the input stays unseen.
    let mut full = daemon.client();
    for _ in 0..70 {
        full.start("agent.reserve", &patient(&repo));
    }
    until_they_wait(&mut client, 2 + 64);
    drop(full);
    until_they_wait(&mut client, 2);
    drop(gone);
    until_they_wait(&mut client, 1);
    let mut again = daemon.client();
    again.start("agent.reserve", &named);
    until_they_wait(&mut client, 2);
    client.release(&held);
    let next = granted(&mut half);
    half.expect_end();
    assert_eq!(client.show(&next)["status"], "active");
    client.release(&next);
    let last = granted(&mut again);
    assert_eq!(last["reservation_token"], named["reservation_token"], "the request that was lost is queued anew");
    let left = waits(&mut client).into_iter().filter(|(_, value)| value == "left").count();
    // The last six are taken once there is room, by a daemon that may not have seen yet that nobody reads.
    assert!((1 + 64..=1 + 70).contains(&left), "{left}");
}

/// Not a test but a caller that waits. Its role is the parameters.
#[test]
fn caller_that_waits() {
    let Some(params) = role() else { return };
    let mut client = Client::connect(&PathBuf::from(std::env::var_os("HEDDLE_SOCKET").unwrap()));
    client.start("agent.reserve", &serde_json::from_str(&params).unwrap());
    say(&format!("ANSWER {}", client.receive()));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn when_a_holder_is_killed_the_next_process_has_the_thread_and_a_killed_one_is_passed_over() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut holder = Holder::start();
    let params = json!({"repo": repo.at(), "thread": "t", "hold_for_pid": holder.pid()});
    let held = client.ok("agent.reserve", &params)["reservation"].take();
    let params = patient(&repo).to_string();
    let mut actors: Vec<Actor> = Vec::new();
    for number in 1..=3 {
        actors.push(Actor::start("waits::caller_that_waits", &params, &daemon.socket()));
        until_they_wait(&mut client, number);
    }
    actors[0].process.kill_and_wait();
    until_they_wait(&mut client, 2);
    // It stays a zombie, whose parent says nothing.
    holder.kill_only();
    let answer: Value = serde_json::from_str(&actors[1].hear("ANSWER ")).unwrap();
    assert_eq!(answer["result"]["reservation"]["status"], "active", "{answer}");
    let ended = client.show(&held);
    assert_eq!((&ended["status"], &ended["end_reason"]), (&json!("abandoned"), &json!("process_exited")));
    assert_eq!(waiters(&mut client), 1, "the third waits on");
}

#[test]
fn who_wants_one_state_is_told_when_the_thread_has_left_it() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "t");
    let mut anchored = patient(&repo);
    anchored["anchor"] = held["anchor_state"].clone();
    let (mut first, mut second) = (daemon.client(), daemon.client());
    first.start("agent.reserve", &anchored);
    until_they_wait(&mut client, 1);
    second.start("agent.reserve", &patient(&repo));
    until_they_wait(&mut client, 2);
    let moved = repo.loose_commit("t", "moved");
    let mut update = key(&held);
    update["expected"] = held["anchor_state"].clone();
    update["new"] = moved.clone().into();
    client.ok("thread.update", &update);
    client.refused("live_owner", "agent.reserve", &anchored);
    client.release(&held);
    let refused = first.receive();
    assert_eq!(refused["error"]["data"]["kind"], "anchor_drift", "{refused}");
    let details = &refused["error"]["data"]["details"];
    assert_eq!((&details["owner"], &details["reserved_anchor"]), (&Value::Null, &json!(moved)));
    assert_eq!(granted(&mut second)["anchor_state"], moved, "and the next one has it");
}

#[test]
fn a_daemon_that_stops_tells_those_who_wait_and_one_that_is_killed_forgets_them() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "t");
    let mut half = daemon.client();
    half.start("agent.reserve", &patient(&repo));
    half.half_close();
    until_they_wait(&mut client, 1);
    daemon.stop();
    assert_eq!(half.receive()["error"]["data"]["kind"], "shutting_down");
    daemon.restart();
    let (mut client, mut waiter) = (daemon.client(), daemon.client());
    waiter.start("agent.reserve", &patient(&repo));
    until_they_wait(&mut client, 1);
    daemon.kill();
    daemon.restart();
    let mut client = daemon.client();
    assert_eq!(waiters(&mut client), 0);
    client.release(&held);
    client.reserve(repo.at(), "t");
    let ends = waits(&mut client).into_iter().filter(|(kind, _)| kind == "wait_ended").collect::<Vec<_>>();
    assert_eq!(ends, [("wait_ended".to_owned(), json!("shutting_down"))], "a start ends what was cut off");
}
