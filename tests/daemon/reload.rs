//! The configuration read again while the daemon serves: what changes, what stays, and what is said of it.

use std::io::Write;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Client, Daemon, Place, eventually};

/// A daemon whose log is configured by its file alone.
fn start(place: &Place) -> Daemon<'_> {
    let mut command = place.command();
    command.env_remove("HEDDLE_LOG");
    let daemon = place.launch(&mut command);
    eventually("the daemon answers", || Client::try_connect(&place.socket()).ok());
    daemon
}

/// Writes the file, has it read, and waits until the log says what became of it.
#[track_caller]
fn reload(daemon: &Daemon<'_>, toml: &str, outcome: &str) {
    let before = daemon.place.log().matches(outcome).count();
    daemon.place.configure(toml);
    daemon.signal(Signal::SIGHUP);
    eventually(outcome, || (daemon.place.log().matches(outcome).count() > before).then_some(()));
}

const READ: &str = "the configuration was read again";

fn limits(daemon: &Daemon<'_>) -> Value {
    daemon.client().ok("daemon.info", &json!({}))["limits"].take()
}

#[test]
fn what_a_changed_file_says_is_in_force_after_a_hangup() {
    let place = Place::new();
    let (served, other) = (place.repo("served"), place.repo("other"));
    let only = format!("repos = ['{}']\n", served.at());
    place.configure(&format!(
        "{only}default_ttl_ms = 60000\n[limits]\nactive_sessions = 1\nsubscriptions = 0\nwaiters = 7\n"
    ));
    let daemon = start(&place);
    let mut client = daemon.client();
    let ttl = |held: &Value| held["hold"]["heartbeat"]["ttl_ms"].clone();
    let first = client.reserve(served.at(), "a");
    assert_eq!(ttl(&first), 60_000);
    let full = client.refused("limit_exceeded", "agent.reserve", &json!({"repo": served.at(), "thread": "b"}));
    assert_eq!(full.details()["limit"], "active_sessions");
    client.refused("limit_exceeded", "events.subscribe", &json!({}));
    client.refused("repository_not_found", "agent.reserve", &json!({"repo": other.at(), "thread": "b"}));
    assert!(!place.log().contains("DEBUG"), "{}", place.log());

    reload(&daemon, "default_ttl_ms = 90000\nlog = 'debug'\n[limits]\nactive_sessions = 3\nwaiters = 8\n", READ);
    let changed =
        "changed=\"default_ttl_ms, repos, log, limits.active_sessions, limits.waiters, limits.subscriptions\"";
    assert!(place.log().contains(changed), "C2: {}", place.log());
    let in_force = limits(&daemon);
    assert_eq!((&in_force["waiters"], &in_force["active_sessions"]), (&json!(8), &json!(3)), "C2");
    assert_eq!(ttl(&client.reserve(served.at(), "b")), 90_000);
    client.ok("agent.reserve", &json!({"repo": other.at(), "thread": "b"}));
    client.subscribe(&json!({}));
    eventually("the log shows more", || place.log().contains("DEBUG").then_some(()));
}

#[test]
fn a_lowered_limit_ends_nobody() {
    let place = Place::new();
    let repo = place.repo("r");
    let daemon = start(&place);
    let (mut client, mut beside) = (daemon.client(), daemon.client());
    let held = [client.reserve(repo.at(), "a"), client.reserve(repo.at(), "b")];
    let subscription = beside.subscribe(&json!({}));
    reload(&daemon, "[limits]\nactive_sessions = 1\nsubscriptions = 0\nconnections = 1\n", READ);
    for reservation in &held {
        client.release(reservation);
    }
    assert_eq!(beside.event(&subscription)["kind"], "released");
    let mut late = daemon.client();
    assert_eq!(late.receive()["error"]["data"]["details"]["limit"], "connections");
    client.refused("limit_exceeded", "events.subscribe", &json!({}));
    client.reserve(repo.at(), "c");
}

#[test]
fn a_connection_keeps_the_terms_that_it_began_with() {
    let place = Place::new();
    let daemon = start(&place);
    let mut before = daemon.client();
    // It has begun once it is answered: the kernel connects before the daemon accepts.
    before.ok("daemon.info", &json!({}));
    reload(&daemon, "[limits]\nbatch = 1\n", READ);
    let two = r#"[{"jsonrpc":"2.0","id":1,"method":"daemon.info"},{"jsonrpc":"2.0","id":2,"method":"daemon.info"}]"#;
    before.send_line(two);
    assert_eq!(before.receive().as_array().map(Vec::len), Some(2), "T1");
    let mut after = daemon.client();
    after.send_line(two);
    assert_eq!(after.receive()["error"]["data"]["details"]["limit"], "batch");
}

#[test]
fn a_file_that_is_not_sound_changes_nothing() {
    let place = Place::new();
    place.configure("[limits]\nwaiters = 7\n");
    let daemon = start(&place);
    let before = limits(&daemon);
    for (toml, why) in [
        ("[limits]\nwaiters = 8\nbatch = 0\n", "limits.batch must be from 1"),
        ("[limits]\nwaiters = 8\nbacth = 9\n", "did you mean 'batch'?"),
        ("log = 'heddled=loud'\n[limits]\nwaiters = 8\n", "is not a log filter"),
        ("[limits]\nwaiters = 8\n[limits", "line 3"),
    ] {
        reload(&daemon, toml, "the one before stays in force");
        assert!(place.log().contains(why), "{why}: {}", place.log());
        assert_eq!(limits(&daemon), before, "C1");
    }
    reload(&daemon, "[limits]\nwaiters = 9\n", READ);
    assert_eq!(limits(&daemon)["waiters"], 9);
}

#[test]
fn what_needs_a_restart_is_said_and_stays() {
    let place = Place::new();
    let at = |name: &str| place.root.join(name).display().to_string();
    let toml = |socket: &str, state: &str| format!("socket = '{}'\nstate_dir = '{}'\n", at(socket), at(state));
    place.configure(&toml("heddle/d.sock", "state"));
    let mut command = place.command();
    command.env_remove("HEDDLE_SOCKET").env_remove("HEDDLE_STATE_DIR");
    let mut daemon = place.launch(&mut command);
    eventually("the daemon answers", || Client::try_connect(&place.socket()).ok());
    reload(&daemon, &toml("heddle/e.sock", "other"), "needs a restart");
    assert!(place.log().contains("keys=\"socket, state_dir\""), "C2: {}", place.log());
    let info = daemon.client().ok("daemon.info", &json!({}));
    assert_eq!((&info["socket"], &info["state_dir"]), (&at("heddle/d.sock").into(), &at("state").into()));
    // It is said each time: what is in force is still not what the file says.
    reload(&daemon, &toml("heddle/e.sock", "state"), "keys=\"socket\"");
    daemon.stop();
}

/// A disk that is full is when there is most to say, and nothing may depend on its being said.
#[test]
fn a_log_that_cannot_be_written_stops_nobody() {
    let place = Place::new();
    let repo = place.repo("r");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert!((&full).write_all(b"x").is_err(), "it is full");
    let mut command = place.command();
    command.env("HEDDLE_LOG", "trace").stderr(full);
    let mut daemon = place.launch(&mut command);
    eventually("the daemon answers", || Client::try_connect(&place.socket()).ok());
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "a");
    client.refused("live_owner", "agent.reserve", &json!({"repo": repo.at(), "thread": "a"}));
    client.release(&held);
    daemon.stop();
}
