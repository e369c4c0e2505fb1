//! Lines: how they end, how long they may be, and what is no line.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Place, Stopwatch};

const MIB: usize = 1024 * 1024;

/// A call of exactly this many bytes.
fn padded(bytes: usize) -> String {
    let empty = json!({"jsonrpc": "2.0", "id": 7, "method": "daemon.info", "params": {}, "pad": ""}).to_string();
    let pad = "x".repeat(bytes - empty.len());
    let line = json!({"jsonrpc": "2.0", "id": 7, "method": "daemon.info", "params": {}, "pad": pad}).to_string();
    assert_eq!(line.len(), bytes);
    line
}

#[test]
fn lines_end_in_any_way_and_blank_ones_are_nothing() {
    let place = Place::new();
    let daemon = place.start();
    let mut client = daemon.client();
    let call = |id: u64| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"daemon.health"}}"#);
    client.send(format!("\n\r\n  \n\t\r\n{}\r\n\n{}\n {} \n", call(1), call(2), call(3)).as_bytes()).unwrap();
    let mut ids: Vec<u64> = (0..3).map(|_| client.receive()["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
    // Byte by byte, in the middle of characters too.
    for byte in "{\"jsonrpc\":\"2.0\",\"id\":\"\u{1F9F5}\",\"method\":\"daemon.health\"}\n".as_bytes() {
        client.send(&[*byte]).unwrap();
    }
    assert_eq!(client.receive()["id"], "\u{1F9F5}");
    // The last line needs no ending.
    client.send(call(4).as_bytes()).unwrap();
    client.half_close();
    assert_eq!(client.receive()["id"], 4);
    client.expect_end();
}

#[test]
fn input_that_has_ended_still_gets_its_answers() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    for n in 0..100 {
        client.start("agent.reserve", &json!({"repo": repo.at(), "thread": format!("t{n}")}));
    }
    client.half_close();
    let mut ids: Vec<u64> = (0..100).map(|_| client.receive()["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=100).collect::<Vec<_>>());
    client.expect_end();

    // As `printf | socat` does it: another process's output is the whole input.
    let line = r#"{"jsonrpc":"2.0","id":1,"method":"daemon.info"}"#;
    let stream = UnixStream::connect(daemon.socket()).unwrap();
    let output: std::os::fd::OwnedFd = stream.try_clone().unwrap().into();
    let status = Command::new("printf").args(["%s\n", line]).stdout(Stdio::from(output)).status().unwrap();
    assert!(status.success());
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answer: Value = serde_json::from_reader(stream).unwrap();
    assert_eq!(answer["id"], 1);
}

#[test]
fn a_line_of_exactly_one_mib_is_a_line_and_one_byte_more_is_not() {
    let place = Place::new();
    let daemon = place.start();
    for ending in ["\n", "\r\n"] {
        let mut client = daemon.client();
        client.send((padded(MIB) + ending).as_bytes()).unwrap();
        let answer = client.receive();
        assert_eq!(answer["id"], 7, "{answer}");
        client.ok("daemon.info", &json!({}));
    }
    for ending in ["\n", "\r\n", "xx"] {
        let mut client = daemon.client();
        // What it does not read it need not take.
        let _cut_off = client.send((padded(MIB + 1) + ending).as_bytes());
        let answer = client.receive();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(1401)), "{answer}");
        assert_eq!(answer["error"]["data"]["details"]["limit"], "line_bytes");
        client.expect_end();
    }
    // A flood without any line is cut off too, and what was asked before it is answered.
    let mut client = daemon.client();
    client.start("daemon.health", &json!({}));
    client.stream.write_all(&vec![b'x'; 4 * MIB]).unwrap_err();
    let answers = [client.receive(), client.receive()];
    assert!(answers.iter().any(|answer| answer["id"] == 1 && answer["result"].is_object()), "{answers:?}");
    assert!(answers.iter().any(|answer| answer["error"]["code"] == 1401), "{answers:?}");
}

