//! Connecting: to the right daemon, or with the right advice.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use proto_schema::{Kind, NoParams, ReservationToken, ReserveParams};
use serde_json::{Value, json};

use super::*;

/// What a scripted daemon does with one connection: gets its calls but the hello, in order.
type Script = Box<dyn FnOnce(&mut Peer) + Send>;

/// The daemon's side of one connection.
pub(crate) struct Peer {
    reader: BufReader<UnixStream>,
    server: &'static str,
}

impl Peer {
    /// The next call; the hello before it is answered.
    pub(crate) fn call(&mut self) -> Value {
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).expect("a line");
            let call: Value = serde_json::from_str(&line).expect("JSON");
            if call["method"] != "daemon.hello" {
                return call;
            }
            let hello = json!({"protocol": 1, "server": self.server, "capabilities": [], "new_member": 1});
            self.say(&json!({"jsonrpc": "2.0", "id": call["id"], "result": hello}).to_string());
        }
    }

    /// Says a line.
    pub(crate) fn say(&mut self, line: &str) {
        self.reader.get_mut().write_all(format!("{line}\n").as_bytes()).expect("said");
    }

    /// Answers a call.
    pub(crate) fn answer(&mut self, call: &Value, result: &Value) {
        self.say(&json!({"jsonrpc": "2.0", "id": call["id"], "result": result}).to_string());
    }
}

/// A daemon that follows one script for each connection.
pub(crate) struct Scripted {
    /// Where it listens.
    pub(crate) socket: PathBuf,
    directory: tempfile::TempDir,
    worker: JoinHandle<()>,
}

impl Scripted {
    pub(crate) fn new(server: &'static str, scripts: Vec<Script>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).expect("mode");
        let socket = directory.path().join("heddled.sock");
        let listener = UnixListener::bind(&socket).expect("bound");
        let worker = std::thread::spawn(move || {
            for script in scripts {
                let (stream, _) = listener.accept().expect("a connection");
                script(&mut Peer { reader: BufReader::new(stream), server });
            }
        });
        Self { socket, directory, worker }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn end(self) {
        self.worker.join().expect("the script was followed");
    }
}

const SAME: &str = concat!("heddled/", env!("CARGO_PKG_VERSION"));

fn open(daemon: &Scripted) -> Client {
    Client::open(&daemon.socket, nix::unistd::geteuid().as_raw(), &Patience::default()).expect("connected")
}

#[test]
fn an_answer_is_given_as_it_came() {
    let daemon = Scripted::new(
        SAME,
        vec![Box::new(|peer| {
            let call = peer.call();
            assert_eq!(
                (&call["jsonrpc"], &call["method"], &call["params"]),
                (&json!("2.0"), &json!("daemon.info"), &json!({}))
            );
            peer.say("");
            peer.say(r#"{"jsonrpc":"2.0","method":"events.event","params":{}}"#);
            peer.say(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"b":1,"a":[ 2]}}}}"#, call["id"]));
        })],
    );
    let mut client = open(&daemon);
    let answer = client.call("daemon.info", &NoParams {}).expect("answered");
    assert_eq!(answer.0, r#"{"b":1,"a":[ 2]}"#);
    assert_eq!(client.take_skew(), None);
    daemon.end();
}

