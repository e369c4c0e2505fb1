//! 100 lives of the daemon, each ended by kill -9 in the middle of its work.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::load::{Field, run};
use crate::model::{Grant, History, Journal, Known};
use crate::support::{Client, Daemon, Place, Random, Repo, Stopwatch, eventually, key};

const KILLS: usize = 100;
const CLIENTS: usize = 16;

/// What was found that the specification leaves open, to be told.
#[derive(Debug, Default)]
struct Found {
    acknowledged: usize,
    lost_with_request: usize,
    lost_without_request: usize,
    /// Sessions that nobody has the token of, which were not in the middle of Git work: they end with their ttl.
    unread_grants: usize,
}

#[test]
fn nothing_acknowledged_is_lost_when_the_daemon_is_killed() {
    let place = Place::new();
    let repo = place.repo("r");
    let states = [repo.id("HEAD"), repo.loose_commit("HEAD", "two")];
    let mut random = Random::new(0x6865_6464_6c65);
    let mut daemon = place.start();
    let mut history = History::default();
    let mut found = Found::default();
    let watch = Stopwatch::start();
    for life in 0..KILLS {
        let journals = live_and_die(&mut daemon, &repo, &states, life, watch, &mut random);
        if random.one_in(5) {
            // And again, in the middle of its start.
            let mut starting = place.launch(&mut place.command());
            std::thread::park_timeout(Duration::from_micros(random.next() % 20_000));
            starting.kill();
        }
        daemon.restart();
        history.take(&journals);
        let mut client = daemon.client();
        verify(&mut client, &repo, &journals, &mut history, &mut found);
    }
    eprintln!("{KILLS} kills in {:?}: {found:?}, {} grants", watch.elapsed(), history.fencing.len());
    assert!(found.acknowledged > KILLS * CLIENTS, "there was load: {found:?}");
    assert!(found.lost_with_request > 0 && found.lost_without_request > 0, "answers were lost: {found:?}");
    check_released(&mut daemon.client(), &history);
}