#[test]
fn what_is_not_json_is_answered_and_the_connection_stays() {
    let place = Place::new();
    let daemon = place.start();
    let mut client = daemon.client();
    let deep = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    let lines: Vec<Vec<u8>> = vec![
        b"hello".to_vec(),
        b"{\"jsonrpc\":\"2.0\",".to_vec(),
        b"\xff\xfe\x00\x01".to_vec(),
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}".to_vec(),
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xed\xa0\x80\"}".to_vec(),
        br#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#.to_vec(),
        b"{} {}".to_vec(),
        b"\0".to_vec(),
        b"GET / HTTP/1.1".to_vec(),
        deep("[", "]").into_bytes(),
        deep("{\"a\":", "}").into_bytes(),
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"daemon.info\",\"params\":{}}}", deep("[", "]"))
            .into_bytes(),
        "\u{feff}{}".into(),
    ];
    for line in lines {
        client.send(&line).unwrap();
        client.send(b"\n").unwrap();
        let mut answer = client.receive();
        // What begins with a bracket is a batch, if it is anything.
        if let Some(only) = answer.as_array_mut().and_then(Vec::pop) {
            answer = only;
        }
        let shown = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
        let code = answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("{shown}: {answer}"));
        assert!(matches!(code, -32700 | -32600 | -32602), "{shown}: {answer}");
        if code == -32700 {
            assert_eq!(answer["id"], Value::Null, "{shown}");
        }
        client.ok("daemon.health", &json!({}));
    }
}

#[test]
fn a_request_that_is_begun_and_not_finished_closes_its_connection_in_time() {
    let place = Place::new();
    place.configure("[limits]\nrequest_timeout_ms = 1000\n");
    let daemon = place.start();
    let (mut slow, mut idle, mut dripping) = (daemon.client(), daemon.client(), daemon.client());
    idle.ok("daemon.info", &json!({}));
    slow.ok("daemon.info", &json!({}));
    let watch = Stopwatch::start();
    slow.send(b"{\"jsonrpc\"").unwrap();
    dripping.send(b"{").unwrap();
    // Bytes that keep coming do not help: the request as a whole has its time.
    let mut dripped = 0;
    crate::support::eventually("the dripping connection is closed", || {
        if watch.elapsed() > Duration::from_millis(100) * dripped {
            dripped += 1;
            return dripping.send(b" ").is_err().then_some(());
        }
        None
    });
    assert!(watch.elapsed() > Duration::from_millis(990), "not before: {:?}", watch.elapsed());
    slow.expect_end();
    idle.ok("daemon.info", &json!({}));
}

#[test]
fn requests_that_follow_each_other_without_a_pause_each_have_their_time() {
    let place = Place::new();
    place.configure("[limits]\nrequest_timeout_ms = 1000\n");
    let daemon = place.start();
    let mut client = daemon.client();
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "daemon.health"}).to_string() + "\n";
    let (head, tail) = call.split_at(20);
    let watch = Stopwatch::start();
    client.send(head.as_bytes()).unwrap();
    // There is always one that has begun, and none that is not soon complete.
    while watch.elapsed() < Duration::from_millis(2500) {
        client.send(format!("{tail}{head}").as_bytes()).unwrap();
        assert_eq!(client.receive()["id"], 1, "after {:?}", watch.elapsed());
    }
}

#[test]
fn requests_that_wait_for_room_are_not_taken_for_incomplete() {
    let place = Place::new();
    place.configure("[limits]\nrequest_timeout_ms = 1000\n");
    let daemon = place.start();
    let (mut client, mut other) = (daemon.client(), daemon.client());
    let watch = Stopwatch::start();
    // More than is taken while nobody reads the answers, of some 100 KiB each.
    let sent: Vec<u64> = (0..60).map(|_| client.start("rpc.discover", &json!({}))).collect();
    while watch.elapsed() < Duration::from_millis(2500) {
        other.ok("daemon.health", &json!({}));
    }
    let answered: Vec<u64> = sent.iter().map(|_| client.receive()["id"].as_u64().unwrap()).collect();
    assert_eq!(answered, sent, "a reader that is slow loses nothing");
}
