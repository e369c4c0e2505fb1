//! Limits: each stops who goes over it, and nobody else.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::socket::MsgFlags;
use serde_json::{Value, json};

use crate::support::{Client, Place, eventually};

#[test]
fn a_client_that_never_reads_costs_bounded_memory_and_nobody_waits_for_it() {
    let place = Place::new();
    let daemon = place.start();
    let mut other = daemon.client();
    other.ok("rpc.discover", &json!({}));
    let before = daemon.resident_kib();
    let mut deaf: Vec<Client> = (0..4).map(|_| daemon.client()).collect();
    for client in &mut deaf {
        client.stream.set_nonblocking(true).unwrap();
        // Each answer has some 100 KiB; it is written until the daemon takes no more.
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"}).to_string() + "\n";
        let mut refused = 0;
        let mut sent = 0;
        eventually("the daemon takes no more of it", || {
            match client.send(call.as_bytes()) {
                Ok(()) => (sent, refused) = (sent + 1, 0),
                Err(_) => refused += 1,
            }
            other.ok("daemon.info", &json!({}));
            (refused > 50).then_some(())
        });
        assert!(sent > 64, "more than may be in flight: {sent}");
    }
    let grown = daemon.resident_kib().saturating_sub(before);
    // 64 calls in flight of 100 KiB and 1 MiB of waiting answers each, at most.
    assert!(grown < 4 * 16 * 1024, "{grown} KiB more for 4 connections that do not read");
    for _ in 0..100 {
        other.ok("daemon.info", &json!({}));
    }
    drop(deaf);
    eventually("they are gone", || (other.ok("daemon.info", &json!({}))["counts"]["connections"] == 1).then_some(()));
}

#[test]
fn batches_that_nobody_reads_cost_bounded_memory_in_all_and_others_are_served() {
    let place = Place::new();
    let daemon = place.start();
    let mut other = daemon.client();
    other.ok("rpc.discover", &json!({}));
    let before = daemon.resident_kib();
    // Some 80 KiB each.
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"});
    let batch = Value::from(vec![call; 100]).to_string();
    let mut deaf: Vec<Client> = (0..40).map(|_| daemon.client()).collect();
    deaf.iter_mut().for_each(|client| client.send_line(&batch));
    let refused = eventually("there is no room for large answers", || {
        assert!(daemon.resident_kib().saturating_sub(before) < 192 * 1024, "320 MiB of answers are not kept");
        other.ok("daemon.info", &json!({}));
        other.call("rpc.discover", &json!({})).err()
    });
    assert_eq!((refused.kind(), &refused.0["data"]["retryable"]), ("limit_exceeded", &json!(true)));
    assert_eq!(refused.details()["limit"], "waiting_answer_bytes");
    drop(deaf);
    eventually("there is room again", || other.call("rpc.discover", &json!({})).ok());
}

#[test]
fn a_client_that_is_always_behind_costs_bounded_memory() {
    let place = Place::new();
    let daemon = place.start();
    let (mut client, mut other) = (daemon.client(), daemon.client());
    client.ok("rpc.discover", &json!({}));
    let before = daemon.resident_kib();
    // It never has read everything, for it asks before it reads: some 80 KiB each.
    for _ in 0..60 {
        client.start("rpc.discover", &json!({}));
    }
    for _ in 0..250 {
        // The daemon is never the slower one.
        other.ok("daemon.health", &json!({}));
        client.receive();
        client.start("rpc.discover", &json!({}));
    }
    let grown = daemon.resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB more after 20 MiB of answers");
}

#[test]
fn a_client_that_asks_without_end_leaves_the_others_their_turns() {
    const ROUNDS: usize = 20;
    let place = Place::new();
    let daemon = place.start();
    let (flood, mut other) = (daemon.client(), daemon.client());
    let (mut input, mut output) = (flood.stream.try_clone().unwrap(), flood.stream.try_clone().unwrap());
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let calls = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"}\n".repeat(1000);
        scope.spawn(move || while output.write_all(calls.as_bytes()).is_ok() {});
        scope.spawn(|| {
            let mut buffer = vec![0; 1024 * 1024];
            while let Ok(count @ 1..) = input.read(&mut buffer) {
                let lines = buffer[..count].iter().filter(|byte| **byte == b'\n').count();
                answered.fetch_add(lines, Ordering::Relaxed);
            }
        });
        eventually("the flood has begun", || (answered.load(Ordering::Relaxed) > 1000).then_some(()));
        let before = answered.load(Ordering::Relaxed);
        for _ in 0..ROUNDS {
            other.ok("daemon.health", &json!({}));
        }
        let meanwhile = answered.load(Ordering::Relaxed) - before;
        flood.stream.shutdown(Shutdown::Both).unwrap();
        assert!(meanwhile < 1000 * ROUNDS, "{meanwhile} calls of one client during {ROUNDS} of another");
    });
}

