//! 10,000 random and mutated lines from a seed.

use serde_json::{Value, json};

use crate::support::{Client, Daemon, Place, Random, key, token};

const LINES: usize = 10_000;
const WARM_UP: usize = 2_000;

/// Calls as they should be, to be spoiled. None that stops the daemon.
fn templates(repo: &str, held: &Value, random: &mut Random) -> Vec<Value> {
    let mut update = key(held);
    update["expected"] = Value::Null;
    update["new"] = held["anchor_state"].clone();
    let calls = [
        ("agent.reserve", json!({"repo": repo, "thread": "t", "at_tip": true, "task": "a task", "ttl_ms": 5000})),
        ("agent.reserve", json!({"repo": repo, "thread": "u", "request_id": "r", "reservation_token": token(random)})),
        ("agent.reserve", json!({"repo": repo, "thread": "v", "probe": {"source": "none", "confidence": 0.5}})),
        ("agent.heartbeat", key(held)),
        ("agent.validate", key(held)),
        ("agent.list", json!({"repo": repo, "limit": 5, "cursor": "9"})),
        ("agent.show", json!({"session_id": held["session_id"]})),
        ("agent.evict", json!({"session_id": "agent-aaaaaaaaaaaaaaaaaaaa", "reason": "x"})),
        ("thread.update", update),
        ("thread.list", json!({"repo": repo, "state": "active"})),
        ("thread.show", json!({"repo": repo, "thread": "t"})),
        ("oplog.list", json!({"after": 1, "limit": 5})),
        ("repo.adopt", json!({"repo": repo, "reason": "x"})),
        ("daemon.hello", json!({"protocol": [1, 1], "client": "x"})),
    ];
    calls
        .into_iter()
        .map(|(method, params)| json!({"jsonrpc": "2.0", "id": 5, "method": method, "params": params}))
        .collect()
}

/// Puts something else in one place of a message.
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever it is, it is replaced")]
fn spoil(value: &mut Value, random: &mut Random) {
    let odd = [
        Value::Null,
        json!(-1),
        json!(u64::MAX),
        json!(1e308),
        json!(""),
        json!("\u{0}"),
        json!("../../etc"),
        json!([]),
        json!({"a": {}}),
        json!(true),
        json!("x".repeat(300)),
    ];
    match value {
        Value::Object(members) if !members.is_empty() && !random.one_in(6) => {
            let name = members.keys().nth(random.below(members.len())).unwrap().clone();
            match random.below(4) {
                0 => drop(members.remove(&name)),
                1 => drop(members.insert(format!("{name}_"), json!(1))),
                _ => spoil(&mut members[&name], random),
            }
        }
        other => *other = random.pick(&odd).clone(),
    }
}

fn line(templates: &[Value], random: &mut Random) -> Vec<u8> {
    let mut message = random.pick(templates).clone();
    let mut line = match random.below(10) {
        0 => {
            let count = random.below(200);
            random.bytes(count)
        }
        1 => message.to_string().into_bytes(),
        2..=5 => {
            for _ in 0..=random.below(3) {
                spoil(&mut message, random);
            }
            message.to_string().into_bytes()
        }
        6 => Value::from(vec![message; random.below(4)]).to_string().into_bytes(),
        _ => {
            let mut bytes = message.to_string().into_bytes();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
                if bytes.is_empty() {
                    break;
                }
                match random.below(4) {
                    0 => drop(bytes.remove(at)),
                    1 => bytes.insert(at, random.next().to_le_bytes()[0]),
                    2 => bytes.truncate(at.max(1)),
                    _ => bytes[at] ^= 1 << random.below(8),
                }
            }
            bytes
        }
    };
    line.retain(|byte| *byte != b'\n');
    line
}

/// Fails unless this is an answer: a result, or an error of a known kind with its code.
fn check(answer: &Value, line: &[u8]) {
    let shown = || String::from_utf8_lossy(line).into_owned();
    if let Some(batch) = answer.as_array() {
        return batch.iter().for_each(|answer| check(answer, line));
    }
    assert_eq!(answer["jsonrpc"], "2.0", "{}: {answer}", shown());
    let Some(error) = answer.get("error") else {
        assert!(answer.get("result").is_some(), "{}: {answer}", shown());
        return;
    };
    let data: proto_schema::ErrorData = serde_json::from_value(error["data"].clone())
        .unwrap_or_else(|problem| panic!("{}: {problem}: {answer}", shown()));
    assert_eq!(error["code"], data.kind.code(), "{}: {answer}", shown());
    assert_ne!(data.kind, proto_schema::Kind::Internal, "{}: {answer}", shown());
    assert!(answer.to_string().len() < 8 * 1024, "no error repeats at length what it was sent: {answer}");
}

/// Sends lines, each followed by a call whose answer says that the line's own is over. A call that is in flight may be
/// answered after it, so ids tell them apart.
fn send(client: &mut Client, daemon: &Daemon<'_>, lines: &[Vec<u8>], closed: &mut usize) {
    for (number, line) in lines.iter().enumerate() {
        let mark = format!("mark-{number}");
        let ping = json!({"jsonrpc": "2.0", "id": mark, "method": "daemon.health"}).to_string();
        let sent = client.send(&[line.as_slice(), b"\n", ping.as_bytes(), b"\n"].concat());
        loop {
            match client.try_line() {
                Ok(Some(answer)) if sent.is_ok() => {
                    let answer: Value = serde_json::from_str(&answer).unwrap();
                    if answer["id"] == *mark {
                        break;
                    }
                    check(&answer, line);
                }
                _ => {
                    *closed += 1;
                    *client = daemon.client();
                    break;
                }
            }
        }
    }
}

#[test]
fn random_and_mutated_lines_are_answered_and_leave_nothing_behind() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut random = Random::new(0xbad);
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "held");
    let templates = templates(repo.at(), &held, &mut random);
    let mut closed = 0;
    let mut lines = |count: usize| (0..count).map(|_| line(&templates, &mut random)).collect::<Vec<_>>();
    send(&mut client, &daemon, &lines(WARM_UP), &mut closed);
    let before = daemon.resident_kib();
    send(&mut client, &daemon, &lines(LINES), &mut closed);
    let after = daemon.resident_kib();
    eprintln!("resident: {before} KiB before, {after} KiB after; {closed} connections were closed");
    assert!(after < before + 6 * 1024, "memory is flat: {before} KiB before, {after} KiB after");
    // On another connection: answers may still be on their way on this one.
    assert_eq!(daemon.client().show(&held)["status"], "active", "nobody guessed how to end it");
    assert!(!place.log().contains("panicked"), "no handler panicked");
    let info = daemon.client().ok("daemon.info", &json!({}));
    assert_eq!(info["pid"], daemon.pid());
}

#[test]
fn random_bytes_in_pieces_of_any_size_end_no_daemon() {
    let place = Place::new();
    let daemon = place.start();
    let mut random = Random::new(0xb17e5);
    for _ in 0..200 {
        let mut client = daemon.client();
        for _ in 0..random.below(20) {
            let count = random.below(2000);
            let bytes = random.bytes(count);
            if client.send(&bytes).is_err() {
                break;
            }
        }
        if random.one_in(2) {
            client.half_close();
        }
    }
    daemon.client().ok("daemon.info", &json!({}));
    assert!(!place.log().contains("panicked"));
}
