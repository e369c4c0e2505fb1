//! As many connections as there may be, and more: who is over the limit is told so, and nobody else notices.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::support::{Client, Daemon, Place, Stopwatch, eventually};

const DEFAULT: usize = 4096;

/// What a test has open beside its connections, at most.
const BESIDE: u64 = 256;

/// Lets this process have as many descriptors as it may.
fn raise() -> u64 {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    most
}

/// How many connections the daemon may have: the default, or as many as the descriptors of this test allow.
fn limit(place: &Place) -> usize {
    let most = raise();
    if most >= DEFAULT as u64 + BESIDE {
        return DEFAULT;
    }
    let max = usize::try_from(most.checked_sub(BESIDE).expect("descriptors enough for a test")).unwrap();
    eprintln!("tested with {max} connections instead of {DEFAULT}: only {most} descriptors are allowed");
    place.configure(&format!("[limits]\nconnections = {max}\n"));
    max
}

/// A plain stream: a [`Client`] has two descriptors.
fn connect(daemon: &Daemon<'_>) -> UnixStream {
    let stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// What is sent until the line ends; none when the connection has ended before.
fn line(stream: &mut UnixStream) -> Option<String> {
    let (mut line, mut buffer) = (Vec::new(), [0; 4096]);
    while line.last() != Some(&b'\n') {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => line.extend(&buffer[..count]),
        }
    }
    Some(String::from_utf8(line).unwrap())
}

/// What an agent asks: calls about the daemon itself have connections of their own.
const ASK: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"agent.list\",\"params\":{\"limit\":1}}\n";

/// Whether a call is answered with a result.
fn is_served(stream: &mut UnixStream) -> bool {
    // One that is not let in may be closed before this.
    stream.write_all(ASK).is_ok() && line(stream).is_some_and(|line| line.contains("\"result\""))
}

/// Opens connections until there are `count` that are served.
fn fill(daemon: &Daemon<'_>, count: usize) -> Vec<UnixStream> {
    let mut open = Vec::new();
    while open.len() < count {
        let mut stream = connect(daemon);
        // The one that looked whether the daemon answers may not be gone yet.
        if is_served(&mut stream) {
            open.push(stream);
        }
    }
    open
}

fn assert_over(answer: &Value, max: usize) {
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(1401)), "{answer}");
    assert_eq!(answer["error"]["data"]["kind"], "limit_exceeded");
    assert_eq!(answer["error"]["data"]["details"], json!({"limit": "connections", "value": max + 1, "max": max}));
}

#[test]
fn the_4097th_connection_is_told_so_and_closed_and_nobody_else_notices() {
    let place = Place::new();
    let max = limit(&place);
    let daemon = place.start();
    let repo = place.repo("r");
    let mut inside = daemon.client();
    let held = inside.reserve(repo.at(), "t");
    let watch = Stopwatch::start();
    let mut open = fill(&daemon, max - 1);
    eprintln!("{max} connections are served after {:?}", watch.elapsed());
    assert_eq!(inside.ok("daemon.info", &json!({}))["counts"]["connections"], max);

    // Who speaks, who is silent, and more of these than are listened to at once.
    let mut over: Vec<Client> = (0..100).map(|_| daemon.client()).collect();
    for (number, client) in over.iter_mut().enumerate() {
        if number.is_multiple_of(2) {
            drop(client.send(ASK));
        }
        inside.ok("agent.heartbeat", &crate::support::key(&held));
    }
    for client in &mut over {
        assert_over(&client.receive(), max);
        client.expect_end();
    }
    for stream in &mut open {
        assert!(is_served(stream), "everybody who was let in is served as before");
    }
    assert_eq!(inside.ok("daemon.info", &json!({}))["counts"]["connections"], max, "nobody was let out for it");
    assert_eq!(inside.show(&held)["status"], "active");

    drop(open.pop());
    let mut next = eventually("there is room for one again", || {
        let mut stream = connect(&daemon);
        is_served(&mut stream).then_some(stream)
    });
    assert_over(&daemon.client().receive(), max);
    assert!(is_served(&mut next));
}