/// Runs the load, kills the daemon at a random moment of it, and gives what the clients saw.
fn live_and_die(
    daemon: &mut Daemon<'_>,
    repo: &Repo,
    states: &[String; 2],
    life: usize,
    watch: Stopwatch,
    random: &mut Random,
) -> Vec<Journal> {
    let acknowledged = AtomicUsize::new(0);
    let socket = daemon.socket();
    let field = Field { socket: &socket, repo, states: states.clone(), watch, acknowledged: &acknowledged };
    let (until, then) = (random.below(200), random.next() % 3000);
    let randoms: Vec<Random> = (0..CLIENTS).map(|_| random.branch()).collect();
    std::thread::scope(|scope| {
        let field = &field;
        let clients: Vec<_> = randoms
            .into_iter()
            .enumerate()
            .map(|(number, random)| scope.spawn(move || run(field, life, number, random)))
            .collect();
        eventually("the load", || {
            let broken = clients.iter().any(|client| client.is_finished());
            (broken || acknowledged.load(Ordering::Relaxed) >= until).then_some(())
        });
        std::thread::park_timeout(Duration::from_micros(then));
        daemon.kill();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

fn verify(client: &mut Client, repo: &Repo, journals: &[Journal], history: &mut History, found: &mut Found) {
    let branches = repo.branches();
    let active = active_sessions(client, &branches);
    let mut unclaimed = active.clone();
    for journal in journals {
        found.acknowledged += journal.acknowledged;
        for grant in &journal.grants {
            unclaimed.remove(grant.session());
            check_grant(client, grant, active.get(grant.session()));
        }
        check_moves(journal, &branches, history);
    }
    for lost in journals.iter().filter_map(|journal| journal.lost.as_ref()) {
        if lost.params.get("request_id").is_none() {
            found.lost_without_request += 1;
            continue;
        }
        found.lost_with_request += 1;
        if let Some(session) = repeat(client, &lost.params) {
            unclaimed.remove(&session);
        }
    }
    // Whatever is left was granted to a caller without request_id whose answer was lost with the daemon. None of them is in
    // the middle of anything: those were ended at the start.
    for (session, reservation) in unclaimed {
        let thread = &reservation["thread"];
        let asked = |journal: &Journal| {
            journal.lost.as_ref().is_some_and(|lost| *thread == *lost.thread && lost.params.get("request_id").is_none())
        };
        assert!(journals.iter().any(asked), "nobody ever asked for {reservation}");
        found.unread_grants += 1;
        client.ok("agent.evict", &json!({"session_id": session, "reason": "its answer was lost"}));
    }
    clean_up(client, journals, history);
}

/// All active sessions, by id; each has its branch, and none shares its thread (R1).
fn active_sessions(client: &mut Client, branches: &HashMap<String, String>) -> BTreeMap<String, Value> {
    let listed = client.ok("agent.list", &json!({"status": "active", "limit": 1000}));
    let mut by_thread = HashMap::new();
    let mut active = BTreeMap::new();
    for reservation in listed["reservations"].as_array().unwrap() {
        let (session, thread) = (reservation["session_id"].as_str().unwrap(), reservation["thread"].as_str().unwrap());
        assert!(branches.contains_key(thread), "an active session without its branch: {reservation}");
        let other = by_thread.insert(thread.to_owned(), reservation);
        assert!(other.is_none(), "R1: two hold {thread}: {other:?} and {reservation}");
        active.insert(session.to_owned(), reservation.clone());
    }
    active
}

fn check_grant(client: &mut Client, grant: &Grant, active: Option<&Value>) {
    let shown = client.show(&grant.reservation);
    for member in ["session_id", "fencing_token", "thread", "anchor_state", "started_at"] {
        assert_eq!(shown[member], grant.reservation[member], "R5: {member} of {shown}");
    }
    match grant.release {
        Known::Not => {
            assert!(active.is_some(), "R3: an acknowledged reserve is lost: {shown}");
            let valid = client.ok("agent.validate", &key(&grant.reservation));
            assert_eq!(valid["valid"], true, "the token still counts: {valid}");
        }
        Known::Done => assert_eq!(shown["status"], "complete", "R3: an acknowledged release is lost: {shown}"),
        Known::Asked => assert!(matches!(shown["status"].as_str(), Some("complete" | "active")), "{shown}"),
    }
    // The same request with the same secret is the same reservation, or one that has ended; never another.
    if let Some(params) = &grant.request {
        match client.call("agent.reserve", params) {
            Ok(again) => {
                assert_eq!(again["replayed"], true, "{again}");
                assert_eq!(again["reservation"]["session_id"], grant.reservation["session_id"]);
                assert_eq!(again["reservation"]["reservation_token"], json!(grant.token));
                assert!(active.is_some());
            }
            Err(fault) => {
                assert_eq!(fault.kind(), "agent_session_inactive", "{fault:?}");
                assert!(active.is_none(), "{fault:?}");
            }
        }
    }
}

fn check_moves(journal: &Journal, branches: &HashMap<String, String>, history: &mut History) {
    for (thread, (from, to, known)) in &journal.moved {
        let tip = &branches[thread];
        assert!(
            tip == to || (*known == Known::Asked && tip == from),
            "R3: {thread} is at {tip}, told was {to} ({known:?})"
        );
        history.tips.insert(thread.clone(), tip.clone());
    }
    for (thread, tip) in &history.tips {
        if journal.moved.contains_key(thread) {
            assert_eq!(&branches[thread], tip);
        }
    }
}

/// Asks again for what was asked when the daemon died, twice: both are told of the same grant.
fn repeat(client: &mut Client, params: &Value) -> Option<String> {
    match client.call("agent.reserve", params) {
        Ok(first) => {
            let again = client.ok("agent.reserve", params);
            assert_eq!(again["replayed"], true);
            assert_eq!(again["reservation"]["session_id"], first["reservation"]["session_id"]);
            assert_eq!(first["reservation"]["reservation_token"], params["reservation_token"]);
            client.release(&first["reservation"]);
            first["reservation"]["session_id"].as_str().map(str::to_owned)
        }
        Err(fault) => {
            // It never was done, and another has the thread by now.
            assert!(matches!(fault.kind(), "live_owner" | "agent_session_inactive"), "{fault:?}");
            None
        }
    }
}

/// Gives back what is still held, so that the next life begins with free threads.
fn clean_up(client: &mut Client, journals: &[Journal], history: &mut History) {
    for grant in journals.iter().flat_map(|journal| &journal.grants) {
        client.ok("agent.release", &key(&grant.reservation));
        history.released.push(grant.clone());
    }
    let listed = client.ok("agent.list", &json!({"status": "active"}));
    assert_eq!(listed["reservations"], json!([]), "everything is accounted for");
}

/// R4: nothing that was given back in any life came back.
fn check_released(client: &mut Client, history: &History) {
    for grant in history.released.iter().rev().take(5000) {
        assert_eq!(client.show(&grant.reservation)["status"], "complete");
    }
}
