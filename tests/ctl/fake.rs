//! A stand-in for the daemon: as much of the registry as the command line needs, in memory, without rules.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What it remembers.
#[derive(Default)]
pub(crate) struct Memory {
    /// Sessions by id.
    pub(crate) sessions: BTreeMap<String, Value>,
    /// Every call that came, but the hello.
    pub(crate) calls: Vec<Value>,
    /// Connections, to be cut.
    streams: Vec<UnixStream>,
}

/// The daemon.
#[derive(Clone)]
pub(crate) struct Fake(pub(crate) Arc<Mutex<Memory>>);

const AT: &str = "2026-08-01T12:00:00.000Z";

impl Fake {
    /// Listens on this socket until the test ends.
    pub(crate) fn listen(socket: &Path) -> Self {
        let fake = Self(Arc::default());
        fake.listen_again(socket);
        fake
    }

    /// Listens on another socket, or on the same one after it was removed.
    pub(crate) fn listen_again(&self, socket: &Path) {
        let listener = UnixListener::bind(socket).expect("bound");
        let fake = self.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let fake = fake.clone();
                std::thread::spawn(move || fake.serve(stream));
            }
        });
    }

    /// Cuts every connection, as a daemon that is killed does.
    pub(crate) fn cut(&self) {
        for stream in self.0.lock().expect("unpoisoned").streams.drain(..) {
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
    }

    /// The parameters of every call of this method so far.
    pub(crate) fn calls(&self, method: &str) -> Vec<Value> {
        let memory = self.0.lock().expect("unpoisoned");
        memory.calls.iter().filter(|call| call["method"] == method).map(|call| call["params"].clone()).collect()
    }

    /// The session of this thread.
    pub(crate) fn session(&self, thread: &str) -> Option<Value> {
        let memory = self.0.lock().expect("unpoisoned");
        memory.sessions.values().find(|session| session["thread"] == thread).cloned()
    }

    /// Ends every session.
    pub(crate) fn end_all(&self, reason: &str) {
        for session in self.0.lock().expect("unpoisoned").sessions.values_mut() {
            session["status"] = json!("abandoned");
            session["end_reason"] = json!(reason);
            session["completed_at"] = json!(AT);
        }
    }

    fn serve(&self, stream: UnixStream) {
        self.0.lock().expect("unpoisoned").streams.push(stream.try_clone().expect("a clone"));
        let mut writer = stream.try_clone().expect("a clone");
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let call: Value = serde_json::from_str(&line).expect("a call");
            let answer = match self.answer(&call) {
                Ok(result) => json!({"jsonrpc": "2.0", "id": call["id"], "result": result}),
                Err(error) => json!({"jsonrpc": "2.0", "id": call["id"], "error": error}),
            };
            if writer.write_all(format!("{answer}\n").as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, call: &Value) -> Result<Value, Value> {
        let params = &call["params"];
        if call["method"] == "daemon.hello" {
            let server = concat!("heddled/", env!("CARGO_PKG_VERSION"));
            return Ok(json!({"protocol": 1, "server": server, "capabilities": []}));
        }
        let mut memory = self.0.lock().expect("unpoisoned");
        memory.calls.push(call.clone());
        let id = params["session_id"].as_str().unwrap_or_default().to_owned();
        match call["method"].as_str().expect("a method") {
            "agent.reserve" => {
                let thread = params["thread"].as_str().expect("a thread");
                let held = memory.sessions.values().find(|one| one["thread"] == thread && one["status"] == "active");
                if let Some(owner) = held {
                    return Err(live_owner(owner));
                }
                let id = format!("agent-{:a>20}", ["b", "c", "d", "e", "f"][memory.sessions.len()]);
                let session = session(&id, params);
                memory.sessions.insert(id, session.clone());
                let mut told = session;
                told["reservation_token"] = params["reservation_token"].clone();
                Ok(json!({"reservation": told, "thread_created": true, "replayed": false}))
            }
            "agent.list" => {
                let status = &params["status"];
                let wanted = |one: &&Value| status.is_null() || one["status"] == *status;
                let all: Vec<_> = memory.sessions.values().filter(wanted).cloned().collect();
                Ok(json!({"reservations": all, "alive_only": false, "thread": params["thread"], "verification": null,
                    "revision": 1, "next_cursor": null}))
            }
            "agent.show" => match memory.sessions.get(&id) {
                Some(session) => Ok(json!({"reservation": session, "chain": []})),
                None => Err(error("agent_session_not_found", 1101, "no such session")),
            },
            "agent.validate" => match memory.sessions.get(&id) {
                Some(session) => {
                    let valid = session["status"] == "active";
                    let reason = if valid { Value::Null } else { json!("agent_session_inactive") };
                    Ok(json!({"valid": valid, "reservation": session, "reason": reason}))
                }
                None => Ok(json!({"valid": false, "reservation": null, "reason": "agent_session_not_found"})),
            },
            "agent.heartbeat" => match memory.sessions.get(&id) {
                Some(session) if session["status"] == "active" => Ok(json!({"reservation": session})),
                Some(_) => Err(error("agent_session_inactive", 1005, "it has ended")),
                None => Err(error("agent_session_not_found", 1101, "no such session")),
            },
            "agent.release" => match memory.sessions.get_mut(&id) {
                Some(session) => {
                    session["status"] = params["status"].clone();
                    session["end_reason"] = json!("released");
                    session["completed_at"] = json!(AT);
                    Ok(json!({"reservation": session}))
                }
                None => Err(error("agent_session_not_found", 1101, "no such session")),
            },
            other => Err(error("method_not_found", -32601, &format!("no method {other}"))),
        }
    }
}

fn session(id: &str, params: &Value) -> Value {
    let pid = &params["hold_for_pid"];
    let process = if pid.is_null() { Value::Null } else { json!({"pid": pid, "boot_id": "boot"}) };
    let heartbeat = pid.is_null().then(|| json!({"ttl_ms": 300_000, "expires_at": "2099-01-01T00:00:00.000Z"}));
    json!({
        "session_id": id, "reservation_token": null, "fencing_token": 7, "repo": params["repo"],
        "thread": params["thread"], "anchor_state": "a".repeat(40), "anchor_root": "b".repeat(40), "status": "active",
        "end_reason": null, "hold": {"heartbeat": heartbeat, "process": process, "connection": false},
        "alive": "alive", "path": params["repo"], "task": params["task"], "provider": params["provider"],
        "model": params["model"], "harness": params["harness"], "thinking_level": null, "policy": null,
        "probe_source": "none", "probe_confidence": 0.0, "parent_session_id": null, "client_instance_id": null,
        "native_actor_key": null, "native_parent_actor_key": null, "usage_summary": null, "started_at": AT,
        "heartbeat_at": AT, "last_progress_at": AT, "completed_at": null,
    })
}

fn error(kind: &str, code: i32, text: &str) -> Value {
    json!({"code": code, "message": text, "data": {
        "kind": kind, "error": text, "hint": "", "unsafe_condition": null, "would_change": null, "preserved": null,
        "primary_command": null, "recovery_commands": [], "retryable": false, "retry_after_ms": null, "details": {},
        "request": null,
    }})
}

fn live_owner(owner: &Value) -> Value {
    let (thread, id) = (owner["thread"].as_str().expect("text"), owner["session_id"].as_str().expect("text"));
    let mut error = error("live_owner", 1001, &format!("thread '{thread}' is held by {id}"));
    let data = &mut error["data"];
    data["hint"] = json!("wait for it with --wait, or look at who holds it");
    data["unsafe_condition"] = json!(format!("{id} has held it since {AT} at aaaaaaaaaa, while process 4121 lives"));
    data["would_change"] = json!("a second writer would start a competing history");
    data["preserved"] = json!("no ref, no reservation was changed");
    data["primary_command"] = json!(format!("heddlectl thread show {thread}"));
    data["recovery_commands"] =
        json!([format!("heddlectl thread show {thread}"), format!("heddlectl reserve --thread {thread} --wait 30s"),]);
    data["details"] = json!({"owner": owner, "waiters": 0, "same_request": false});
    error
}
