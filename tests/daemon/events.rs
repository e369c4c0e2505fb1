//! Subscribers that are killed, that come back, that do not read, under load and across daemons that are killed: each sees
//! each revision once, and nobody waits for another.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::MsgFlags;
use serde_json::{Value, json};

use crate::support::{Client, Daemon, Place, Random, Stopwatch, eventually};

/// How often the subscriber is killed.
const KILLS: usize = 100;

/// Reserves and releases until it is told to stop; a daemon that is killed is waited for.
fn load(place: &Place, repo: &str, number: usize, stop: &AtomicBool, done: &AtomicUsize) {
    for life in 0.. {
        let Ok(mut client) = Client::try_connect(&place.socket()) else {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(5));
            continue;
        };
        let params = json!({"repo": repo, "thread": format!("load/{number}/{life}"), "at_tip": true});
        loop {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let Ok(Ok(granted)) = client.try_call("agent.reserve", &params) else { break };
            let reservation = &granted["reservation"];
            let key = json!({"session_id": reservation["session_id"],
                "reservation_token": reservation["reservation_token"]});
            let Ok(Ok(_)) = client.try_call("agent.release", &key) else { break };
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The whole operation log.
fn log(client: &mut Client) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map_or(0, |last: &Value| last["revision"].as_u64().unwrap());
        let mut page = client.ok("oplog.list", &json!({"after": after, "limit": 1000}));
        let Value::Array(operations) = page["operations"].take() else { panic!("{page}") };
        if operations.is_empty() {
            return all;
        }
        all.extend(operations);
    }
}

#[test]
fn v1_a_subscriber_killed_and_resumed_a_hundred_times_under_load_sees_each_revision_once() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let mut random = Random::new(77);
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut seen: Vec<Value> = Vec::new();
    let place = &place;
    std::thread::scope(|scope| {
        // Also when an assertion fails, the load must end.
        let stopped = StopOnDrop(&stop);
        for number in 0..4 {
            let (at, stop, done) = (repo.at(), &stop, &done);
            scope.spawn(move || load(place, at, number, stop, done));
        }
        for kill in 0..KILLS {
            // Each part of the log is new.
            let before = done.load(Ordering::Relaxed);
            eventually("there is load", || (done.load(Ordering::Relaxed) > before).then_some(()));
            let mut subscriber = daemon.client();
            let subscription = subscriber.subscribe(&json!({"after": seen.len()}));
            for _ in 0..random.below(16) {
                take(&mut seen, subscriber.event(&subscription));
            }
            if kill % 20 == 19 {
                // What it is sent when the daemon is killed counts, too.
                daemon.kill();
                while let Some(event) = subscriber.try_event(&subscription) {
                    take(&mut seen, event);
                }
                daemon.restart();
            }
            // The connection is cut with events unread, and some of them in the middle.
        }
        drop(stopped);
    });
    let mut client = daemon.client();
    let newest = client.ok("daemon.info", &json!({}))["revision"].as_u64().unwrap();
    let subscription = client.subscribe(&json!({"after": seen.len()}));
    while (seen.len() as u64) < newest {
        take(&mut seen, client.event(&subscription));
    }
    assert!(seen.len() > 3 * KILLS, "{} events", seen.len());
    let restarts = seen.iter().filter(|event| event["kind"] == "daemon_started").count();
    assert_eq!(restarts, 1 + KILLS / 20, "across kills of the daemon");
    assert!(log(&mut daemon.client())[..seen.len()] == seen, "events are the operation log");
}

