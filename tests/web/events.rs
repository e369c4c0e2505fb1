//! Events over WebSocket: what holds for lines holds there, and plain HTTP, which can carry none, says so.

use std::net::Shutdown;

use jsonrpsee::core::client::{ClientT, SubscriptionClientT};
use jsonrpsee::core::params::{ArrayParams, ObjectParams};
use jsonrpsee_ws_client::WsClientBuilder;
use serde_json::{Value, json};

use crate::raw::{Http, Web};
use crate::support::{Client, Place, eventually};

/// Reserves and releases a thread so many times.
fn cycles(client: &mut Client, repo: &str, count: usize) {
    for _ in 0..count {
        let held = client.reserve(repo, "t");
        client.release(&held);
    }
}

/// Waits until the daemon counts so many subscriptions.
#[track_caller]
fn subscribed(client: &mut Client, count: u64) {
    eventually("there are as many subscriptions", || {
        (client.ok("daemon.info", &json!({}))["counts"]["subscriptions"] == count).then_some(())
    });
}

/// The next event: it must be that of the next revision.
#[track_caller]
fn take(web: &mut Web, subscription: &Value, seen: &mut Vec<Value>) {
    let mut told = web.receive();
    assert_eq!((&told["jsonrpc"], &told["method"]), (&json!("2.0"), &json!("events.event")), "{told}");
    assert_eq!(told.get("id"), None, "{told}");
    assert_eq!(told["params"]["subscription"], *subscription, "{told}");
    let event = told["params"]["result"].take();
    assert_eq!(event["revision"], seen.len() + 1, "{event}");
    seen.push(event);
}

#[test]
fn v1_a_subscriber_sees_each_revision_once_until_its_connection_ends() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    // Some of it is read back, the rest comes live; what waits for the socket is cut between messages, or within one.
    cycles(&mut client, repo.at(), 100);
    let mut web = Web::open(&daemon);
    let subscription = web.call("events.subscribe", &json!({"after": 0})).unwrap();
    cycles(&mut client, repo.at(), 100);
    let log = client.ok("oplog.list", &json!({"after": 0, "limit": 1000}))["operations"].take();
    let mut seen = Vec::new();
    while seen.len() < log.as_array().unwrap().len() {
        take(&mut web, &subscription, &mut seen);
    }
    assert!(log.as_array() == Some(&seen), "events are the operation log");
    // Its calls are answered beside its events.
    assert_eq!(web.call("events.unsubscribe", &json!({"subscription": subscription})).unwrap(), true);
    cycles(&mut client, repo.at(), 1);
    assert_eq!(web.call("events.unsubscribe", &json!({"subscription": subscription})).unwrap(), false);
    // However it ends: cut off, closed as the protocol has it, or at one side.
    let ends: [fn(&mut Web); 3] = [
        |web| web.0.get_ref().shutdown(Shutdown::Both).unwrap(),
        |web| web.0.close(None).unwrap(),
        |web| web.0.get_ref().shutdown(Shutdown::Write).unwrap(),
    ];
    for end in ends {
        let mut web = Web::open(&daemon);
        web.call("events.subscribe", &json!({})).unwrap();
        subscribed(&mut client, 1);
        end(&mut web);
        subscribed(&mut client, 0);
    }
}

#[tokio::test]
async fn the_client_of_jsonrpsee_subscribes_and_unsubscribes() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let stream = tokio::net::UnixStream::connect(daemon.socket()).await.unwrap();
    let web = WsClientBuilder::default().build_with_stream("ws://localhost/", stream).await.unwrap();
    let mut params = ObjectParams::new();
    params.insert("after", 0).unwrap();
    let mut events = web.subscribe::<Value, _>("events.subscribe", params, "events.unsubscribe").await.unwrap();
    cycles(&mut client, repo.at(), 20);
    let info: Value = web.request("daemon.info", ArrayParams::new()).await.unwrap();
    for revision in 1..=info["revision"].as_u64().unwrap() {
        assert_eq!(events.next().await.unwrap().unwrap()["revision"], revision);
    }
    assert_eq!(info["counts"]["subscriptions"], 1);
    events.unsubscribe().await.unwrap();
    let info: Value = web.request("daemon.info", ArrayParams::new()).await.unwrap();
    assert_eq!(info["counts"]["subscriptions"], 0);
}

#[test]
fn a_subscriber_that_does_not_read_is_told_so_and_goes_on_where_it_was() {
    const BEHIND: u64 = 100;
    let place = Place::new();
    place.configure(&format!("[limits]\nevents_behind = {BEHIND}\n"));
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let (mut deaf, mut listening) = (Web::open(&daemon), Web::open(&daemon));
    let subscription = deaf.call("events.subscribe", &json!({"after": 0})).unwrap();
    let other = listening.call("events.subscribe", &json!({"after": 0})).unwrap();
    let mut all = Vec::new();
    let mut cycles_done = 0;
    // The other one is told of everything meanwhile, also after the deaf one was given up.
    while !place.log().contains("a subscriber fell behind") || cycles_done % 100 != 0 {
        assert!(cycles_done < 5000, "the deaf one is told in the end");
        cycles(&mut client, repo.at(), 1);
        cycles_done += 1;
        let newest = client.ok("daemon.info", &json!({}))["revision"].as_u64().unwrap();
        while (all.len() as u64) < newest {
            take(&mut listening, &other, &mut all);
        }
    }
    let mut heard = Vec::new();
    let resume = loop {
        let told = deaf.receive();
        let event = &told["params"]["result"];
        assert_eq!(told["params"]["subscription"], subscription, "{told}");
        if event["kind"] == "lagged" {
            break event["detail"]["resume_after"].clone();
        }
        assert_eq!(event["revision"], heard.len() + 1, "{told}");
        heard.push(event.clone());
    };
    assert_eq!(resume, heard.len(), "everything before it was given");
    assert!((heard.len() as u64) + BEHIND < all.len() as u64, "{} of {}", heard.len(), all.len());
    // It has ended, and its connection has not.
    assert_eq!(deaf.call("events.unsubscribe", &json!({"subscription": subscription})).unwrap(), false);
    let next = deaf.call("events.subscribe", &json!({"after": resume})).unwrap();
    while heard.len() < all.len() {
        take(&mut deaf, &next, &mut heard);
    }
    assert!(heard == all, "and then it has seen what the other one has");
}

#[test]
fn the_stop_is_the_last_event_and_the_goodbye_comes_after_it() {
    let place = Place::new();
    let mut daemon = place.start();
    let mut web = Web::open(&daemon);
    let subscription = web.call("events.subscribe", &json!({"after": 0})).unwrap();
    daemon.client().ok("daemon.shutdown", &json!({}));
    let mut seen = Vec::new();
    take(&mut web, &subscription, &mut seen);
    take(&mut web, &subscription, &mut seen);
    assert_eq!((&seen[0]["kind"], &seen[1]["kind"]), (&json!("daemon_started"), &json!("daemon_stopped")));
    assert_eq!(web.closed_with(), 1001);
    assert!(daemon.ended().success());
}

#[test]
fn plain_http_carries_no_events_and_says_so() {
    let place = Place::new();
    let daemon = place.start();
    let mut http = Http::open(&daemon);
    let refused = http.call("events.subscribe", &json!({})).unwrap_err();
    assert_eq!((refused.kind(), &refused.0["code"]), ("invalid_params", &json!(-32602)));
    assert!(refused.0["data"]["error"].as_str().unwrap().contains("WebSocket"), "{}", refused.0);
    subscribed(&mut daemon.client(), 0);
}
