//! Limits: the same ones as on lines, and counted together with them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::raw::{Http, Web, call, connect};
use crate::support::{Place, Stopwatch, eventually};

const MIB: usize = 1024 * 1024;

/// A call of exactly this many bytes.
pub(crate) fn padded(bytes: usize) -> String {
    let call = |pad: &str| json!({"jsonrpc": "2.0", "id": 7, "method": "daemon.health", "pad": pad}).to_string();
    let line = call(&"x".repeat(bytes - call("").len()));
    assert_eq!(line.len(), bytes);
    line
}

#[test]
fn a_body_may_have_exactly_one_mib() {
    let place = Place::new();
    let daemon = place.start();
    let mut http = Http::open(&daemon);
    assert_eq!(http.post(&padded(MIB)).json()["id"], 7);
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let body = padded(MIB);
    http.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n{MIB:x}\r\n{body}\r\n0\r\n\r\n"));
    assert_eq!(http.response().json()["id"], 7);
    // It is refused before it has come; a client that waits sends nothing of it.
    let over = MIB + 1;
    for sent in [
        format!("{head}Content-Length: {over}\r\n\r\n"),
        format!("{head}Content-Length: {over}\r\nExpect: 100-continue\r\n\r\n"),
        format!("{head}Content-Length: 99999999999999999999999999\r\n\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{over:x}\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"),
    ] {
        let mut http = Http::open(&daemon);
        http.send(&sent);
        let response = http.response();
        assert_eq!((response.status, response.header("connection")), (413, Some("close")), "{sent}");
        let answer = response.json();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(1401)));
        assert_eq!(answer["error"]["data"]["details"]["limit"], "line_bytes");
        http.expect_end();
    }
    for headers in ["a: b\r\n".repeat(65), format!("a: {}\r\n", "b".repeat(20_000))] {
        let mut http = Http::open(&daemon);
        http.send(format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
        let response = http.response();
        assert_eq!((response.status, response.kind().as_str()), (431, "limit_exceeded"));
    }
}

#[test]
fn a_message_may_have_exactly_one_mib() {
    let place = Place::new();
    let daemon = place.start();
    let mut web = Web::open(&daemon);
    web.send(&padded(MIB));
    assert_eq!(web.receive()["id"], 7);
    // The frame says what it is before it comes; in fragments only their sum tells.
    let mut huge = vec![0x81, 0x80 | 127];
    huge.extend(u64::try_from(MIB + 1).unwrap().to_be_bytes());
    huge.extend([0; 4]);
    let part = u64::try_from(MIB / 2 + 1).unwrap();
    let fragment = |opcode: u8| {
        let mut frame = vec![opcode, 0x80 | 127];
        frame.extend(part.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(vec![b' '; MIB / 2 + 1]);
        frame
    };
    for sent in [huge, [fragment(0x01), fragment(0x80)].concat()] {
        let mut web = Web::open(&daemon);
        std::io::Write::write_all(web.0.get_mut(), &sent).unwrap();
        let answer = web.receive();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(1401)), "{answer}");
        assert_eq!(web.closed_with(), 1009);
    }
}

#[test]
fn batches_are_limited_on_each() {
    let place = Place::new();
    let daemon = place.start();
    let (mut http, mut web) = (Http::open(&daemon), Web::open(&daemon));
    for (calls, is_served) in [(100, true), (101, false)] {
        let batch = format!("[{}]", vec![call(1, "daemon.health", &json!({})); calls].join(","));
        web.send(&batch);
        for answer in [http.post(&batch).json(), web.receive()] {
            assert_eq!(answer.as_array().map(Vec::len), is_served.then_some(100));
            assert!(is_served || answer["error"]["data"]["details"]["limit"] == "batch", "{answer}");
        }
    }
}