#[test]
fn a_refusal_keeps_its_words_and_its_kind() {
    let wire = r#"{"code":1501,"message":"m","data":{"kind":"store_unavailable","error":"m","hint":"h","unsafe_condition":null,"would_change":null,"preserved":null,"primary_command":null,"recovery_commands":[],"retryable":true,"retry_after_ms":null,"details":{"outcome":"unknown"},"request":null}}"#;
    let daemon = Scripted::new(
        SAME,
        vec![Box::new(move |peer| {
            let call = peer.call();
            peer.say(&format!(r#"{{"jsonrpc":"2.0","id":{},"error":{wire}}}"#, call["id"]));
            let call = peer.call();
            peer.say(&format!(r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":1999,"message":"new","data":{{"kind":"of_tomorrow"}}}}}}"#, call["id"]));
        })],
    );
    let mut client = open(&daemon);
    let error = Error::from(client.call("x.y", &NoParams {}).expect_err("refused"));
    assert_eq!((error.kind(), error.exit()), (Some(Kind::StoreUnavailable), Exit(74)));
    assert!(matches!(error, Error::Refused(refused) if refused.wire == wire));
    let error = Error::from(client.call("x.y", &NoParams {}).expect_err("refused"));
    assert_eq!((error.kind(), error.report().message, error.exit()), (None, "new", Exit::UNEXPECTED));
    daemon.end();
}

#[test]
fn an_error_without_an_id_is_about_our_call() {
    let daemon = Scripted::new(
        SAME,
        vec![Box::new(|peer| {
            peer.call();
            peer.say(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1401,"message":"too long"}}"#);
        })],
    );
    let error = Error::from(open(&daemon).call("x.y", &NoParams {}).expect_err("refused"));
    assert_eq!((error.report().message, error.exit()), ("too long", Exit(75)));
    daemon.end();
}

#[test]
fn a_connection_lost_before_the_answer_is_told_apart() {
    let daemon = Scripted::new(
        SAME,
        vec![
            Box::new(|peer| drop(peer.call())),
            Box::new(|peer| {
                let call = peer.call();
                let half = format!(r#"{{"jsonrpc":"2.0","id":{},"resu"#, call["id"]);
                peer.reader.get_mut().write_all(half.as_bytes()).expect("said");
            }),
        ],
    );
    for _ in 0..2 {
        let lost = open(&daemon).call("x.y", &NoParams {});
        assert!(matches!(lost, Err(CallError::Broken(_))), "{lost:?}");
    }
    daemon.end();
}

/// A daemon that is replaced has taken the connection and not the call: whatever the call is, it is safe to make it again.
#[test]
fn what_was_certainly_not_read_is_asked_again_and_only_on_a_connection_that_holds_nothing() {
    let daemon = Scripted::new(
        SAME,
        vec![
            // Closed with the call unread.
            Box::new(|peer| peer.reader.get_ref().peek_one()),
            Box::new(|peer| {
                let call = peer.call();
                assert_eq!(call["method"], "agent.evict");
                peer.answer(&call, &json!({"done": 1}));
                let call = peer.call();
                peer.answer(&call, &json!({}));
                peer.reader.get_ref().peek_one();
            }),
        ],
    );
    let mut client = open(&daemon);
    assert_eq!(client.call("agent.evict", &NoParams {}).expect("answered").0, r#"{"done":1}"#);
    client.call("events.subscribe", &NoParams {}).expect("answered");
    let lost = client.call("agent.evict", &NoParams {});
    assert!(matches!(lost, Err(CallError::Broken(_))), "another connection would have no subscription: {lost:?}");
    daemon.end();
}

/// Waits until there is something to read, and leaves it there.
trait PeekOne {
    fn peek_one(&self);
}

impl PeekOne for UnixStream {
    fn peek_one(&self) {
        let peeked = rustix::net::recv(self, &mut [0; 1], rustix::net::RecvFlags::PEEK);
        assert_eq!(peeked.map(|(count, _)| count), Ok(1));
    }
}

#[test]
fn a_daemon_of_another_version_is_warned_of_once() {
    let daemon = Scripted::new(
        "heddled/99.0.0",
        vec![Box::new(|peer| {
            for _ in 0..2 {
                let call = peer.call();
                peer.answer(&call, &json!({}));
            }
        })],
    );
    let mut client = open(&daemon);
    client.call("x.y", &NoParams {}).expect("answered");
    assert!(client.take_skew().expect("a warning").starts_with("heddled 99.0.0 is newer"));
    client.call("x.y", &NoParams {}).expect("answered");
    assert_eq!(client.take_skew(), None);
    daemon.end();
}

fn reservation(params: &Value) -> Value {
    json!({
        "session_id": "agent-abcdefghij234567abcd", "reservation_token": params["reservation_token"],
        "fencing_token": 7, "repo": "/r", "thread": params["thread"], "anchor_state": "a".repeat(40),
        "anchor_root": "b".repeat(40), "status": "active", "end_reason": null,
        "hold": {"heartbeat": null, "process": null, "connection": false}, "alive": "alive", "path": null, "task": null,
        "provider": null, "model": null, "harness": null, "thinking_level": null, "policy": null,
        "probe_source": "none", "probe_confidence": 0.0, "parent_session_id": null, "client_instance_id": null,
        "native_actor_key": null, "native_parent_actor_key": null, "usage_summary": null,
        "started_at": "2026-08-01T12:00:00.000Z", "heartbeat_at": "2026-08-01T12:00:00.000Z",
        "last_progress_at": "2026-08-01T12:00:00.000Z", "completed_at": null,
    })
}

fn app(daemon: &Scripted) -> crate::app::App {
    let env = crate::env::Env::of(&[
        ("HEDDLE_SOCKET", daemon.socket.to_str().expect("text")),
        ("HEDDLE_STATE_DIR", daemon.path().to_str().expect("text")),
        ("HEDDLE_NO_AUTOSTART", "1"),
    ]);
    let global = <crate::cli::Cli as clap::Parser>::parse_from(["heddlectl", "--quiet", "list"]).global;
    crate::app::App::new(&global, global.output(), env).expect("an app")
}

#[test]
fn a_lost_answer_is_asked_for_again_with_the_same_request() {
    let (seen, calls) = std::sync::mpsc::channel();
    let again = seen.clone();
    let daemon = Scripted::new(
        SAME,
        vec![
            Box::new(move |peer| seen.send(peer.call()).expect("seen")),
            Box::new(move |peer| {
                let call = peer.call();
                let result =
                    json!({"reservation": reservation(&call["params"]), "thread_created": true, "replayed": true});
                peer.answer(&call, &result);
                again.send(call).expect("seen");
            }),
        ],
    );
    let app = app(&daemon);
    let params = ReserveParams::new("/r".parse().expect("a path"), "feature/x");
    let (_, granted) = crate::grant::obtain(&app, params).expect("granted");
    let (first, second) = (calls.recv().expect("a call"), calls.recv().expect("a call"));
    assert_eq!(first["params"], second["params"], "exactly the same request");
    assert!(granted.result.replayed);
    let token = granted.token.expose();
    assert!(granted.answer.0.contains(&token) && !granted.redacted().contains("hrt_"));
    assert!(granted.redacted().contains(r#""reservation_token":null"#));
    assert!(!format!("{:?}", granted.result).contains(&token), "no secret in Debug");
    let kept: Vec<_> = std::fs::read_dir(daemon.path().join("sessions")).expect("there").flatten().collect();
    assert_eq!(kept.len(), 1, "only the session's file is left");
    let kept = std::fs::read_to_string(daemon.path().join("sessions/agent-abcdefghij234567abcd")).expect("text");
    assert_eq!(kept.trim_end().parse(), Ok(granted.token.clone()) as Result<ReservationToken, _>);
    daemon.end();
}

#[test]
fn the_token_is_on_disk_before_the_daemon_is_asked_and_gone_after_a_refusal() {
    let daemon = Scripted::new(
        SAME,
        vec![Box::new(|peer| {
            let address = peer.reader.get_ref().local_addr().expect("an address");
            let folder = address.as_pathname().expect("a path").with_file_name("sessions");
            let call = peer.call();
            let file = folder.join(format!(".{}", call["params"]["request_id"].as_str().expect("an id")));
            let text = std::fs::read_to_string(file).expect("the token file");
            assert_eq!(json!(text.trim_end()), call["params"]["reservation_token"]);
            peer.say(&format!(r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":1103,"message":"no","data":{{"kind":"no_head_state","error":"no","hint":"","unsafe_condition":null,"would_change":null,"preserved":null,"primary_command":null,"recovery_commands":[],"retryable":false,"retry_after_ms":null,"details":{{}},"request":null}}}}}}"#, call["id"]));
        })],
    );
    let params = ReserveParams::new("/r".parse().expect("a path"), "feature/x");
    let error = crate::grant::obtain(&app(&daemon), params).map(|_| ()).expect_err("refused");
    assert_eq!(error.kind(), Some(Kind::NoHeadState));
    assert_eq!(std::fs::read_dir(daemon.path().join("sessions")).expect("there").count(), 0);
    daemon.end();
}
