//! A daemon whose answers a test chooses.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::ledger;

/// What the daemon does when it is called: lines, or none to hang up.
type Script = dyn FnMut(&Value) -> Option<Vec<Value>> + Send;

/// A fake daemon. Its threads end with the test.
pub(crate) struct Fake {
    directory: TempDir,
    calls: Arc<Mutex<Vec<Value>>>,
}

/// The answer to a call.
pub(crate) fn result(call: &Value, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": call["id"], "result": result})
}

/// The refusal of a call whose session has ended.
pub(crate) fn inactive(call: &Value) -> Value {
    let data = json!({"kind": "agent_session_inactive", "error": "it has ended", "hint": "reserve anew",
        "recovery_commands": [], "retryable": false,
        "details": {"status": "abandoned", "end_reason": "connection_lost", "completed_at": null}});
    json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": 1005, "message": "it has ended", "data": data}})
}

fn serve(stream: UnixStream, script: &Mutex<Box<Script>>, calls: &Mutex<Vec<Value>>) {
    let mut output = stream.try_clone().unwrap();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        ledger::note(line.as_bytes());
        let call: Value = serde_json::from_str(&line).unwrap();
        let answers = if call["method"] == "daemon.hello" {
            Some(vec![result(&call, &json!({"protocol": 1, "server": "heddled/0", "capabilities": []}))])
        } else {
            calls.lock().unwrap().push(call.clone());
            script.lock().unwrap()(&call)
        };
        let Some(answers) = answers else { return };
        for answer in answers {
            if writeln!(output, "{answer}").is_err() {
                return;
            }
        }
    }
}

impl Fake {
    pub(crate) fn start(script: impl FnMut(&Value) -> Option<Vec<Value>> + Send + 'static) -> Self {
        Self::within(Self::directory(), script)
    }

    /// A directory as a daemon makes it for its socket.
    pub(crate) fn directory() -> TempDir {
        let mode = std::fs::Permissions::from_mode(0o700);
        tempfile::Builder::new().prefix("hd").permissions(mode).tempdir().unwrap()
    }

    /// One whose socket lies in this directory.
    pub(crate) fn within(
        directory: TempDir,
        script: impl FnMut(&Value) -> Option<Vec<Value>> + Send + 'static,
    ) -> Self {
        let fake = Self { directory, calls: Arc::default() };
        let listener = UnixListener::bind(fake.socket()).unwrap();
        let (script, calls): (Arc<Mutex<Box<Script>>>, _) =
            (Arc::new(Mutex::new(Box::new(script))), fake.calls.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, calls) = (script.clone(), calls.clone());
                std::thread::spawn(move || serve(stream, &script, &calls));
            }
        });
        fake
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("d.sock")
    }

    /// Every call of a method, hello aside.
    pub(crate) fn calls(&self, method: &str) -> Vec<Value> {
        self.calls.lock().unwrap().iter().filter(|call| call["method"] == method).cloned().collect()
    }
}
