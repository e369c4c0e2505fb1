//! WebSocket: stock clients work, and a message is what a line is.

use std::collections::BTreeSet;
use std::io::Write;

use jsonrpsee::core::client::ClientT;
use jsonrpsee::core::params::{ArrayParams, BatchRequestBuilder};
use jsonrpsee_ws_client::WsClientBuilder;
use serde_json::{Value, json};
use tungstenite::Message;

use crate::raw::{HANDSHAKE, Http, Web, call};
use crate::support::{Place, key};

#[tokio::test]
async fn the_client_of_jsonrpsee_works() {
    let place = Place::new();
    let daemon = place.start();
    let stream = tokio::net::UnixStream::connect(daemon.socket()).await.unwrap();
    let client = WsClientBuilder::default().build_with_stream("ws://localhost/", stream).await.unwrap();
    let info: Value = client.request("daemon.info", ArrayParams::new()).await.unwrap();
    assert_eq!(info["pid"], daemon.pid());
    let refused = client.request::<Value, _>("no.such", ArrayParams::new()).await.unwrap_err().to_string();
    assert!(refused.contains("there is no method"), "{refused}");
    let mut batch = BatchRequestBuilder::new();
    for _ in 0..10 {
        batch.insert("daemon.health", ArrayParams::new()).unwrap();
    }
    let answers = client.batch_request::<Value>(batch).await.unwrap();
    assert_eq!(answers.num_successful_calls(), 10);
}

#[test]
fn messages_are_whole_however_they_are_sent() {
    let place = Place::new();
    let daemon = place.start();
    let mut web = Web::open(&daemon);
    let text = call(1, "daemon.health", &json!({}));
    web.0.send(Message::binary(text.clone().into_bytes())).unwrap();
    assert_eq!(web.receive()["id"], 1);
    // Lines are nothing here: a message is what its frames say.
    web.send(&text.replace(',', ",\n"));
    assert_eq!(web.receive()["id"], 1);
    // In fragments, with a ping between them, and byte by byte.
    let frame = |opcode: u8, payload: &[u8]| {
        let mut frame = vec![opcode, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        frame
    };
    let (first, second) = text.as_bytes().split_at(5);
    let frames = [frame(0x01, first), frame(0x89, b"ping"), frame(0x00, b""), frame(0x80, second)].concat();
    for byte in &frames {
        web.0.get_mut().write_all(&[*byte]).unwrap();
    }
    assert_eq!(web.0.read().unwrap(), Message::Pong("ping".into()));
    assert_eq!(web.receive()["id"], 1);
    for nonsense in ["nonsense", "", "{}", "[]"] {
        web.send(nonsense);
        assert!(web.receive()["error"]["data"]["kind"].is_string(), "{nonsense}");
    }
    // What is sent together with the handshake is not lost.
    let mut http = Http::open(&daemon);
    let mut sent = HANDSHAKE.as_bytes().to_vec();
    sent.extend(&frames);
    http.send(&sent);
    let response = http.try_response(false).unwrap();
    assert_eq!((response.status, response.header("sec-websocket-accept")), (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
    let mut pong = [0; 6];
    std::io::Read::read_exact(&mut http, &mut pong).unwrap();
    assert_eq!(&pong, b"\x8a\x04ping");
}

#[test]
fn calls_run_side_by_side_and_about_one_session_in_their_order() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut web = Web::open(&daemon);
    for n in 0..200 {
        web.send(&call(n, "agent.reserve", &json!({"repo": repo.at(), "thread": format!("t{n}")})));
    }
    let answers: Vec<Value> = (0..200).map(|_| web.receive()).collect();
    let ids: BTreeSet<u64> = answers.iter().map(|answer| answer["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (0..200).collect());
    for answer in answers.iter().take(20) {
        let held = &answer["result"]["reservation"];
        for (id, method) in [(1, "agent.heartbeat"), (2, "agent.release"), (3, "agent.heartbeat")] {
            web.send(&call(id, method, &key(held)));
        }
        let mut outcomes = [false; 3];
        for _ in 0..3 {
            let answer = web.receive();
            let id = usize::try_from(answer["id"].as_u64().unwrap()).unwrap();
            outcomes[id - 1] = answer["result"].is_object();
        }
        assert_eq!(outcomes, [true, true, false]);
    }
    let revision = web.call("daemon.info", &json!({})).unwrap()["revision"].take();
    web.send(
        &json!({"jsonrpc": "2.0", "method": "agent.reserve", "params": {"repo": repo.at(), "thread": "n"}}).to_string(),
    );
    assert_eq!(web.call("daemon.info", &json!({})).unwrap()["revision"], revision, "a notification changes nothing");
}

#[test]
fn who_breaks_the_protocol_is_told_and_closed() {
    let place = Place::new();
    let daemon = place.start();
    for (sent, code) in [
        (&[0x81, 0x01, b'x'][..], 1002),
        (&[0x83, 0x80, 0, 0, 0, 0], 1002),
        (&[0xf1, 0x80, 0, 0, 0, 0], 1002),
        (&[0x80, 0x80, 0, 0, 0, 0], 1002),
        (&[0x09, 0x80, 0, 0, 0, 0], 1002),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007),
    ] {
        let mut web = Web::open(&daemon);
        web.0.get_mut().write_all(sent).unwrap();
        assert_eq!(web.closed_with(), code, "{sent:?}");
    }
    let mut web = Web::open(&daemon);
    web.call("daemon.health", &json!({})).unwrap();
    web.0.close(None).unwrap();
    assert!(matches!(web.0.read(), Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed)));
}

#[test]
fn a_daemon_that_stops_answers_what_is_under_way_and_says_goodbye() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let (mut web, mut idle, mut http) = (Web::open(&daemon), Web::open(&daemon), Http::open(&daemon));
    assert_eq!(http.get("/health").status, 200);
    for n in 0..30 {
        web.send(&call(n, "agent.reserve", &json!({"repo": repo.at(), "thread": format!("t{n}")})));
    }
    web.send(&call(30, "daemon.shutdown", &json!({})));
    let mut answered: Vec<u64> = (0..31).map(|_| web.receive()["id"].as_u64().unwrap()).collect();
    answered.sort_unstable();
    assert_eq!(answered, (0..31).collect::<Vec<_>>());
    assert_eq!(web.closed_with(), 1001);
    assert_eq!(idle.closed_with(), 1001);
    http.expect_end();
    assert!(daemon.ended().success());
}
