//! Grants whose answer was not read, over HTTP and WebSocket: nobody could ask for them again, so their sessions end.

use std::net::Shutdown;

use serde_json::{Value, json};

use crate::raw::{Http, Web, call, post};
use crate::support::{Client, Place, eventually, key};

/// The status and the reason of a thread's latest session, once it has one that has ended.
fn ended(client: &mut Client, repo: &str, thread: &str) -> (Value, Value) {
    eventually("the session has ended", || {
        let mut listed = client.ok("agent.list", &json!({"repo": repo, "thread": thread}));
        let session = listed["reservations"].get_mut(0)?;
        (session["status"] != "active").then(|| (session["status"].take(), session["end_reason"].take()))
    })
}

#[test]
fn a_grant_that_is_not_read_ends_its_session() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut other = daemon.client();
    for round in 0..20 {
        let thread = format!("t{round}");
        let params = json!({"repo": repo.at(), "thread": thread});
        if round % 2 == 0 {
            let mut http = Http::open(&daemon);
            http.send(post(&call(1, "agent.reserve", &params)));
        } else {
            let mut web = Web::open(&daemon);
            web.send(&call(1, "agent.reserve", &params));
            if round % 4 == 1 {
                // It says goodbye, and has not heard of its grant.
                web.0.close(None).unwrap();
            }
        }
        assert_eq!(ended(&mut other, repo.at(), &thread), (json!("abandoned"), json!("connection_lost")), "{thread}");
    }
}

#[test]
fn a_grant_that_is_read_stays() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut other = daemon.client();
    let mut held = Vec::new();
    for round in 0..12 {
        let params = json!({"repo": repo.at(), "thread": format!("t{round}")});
        let mut answer = match round % 4 {
            0 => Http::open(&daemon).call("agent.reserve", &params).unwrap(),
            1 => {
                let mut http = Http::open(&daemon);
                let body = call(1, "agent.reserve", &params);
                let head = "POST / HTTP/1.0\r\nContent-Type: application/json";
                http.send(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
                http.half_close();
                http.response().json()["result"].take()
            }
            2 => Web::open(&daemon).call("agent.reserve", &params).unwrap(),
            _ => {
                let mut web = Web::open(&daemon);
                let answer = web.call("agent.reserve", &params).unwrap();
                web.0.close(None).unwrap();
                web.0.get_mut().shutdown(Shutdown::Write).unwrap();
                answer
            }
        };
        held.push(answer["reservation"].take());
    }
    eventually("all of them are gone", || {
        (other.ok("daemon.info", &json!({}))["counts"]["connections"] == 1).then_some(())
    });
    for session in &held {
        assert_eq!(other.show(session)["status"], "active", "{session}");
        other.release(session);
    }
}

/// A WebSocket that says goodbye, one that ends its input alone, and one that is gone: none of them says more.
#[test]
fn a_websocket_that_holds_a_session_is_lost_however_it_ends() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut lines = daemon.client();
    let mut web = Web::open(&daemon);
    for round in 0..9 {
        let params = json!({"repo": repo.at(), "thread": format!("t{round}"), "hold_connection": true});
        let held = web.call("agent.reserve", &params).unwrap()["reservation"].take();
        assert_eq!((&held["hold"]["connection"], &lines.show(&held)["alive"]), (&json!(true), &json!("alive")));
        let mut gone = std::mem::replace(&mut web, Web::open(&daemon));
        match round % 3 {
            0 => drop(gone),
            1 => gone.0.close(None).unwrap(),
            _ => gone.0.get_mut().shutdown(Shutdown::Write).unwrap(),
        }
        eventually("its loss is seen", || (lines.show(&held)["alive"] == "unknown").then_some(()));
        let resumed = web.call("agent.resume", &key(&held)).unwrap();
        assert_eq!(resumed["reservation"]["alive"], "alive");
        assert_eq!(lines.show(&held)["status"], "active");
    }
}

#[test]
fn a_caller_that_can_ask_again_keeps_its_session() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let token = crate::support::token(&mut crate::support::Random::new(4));
    let params = json!({"repo": repo.at(), "thread": "t", "request_id": "r1", "reservation_token": token});
    let mut http = Http::open(&daemon);
    http.send(post(&call(1, "agent.reserve", &params)));
    drop(http);
    let mut other = daemon.client();
    eventually("it is granted", || other.holder(repo.at(), "t"));
    let mut again = Http::open(&daemon).call("agent.reserve", &params).unwrap();
    assert_eq!(again["replayed"], true);
    Web::open(&daemon).call("agent.release", &key(&again["reservation"].take())).unwrap();
}
