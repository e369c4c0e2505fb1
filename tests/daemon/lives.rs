//! How the daemon ends: it drains what it has taken, and says so by its exit code.

use std::io::Read;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Client, Daemon, Place, Random, Stopwatch, eventually, token};

#[test]
fn sigterm_drains_and_removes_the_socket() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let place = Place::new();
        let mut daemon = place.start();
        let repo = place.repo("r");
        let mut client = daemon.client();
        let mut idle = daemon.client();
        idle.ok("daemon.info", &json!({}));
        let mut random = Random::new(8);
        let calls: Vec<Value> = (0..40)
            .map(|n| {
                json!({
                    "repo": repo.at(), "thread": format!("t{n}"), "request_id": format!("r{n}"),
                    "reservation_token": token(&mut random),
                })
            })
            .collect();
        for params in &calls {
            client.start("agent.reserve", params);
        }
        // Something of it is under way.
        let mut granted = vec![client.receive()["result"]["reservation"].take()];
        daemon.signal(signal);
        while let Ok(Some(line)) = client.try_line() {
            let mut answer: Value = serde_json::from_str(&line).unwrap();
            assert!(answer.get("result").is_some(), "what was taken is done: {answer}");
            granted.push(answer["result"]["reservation"].take());
        }
        let status = daemon.ended();
        assert_eq!(status.code(), Some(0), "{}", place.log());
        assert!(!place.socket().exists());
        idle.expect_end();

        daemon.restart();
        let mut client = daemon.client();
        for reservation in &granted {
            assert_eq!(client.show(reservation)["status"], "active", "R3");
        }
        let kinds = client.ok("oplog.list", &json!({"limit": 1000}));
        let stopped =
            kinds["operations"].as_array().unwrap().iter().any(|operation| operation["kind"] == "daemon_stopped");
        assert!(stopped, "the stop is on record");
    }
}

/// A connection whose answers nobody reads, so that draining does not end by itself.
fn stuck(daemon: &Daemon<'_>) -> Client {
    let mut stuck = daemon.client();
    // More than the socket's buffers hold.
    for _ in 0..64 {
        stuck.start("rpc.discover", &json!({}));
    }
    let mut other = daemon.client();
    eventually("its calls are taken", || {
        let info = other.ok("daemon.info", &json!({}));
        (info["counts"]["connections"] == 2).then_some(())
    });
    // The first answers are on their way.
    stuck.read_exact(&mut [0]).unwrap();
    stuck
}

#[test]
fn a_second_sigterm_hurries() {
    let place = Place::new();
    let mut daemon = place.start();
    let held = daemon.client().reserve(place.repo("r").at(), "t");
    let _stuck = stuck(&daemon);
    let watch = Stopwatch::start();
    daemon.signal(Signal::SIGTERM);
    eventually("it has begun to stop", || place.log().contains("stopping").then_some(()));
    daemon.signal(Signal::SIGTERM);
    let status = daemon.ended();
    assert_eq!(status.code(), Some(0), "{}", place.log());
    assert!(watch.elapsed() < Duration::from_secs(9), "it did not wait for the drain: {:?}", watch.elapsed());
    assert!(!place.socket().exists());
    daemon.restart();
    assert_eq!(daemon.client().show(&held)["status"], "active");
}

#[test]
fn shutdown_drains_for_as_long_as_it_is_told() {
    let place = Place::new();
    let mut daemon = place.start();
    let _stuck = stuck(&daemon);
    let watch = Stopwatch::start();
    let mut client = daemon.client();
    client.refused("invalid_params", "daemon.shutdown", &json!({"drain_ms": 600_001}));
    assert_eq!(client.ok("daemon.shutdown", &json!({"drain_ms": 300})), json!({}));
    client.expect_end();
    assert_eq!(daemon.ended().code(), Some(0), "{}", place.log());
    assert!(watch.elapsed() > Duration::from_millis(300), "it waited");
    assert!(watch.elapsed() < Duration::from_secs(9), "but not for the default: {:?}", watch.elapsed());
    assert!(!place.socket().exists());

    daemon.restart();
    let operations = daemon.client().ok("oplog.list", &json!({"limit": 1000}));
    let stopped =
        operations["operations"].as_array().unwrap().iter().find(|op| op["kind"] == "daemon_stopped").unwrap();
    assert!(
        stopped["detail"].to_string().contains(&std::process::id().to_string()),
        "who asked is on record: {stopped}"
    );
}

#[test]
fn nothing_else_stops_it() {
    let place = Place::new();
    let mut daemon = place.start();
    for signal in [Signal::SIGHUP, Signal::SIGPIPE] {
        daemon.signal(signal);
    }
    daemon.client().ok("daemon.info", &json!({}));
    daemon.stop();
}
