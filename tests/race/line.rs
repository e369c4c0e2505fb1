//! 1,000 callers wait for one thread, while holders and those who wait are killed at random: it goes from one to the next in
//! the order in which they came, and to each once (Q1).

use std::collections::{BTreeMap, VecDeque};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::support::{Client, Holder, Place, Process, Random, Stopwatch, eventually};

const WAITERS: usize = 1000;

/// One caller that waits; some hold for a process.
struct Waiter {
    client: Client,
    process: Option<Process>,
}

fn waiters(client: &mut Client) -> usize {
    usize::try_from(client.ok("daemon.info", &json!({}))["counts"]["waiters"].as_u64().unwrap()).unwrap()
}

/// All operations on the thread, oldest first.
fn operations(client: &mut Client) -> Vec<Value> {
    let (mut all, mut after): (Vec<Value>, u64) = (Vec::new(), 0);
    loop {
        let page = client.ok("oplog.list", &json!({"thread": "t", "after": after, "limit": 1000}));
        let page = page["operations"].as_array().unwrap();
        let Some(last) = page.last() else { return all };
        after = last["revision"].as_u64().unwrap();
        all.extend(page.iter().cloned());
    }
}

/// What the log says of the waits: the places that were granted, in that order, as numbers of arrival.
fn granted(client: &mut Client) -> Vec<usize> {
    let (mut places, mut outcomes) = (BTreeMap::new(), BTreeMap::new());
    let mut granted = Vec::new();
    for operation in operations(client) {
        let session = operation["session_id"].as_str().unwrap_or_default().to_owned();
        match operation["kind"].as_str() {
            Some("waiting") => drop(places.insert(session, places.len())),
            Some("wait_ended") => {
                let outcome = operation["detail"]["outcome"].as_str().unwrap().to_owned();
                granted.extend((outcome == "granted").then(|| places[&session]));
                assert_eq!(outcomes.insert(session, outcome), None, "Q1: a wait ends once");
            }
            _ => {}
        }
    }
    assert_eq!((places.len(), outcomes.len()), (WAITERS, WAITERS));
    granted
}

#[test]
fn a_thousand_who_wait_are_served_in_order_each_once_whoever_is_killed() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut random = Random::new(40);
    let mut referee = daemon.client();
    let mut held = referee.reserve(repo.at(), "t");
    let watch = Stopwatch::start();
    let mut line: VecDeque<(usize, Waiter)> = VecDeque::new();
    for number in 0..WAITERS {
        let process = number.is_multiple_of(10).then(Holder::start);
        let mut params = json!({"repo": repo.at(), "thread": "t", "wait_ms": 600_000});
        if let Some(process) = &process {
            params["hold_for_pid"] = process.pid().into();
        }
        let mut client = daemon.client();
        client.start("agent.reserve", &params);
        line.push_back((number, Waiter { client, process }));
        eventually("it waits", || (waiters(&mut referee) == number + 1).then_some(()));
    }
    let over = json!({"repo": repo.at(), "thread": "t", "wait_ms": 600_000});
    referee.refused("limit_exceeded", "agent.reserve", &over);
    eprintln!("{WAITERS} wait after {:?}", watch.elapsed());

    let (mut served, mut holder) = (Vec::new(), None::<Process>);
    while !line.is_empty() {
        if random.one_in(4) {
            // Some of them at the very moment at which the thread becomes theirs.
            let gone = if random.one_in(2) { 0 } else { random.below(line.len()) };
            drop(line.remove(gone));
        }
        match &mut holder {
            Some(process) if random.one_in(2) => process.kill_only(),
            Some(process) => process.kill_and_wait(),
            None if random.one_in(8) => {
                referee.ok("agent.evict", &json!({"session_id": held["session_id"], "reason": "a test"}));
            }
            None => drop(referee.release(&held)),
        }
        let Some((number, mut next)) = line.pop_front() else { break };
        let answer = next.client.receive();
        let reservation = &answer["result"]["reservation"];
        assert_eq!(reservation["status"], "active", "{number}: {answer}");
        assert!(reservation["fencing_token"].as_u64() > held["fencing_token"].as_u64(), "R2");
        served.push(number);
        (held, holder) = (reservation.clone(), next.process.take());
    }
    eprintln!("{} were served after {:?}", served.len(), watch.elapsed());
    eventually("nobody waits", || (waiters(&mut referee) == 0).then_some(()));
    let granted = granted(&mut referee);
    assert!(granted.is_sorted_by(|one, next| one < next), "Q1: {granted:?}");
    let mut rest = granted.iter();
    assert!(served.iter().all(|number| rest.any(|one| one == number)), "everybody who was served was granted it");
    assert!(served.len() > WAITERS / 2, "{}", served.len());
}