#[test]
fn connections_that_say_nothing_or_half_a_request_keep_nobody_waiting() {
    const EACH: usize = 300;
    raise();
    let place = Place::new();
    place.configure("[limits]\nconnections = 1024\nrequest_timeout_ms = 1000\n");
    let daemon = place.start();
    let mut other = daemon.client();
    let silent: Vec<UnixStream> = (0..EACH).map(|_| connect(&daemon)).collect();
    let mut half: Vec<UnixStream> = (0..EACH).map(|_| connect(&daemon)).collect();
    for (number, stream) in half.iter_mut().enumerate() {
        let begun: &[u8] = if number.is_multiple_of(2) { b"{\"jsonrpc\":" } else { b"POST / HTTP/1.1\r\nHost: lo" };
        stream.write_all(begun).unwrap();
    }
    let mut calls = 0;
    let left = |client: &mut Client| client.ok("daemon.info", &json!({}))["counts"]["connections"].as_u64().unwrap();
    eventually("those with half a request are gone", || {
        calls += 1;
        (left(&mut other) == EACH as u64 + 1).then_some(())
    });
    assert!(calls > 100, "{calls} calls of somebody else in the second that they had");
    for stream in &mut half {
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "without a word");
    }
    assert_eq!(silent.len() as u64 + 1, left(&mut other), "who has begun nothing stays");
}

/// The daemon with so few descriptors that connections use them up.
fn starved(place: &Place, descriptors: u32) -> Command {
    let command = place.command();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\"")]).arg(command.get_program());
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let log = std::fs::OpenOptions::new().create(true).append(true).open(place.root.join("log")).unwrap();
    shell.current_dir("/").stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(log);
    shell
}

#[test]
fn without_descriptors_who_is_in_is_served_and_the_others_wait_for_room() {
    let place = Place::new();
    let daemon = place.launch(&mut starved(&place, 64));
    let mut inside = eventually("the daemon answers", || {
        let mut client = Client::try_connect(&place.socket()).ok()?;
        client.try_call("daemon.info", &json!({})).ok()?.ok().map(|_| client)
    });
    let watch = Stopwatch::start();
    let mut waiting: Vec<UnixStream> = (0..100).map(|_| connect(&daemon)).collect();
    let failures = || place.log().matches("an accept failed").count();
    eventually("its descriptors are used up, and that is tried again", || {
        inside.ok("daemon.health", &json!({}));
        (failures() >= 10).then_some(())
    });
    // Each that leaves makes room for another.
    while let Some(mut first) = (!waiting.is_empty()).then(|| waiting.remove(0)) {
        assert!(is_served(&mut first), "{} are left", waiting.len());
    }
    let (tried, most) = (failures() as u128, watch.elapsed().as_millis() / 50 + 1);
    assert!(tried <= most, "it waits between two attempts: {tried} in {:?}", watch.elapsed());
    assert_eq!(place.log().matches("cannot be accepted").count(), 1, "an operator is told once");
}

#[test]
fn a_daemon_that_is_full_can_still_be_looked_at_and_stopped() {
    let place = Place::new();
    place.configure("[limits]\nconnections = 3\n");
    let mut daemon = place.start();
    let _open = fill(&daemon, 3);
    let mut operator = daemon.client();
    let info = operator.ok("daemon.info", &json!({}));
    assert_eq!(info["counts"]["connections"], 3, "it is not counted with the others: {info}");
    operator.ok("daemon.health", &json!({}));
    // It is for nothing else.
    let fault = operator.refused("limit_exceeded", "agent.list", &json!({}));
    assert_eq!(fault.details(), &json!({"limit": "connections", "value": 4, "max": 3}));
    assert_over(&daemon.client().receive(), 3);
    let mut last = daemon.client();
    last.ok("daemon.shutdown", &json!({}));
    assert!(daemon.ended().success());
}

#[test]
fn those_that_ask_about_a_full_daemon_and_stay_keep_no_operator_out() {
    let place = Place::new();
    place.configure("[limits]\nconnections = 3\n");
    let mut daemon = place.start();
    let _open = fill(&daemon, 3);
    // More than there are places for the operator.
    let mut staying = Vec::new();
    for number in 0..70 {
        let mut client = daemon.client();
        let info = client.try_call("daemon.info", &json!({})).map(|answer| answer.is_ok());
        assert!(matches!(info, Ok(true)), "number {number} is answered: {info:?}");
        staying.push(client);
    }
    staying.pop().unwrap().ok("daemon.shutdown", &json!({}));
    assert!(daemon.ended().success());
}