#[test]
fn a_long_batch_leaves_the_others_their_turns() {
    let place = Place::new();
    let daemon = place.start();
    let (mut client, mut other) = (daemon.client(), daemon.client());
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"});
    client.send_line(&json!(vec![call; 100]).to_string());
    client.stream.set_nonblocking(true).unwrap();
    let is_answered = || nix::sys::socket::recv(client.stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK).is_ok();
    let mut meanwhile = 0;
    while !is_answered() {
        other.ok("daemon.health", &json!({}));
        meanwhile += 1;
    }
    assert!(meanwhile > 20, "{meanwhile} calls of another client during a batch of 100");
}

#[test]
fn the_call_over_the_limit_waits_and_is_answered() {
    let place = Place::new();
    place.configure("[limits]\ncalls_in_flight = 2\n");
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    for n in 0..65 {
        client.start("agent.reserve", &json!({"repo": repo.at(), "thread": format!("t{n}")}));
    }
    let mut ids: Vec<u64> = (0..65).map(|_| client.receive()["id"].as_u64().unwrap()).collect();
    // With two in flight no answer can overtake another by more than its own place.
    for (place, id) in ids.iter().enumerate() {
        assert!(*id <= place as u64 + 2, "{ids:?}");
    }
    ids.sort_unstable();
    assert_eq!(ids, (1..=65).collect::<Vec<_>>());
}

#[test]
fn the_65th_call_in_flight_waits() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut lines = String::new();
    for n in 1..=200_u64 {
        let params = json!({"repo": repo.at(), "thread": format!("t{n}")});
        lines += &(json!({"jsonrpc": "2.0", "id": n, "method": "agent.reserve", "params": params}).to_string() + "\n");
    }
    client.send(lines.as_bytes()).unwrap();
    let ids: Vec<u64> = (0..200).map(|_| client.receive()["id"].as_u64().unwrap()).collect();
    for (place, id) in ids.iter().enumerate() {
        assert!(*id <= place as u64 + 64, "call {id} was taken while 64 others were in flight: {ids:?}");
    }
}

#[test]
fn the_waiter_over_the_limit_is_told_so_and_the_others_wait_on() {
    let place = Place::new();
    place.configure("[limits]\nwaiters = 2\n");
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "t");
    let patient = json!({"repo": repo.at(), "thread": "t", "wait_ms": 60_000});
    let mut waiting: Vec<Client> = (0..2).map(|_| daemon.client()).collect();
    for (before, waiter) in waiting.iter_mut().enumerate() {
        waiter.start("agent.reserve", &patient);
        eventually("it waits", || {
            (client.ok("daemon.info", &json!({}))["counts"]["waiters"] == before + 1).then_some(())
        });
    }
    let fault = client.refused("limit_exceeded", "agent.reserve", &patient);
    assert_eq!(fault.details(), &json!({"limit": "waiters", "value": 2, "max": 2}));
    let other = json!({"repo": repo.at(), "thread": "other", "wait_ms": 60_000});
    client.ok("agent.reserve", &other);
    client.release(&held);
    assert_eq!(waiting[0].receive()["result"]["reservation"]["status"], "active");
}

/// Whether a connection was let in: its call is answered.
fn is_served(client: &mut Client) -> bool {
    // One that is not let in may be closed before this.
    let sent = client.try_start("agent.list", &json!({"limit": 1}));
    let line = client.try_line().ok().flatten();
    sent.is_ok() && line.is_some_and(|line| line.contains("\"result\""))
}

#[test]
fn a_connection_over_the_limit_is_told_so_and_closed() {
    let place = Place::new();
    place.configure("[limits]\nconnections = 3\n");
    let daemon = place.start();
    let mut clients: Vec<Client> = Vec::new();
    while clients.len() < 3 {
        let mut client = daemon.client();
        // The one that looked whether the daemon answers may not be gone yet.
        if is_served(&mut client) {
            clients.push(client);
        }
    }
    for _ in 0..5 {
        let mut over = daemon.client();
        let answer = over.receive();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(1401)), "{answer}");
        assert_eq!(answer["error"]["data"]["details"], json!({"limit": "connections", "value": 4, "max": 3}));
        over.expect_end();
    }
    for client in &mut clients {
        client.ok("daemon.info", &json!({}));
    }
    drop(clients.pop());
    eventually("there is room again", || is_served(&mut daemon.client()).then_some(()));
}