/// The next event must be that of the next revision: no gap, nothing twice.
#[track_caller]
fn take(seen: &mut Vec<Value>, event: Value) {
    assert_eq!(event["revision"], seen.len() + 1, "{event}");
    seen.push(event);
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_subscriber_that_does_not_read_is_told_so_and_nobody_waits_for_it() {
    const DEAF: usize = 8;
    let place = Place::new();
    place.configure("[limits]\nevents_behind = 100\n");
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut deaf: Vec<(Client, Value)> = (0..DEAF)
        .map(|_| {
            let mut subscriber = daemon.client();
            let subscription = subscriber.subscribe(&json!({"after": 0}));
            (subscriber, subscription)
        })
        .collect();
    let mut listening = daemon.client();
    let subscription = listening.subscribe(&json!({"after": 0}));
    let before = daemon.resident_kib();
    let mut seen = Vec::new();
    let fell = || place.log().matches("a subscriber fell behind").count();
    let (mut cycles, mut after) = (0, 0);
    // Before they are told, when nothing more goes out to them, and after it. Whoever waited for them would wait for ever:
    // they read only at the end. How long a cycle takes says less, for the machine has other work.
    while after < 100 {
        assert!(cycles < 5000, "the deaf are told in the end: {} were", fell());
        let held = client.reserve(repo.at(), "t");
        client.release(&held);
        let newest = client.ok("daemon.info", &json!({}))["revision"].as_u64().unwrap();
        while (seen.len() as u64) < newest {
            take(&mut seen, listening.event(&subscription));
        }
        cycles += 1;
        after += usize::from(fell() == DEAF);
    }
    let grown = daemon.resident_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more for {DEAF} subscribers that do not read");
    for (subscriber, subscription) in &mut deaf {
        hear(subscriber, subscription, &seen);
    }
}

/// One that was deaf reads what it was sent: all up to where it is to go on, and not the rest until it asks.
fn hear(subscriber: &mut Client, subscription: &Value, seen: &[Value]) {
    let mut heard = Vec::new();
    let resume = loop {
        let event = subscriber.event(subscription);
        if event["kind"] == "lagged" {
            assert_eq!(event["revision"], event["detail"]["resume_after"], "{event}");
            break event["detail"]["resume_after"].as_u64().unwrap();
        }
        take(&mut heard, event);
    };
    assert_eq!(resume, heard.len() as u64, "nothing is left out before it");
    assert!(resume + 100 < seen.len() as u64, "it was behind: {resume} of {}", seen.len());
    // It has ended: the next line is an answer.
    assert_eq!(subscriber.ok("events.unsubscribe", &json!({"subscription": subscription})), false);
    let next = subscriber.subscribe(&json!({"after": resume}));
    while heard.len() < seen.len() {
        take(&mut heard, subscriber.event(&next));
    }
    assert!(heard == seen, "and then it has seen what the others have");
}

/// Reads to the end of the connection.
fn rest(subscriber: &mut Client, subscription: &Value) -> Vec<Value> {
    std::iter::from_fn(|| subscriber.try_event(subscription)).collect()
}

#[test]
fn the_stop_is_the_last_event_and_the_start_the_next() {
    let stops: [fn(&Daemon<'_>); 2] =
        [|daemon| daemon.signal(Signal::SIGTERM), |daemon| drop(daemon.client().ok("daemon.shutdown", &json!({})))];
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    for stop in stops {
        let mut client = daemon.client();
        let newest = client.ok("daemon.info", &json!({}))["revision"].as_u64().unwrap();
        let (mut live, mut catching_up) = (daemon.client(), daemon.client());
        let (one, two) = (live.subscribe(&json!({})), catching_up.subscribe(&json!({"after": 0})));
        // One that does not read holds nothing up.
        let mut deaf = daemon.client();
        for _ in 0..100 {
            deaf.start("events.subscribe", &json!({"after": 0}));
        }
        let held = client.reserve(repo.at(), "t");
        let watch = Stopwatch::start();
        stop(&daemon);
        let events = rest(&mut live, &one);
        assert_eq!(events.first().unwrap()["revision"], newest + 1, "{events:?}");
        assert_eq!(events.last().unwrap()["kind"], "daemon_stopped", "{events:?}");
        let all = rest(&mut catching_up, &two);
        assert_eq!(all.len() as u64, newest + events.len() as u64);
        assert_eq!(all.last(), events.last());
        assert_eq!(daemon.ended().code(), Some(0), "{}", place.log());
        assert!(watch.elapsed() < Duration::from_secs(9), "nobody was waited for: {:?}", watch.elapsed());
        daemon.restart();
        let mut client = daemon.client();
        let subscription = client.subscribe(&json!({"after": events.last().unwrap()["revision"]}));
        let next = client.event(&subscription);
        assert_eq!(next["revision"], events.last().unwrap()["revision"].as_u64().unwrap() + 1);
        assert_eq!(next["kind"], "daemon_started");
        daemon.client().release(&held);
    }
}

#[test]
fn a_grant_that_was_read_is_kept_however_many_events_were_not() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let (mut subscriber, mut client) = (daemon.client(), daemon.client());
    let subscription = subscriber.subscribe(&json!({"thread": "other"}));
    // Its last call, and without a request_id.
    let held = subscriber.reserve(repo.at(), "t");
    for read in [true, false] {
        let other = client.reserve(repo.at(), "other");
        client.release(&other);
        if read {
            subscriber.event(&subscription);
        }
    }
    let descriptor = subscriber.stream.as_raw_fd();
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    eventually("an event is unread", || nix::sys::socket::recv(descriptor, &mut [0], flags).ok());
    drop(subscriber);
    let connections = |client: &mut Client| client.ok("daemon.info", &json!({}))["counts"]["connections"].clone();
    eventually("it is gone", || (connections(&mut client) == 1).then_some(()));
    assert_eq!(client.show(&held)["status"], "active", "its caller knows of it");
}
