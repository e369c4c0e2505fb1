//! Whatever begins like HTTP is answered or closed, and the daemon lives.

use std::io::{Read, Write};

use serde_json::json;

use crate::raw::{HANDSHAKE, call, connect, post};
use crate::support::{Place, Random};

/// Something like a request: a good one, cut and changed.
fn request(random: &mut Random) -> Vec<u8> {
    let body = call(1, "daemon.health", &json!({}));
    let chunked =
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let good = [
        post(&body),
        format!("{chunked}5\r\n{}\r\n0\r\n\r\n", &body[..5]),
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n".to_owned(),
        format!("{HANDSHAKE}\u{1}\u{5}{body}"),
        post(&body).repeat(3),
        String::new(),
    ];
    let mut sent = random.pick(&good).clone().into_bytes();
    if !sent.is_empty() && random.one_in(2) {
        sent.truncate(random.below(sent.len()) + 1);
    }
    for _ in 0..random.below(4) {
        let (at, count) = (random.below(sent.len() + 1), random.below(8));
        let bytes = match random.below(4) {
            0 => random.bytes(count),
            1 => b"\r\n".to_vec(),
            2 => b"Content-Length: 18446744073709551616\r\n".to_vec(),
            _ => b" :;,\0".to_vec(),
        };
        let end = (at + random.below(count + 1)).min(sent.len());
        drop(sent.splice(at..end, bytes));
    }
    // It is told from lines by this.
    sent.insert(0, *random.pick(b"ABCGHPTZ"));
    if random.one_in(2) {
        drop(sent.drain(..1));
    }
    sent
}

#[test]
fn two_thousand_beginnings_are_answered_or_closed() {
    let place = Place::new();
    let mut daemon = place.start();
    let mut random = Random::new(31);
    let mut other = daemon.client();
    let (mut http, mut lines, mut silent) = (0, 0, 0);
    for round in 0..2000 {
        let sent = request(&mut random);
        let mut stream = connect(&daemon);
        // The daemon need not take what it refuses.
        let _cut_off = stream.write_all(&sent);
        let _cut_off = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("round {round}: {error}: {:?}", String::from_utf8_lossy(&sent)),
        }
        match answer.as_slice() {
            [] => silent += 1,
            [b'{' | b'[', ..] => lines += 1,
            answer => {
                assert!(answer.starts_with(b"HTTP/1.1 "), "{:?}", String::from_utf8_lossy(&sent));
                assert!(!answer.starts_with(b"HTTP/1.1 500"), "{:?}", String::from_utf8_lossy(&sent));
                http += 1;
            }
        }
        if round % 100 == 0 {
            other.ok("daemon.info", &json!({}));
        }
    }
    assert!(http > 500 && lines > 20 && silent > 20, "{http} in HTTP, {lines} in lines, {silent} not at all");
    assert!(!place.log().contains("panicked"), "{}", place.log());
    daemon.stop();
}