#[test]
fn a_long_message_leaves_no_long_buffer_behind() {
    const CONNECTIONS: u64 = 96;
    let place = Place::new();
    let daemon = place.start();
    let long = padded(MIB);
    // What one of them needs at once is not what each keeps.
    for _ in 0..3 {
        let mut web = Web::open(&daemon);
        web.send(&long);
        web.receive();
        web.call("rpc.discover", &json!({})).unwrap();
    }
    let before = daemon.resident_kib();
    let idle: Vec<Web> = (0..CONNECTIONS)
        .map(|_| {
            let mut web = Web::open(&daemon);
            web.send(&long);
            web.receive();
            web.call("rpc.discover", &json!({})).unwrap();
            web
        })
        .collect();
    let grown = daemon.resident_kib().saturating_sub(before);
    assert!(grown < CONNECTIONS * 512, "{grown} KiB more for {CONNECTIONS} connections that idle");
    drop(idle);
}

#[test]
fn connections_are_counted_together() {
    let place = Place::new();
    place.configure("[limits]\nconnections = 3\n");
    let daemon = place.start();
    eventually("the one that looked is gone", || {
        (daemon.client().ok("daemon.info", &json!({}))["counts"]["connections"] == 1).then_some(())
    });
    let mut web = eventually("there is room", || {
        tungstenite::client("ws://localhost/", connect(&daemon)).ok().map(|(web, _)| Web(web))
    });
    let mut http = eventually("there is room", || {
        let mut http = Http::open(&daemon);
        (http.get("/health").status == 200).then_some(http)
    });
    let mut lines = eventually("there is room", || {
        let mut lines = daemon.client();
        lines.try_call("agent.list", &json!({"limit": 1})).ok()?.ok().map(|_| lines)
    });
    for _ in 0..5 {
        let mut over = Http::open(&daemon);
        over.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let response = over.response();
        assert_eq!((response.status, response.kind().as_str()), (503, "limit_exceeded"));
        over.expect_end();
        let refused = tungstenite::client("ws://localhost/", connect(&daemon));
        assert!(refused.is_err());
        let mut over = daemon.client();
        assert_eq!(over.receive()["error"]["code"], 1401, "who says nothing is told in a line");
        over.expect_end();
    }
    assert_eq!(lines.ok("daemon.info", &json!({}))["counts"]["connections"], 3);
    assert_eq!(http.get("/health").status, 200);
    web.call("daemon.health", &json!({})).unwrap();
}

#[test]
fn a_request_that_is_begun_and_not_finished_closes_its_connection_in_time() {
    let place = Place::new();
    place.configure("[limits]\nrequest_timeout_ms = 1000\n");
    let daemon = place.start();
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let (mut idle, mut idle_web) = (Http::open(&daemon), Web::open(&daemon));
    assert_eq!(idle.get("/health").status, 200);
    let watch = Stopwatch::start();
    let mut slow: Vec<Http> = Vec::new();
    for sent in [
        "G".to_owned(),
        head.to_owned(),
        format!("{head}Content-Length: 5\r\n\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n"),
        // Behind one that is complete.
        format!("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n{head}"),
    ] {
        let mut http = Http::open(&daemon);
        http.send(&sent);
        if sent.starts_with("GET") {
            assert_eq!(http.response().status, 200);
        }
        slow.push(http);
    }
    let (mut half_frame, mut fragments) = (Web::open(&daemon), Web::open(&daemon));
    std::io::Write::write_all(half_frame.0.get_mut(), &[0x81]).unwrap();
    // Whatever comes between the fragments of a message gives it no more time.
    let mut dripped = 0;
    eventually("the dripping connection is closed", || {
        if watch.elapsed() > Duration::from_millis(100) * dripped {
            dripped += 1;
            let frame: &[u8] = match dripped {
                1 => &[0x01, 0x81, 0, 0, 0, 0, b' '],
                n if n % 2 == 0 => &[0x89, 0x80, 0, 0, 0, 0],
                _ => &[0x00, 0x81, 0, 0, 0, 0, b' '],
            };
            return std::io::Write::write_all(fragments.0.get_mut(), frame).is_err().then_some(());
        }
        None
    });
    assert!(watch.elapsed() > Duration::from_millis(990), "not before: {:?}", watch.elapsed());
    for mut http in slow {
        http.expect_end();
    }
    assert_eq!(half_frame.closed_with(), 1001);
    assert_eq!(idle.get("/health").status, 200, "who is idle stays");
    idle_web.call("daemon.health", &json!({})).unwrap();
}
