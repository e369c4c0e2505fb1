//! A plain blocking client: lines out, lines in.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Random, ledger};

/// What a call was refused with: the whole `error` object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault(pub(crate) Value);

impl Fault {
    pub(crate) fn kind(&self) -> &str {
        self.0["data"]["kind"].as_str().unwrap_or("no kind")
    }

    pub(crate) fn details(&self) -> &Value {
        &self.0["data"]["details"]
    }
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    reader: BufReader<UnixStream>,
    next: u64,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(socket: &Path) -> Self {
        Self::try_connect(socket).unwrap_or_else(|error| panic!("{}: {error}", socket.display()))
    }

    pub(crate) fn try_connect(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        // A test that hangs says nothing.
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, reader, next: 1 })
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        ledger::note(bytes);
        self.stream.write_all(bytes)
    }

    #[track_caller]
    pub(crate) fn send_line(&mut self, line: &str) {
        self.send(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Sends a call and gives its id.
    pub(crate) fn try_start(&mut self, method: &str, params: &Value) -> std::io::Result<u64> {
        let id = self.next;
        self.next += 1;
        let line = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string() + "\n";
        self.send(line.as_bytes())?;
        Ok(id)
    }

    #[track_caller]
    pub(crate) fn start(&mut self, method: &str, params: &Value) -> u64 {
        self.try_start(method, params).unwrap()
    }

    /// The next line; none when the connection has ended.
    pub(crate) fn try_line(&mut self) -> std::io::Result<Option<String>> {
        let mut line = String::new();
        match self.reader.read_line(&mut line)? {
            0 => Ok(None),
            _ if line.ends_with('\n') => {
                ledger::note(line.as_bytes());
                Ok(Some(line))
            }
            _ => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Value {
        let line = self.try_line().unwrap().expect("an answer, not the end");
        serde_json::from_str(&line).unwrap()
    }

    /// Fails unless the daemon has closed the connection, with nothing more to say.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => {}
            // Closed while something that we had sent was unread.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
        }
        assert_eq!(String::from_utf8_lossy(&rest), "", "nothing more is said");
    }

    /// Ends the input alone.
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Calls, and tells a lost connection from an answer.
    pub(crate) fn try_call(&mut self, method: &str, params: &Value) -> std::io::Result<Result<Value, Fault>> {
        let id = self.try_start(method, params)?;
        let line = self.try_line()?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let mut answer: Value = serde_json::from_str(&line)?;
        assert_eq!(answer["id"], id, "{line}");
        assert_eq!(answer["jsonrpc"], "2.0");
        Ok(match answer.get_mut("error") {
            Some(error) => Err(Fault(error.take())),
            None => Ok(answer["result"].take()),
        })
    }

    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Result<Value, Fault> {
        self.try_call(method, params).unwrap()
    }

    #[track_caller]
    pub(crate) fn ok(&mut self, method: &str, params: &Value) -> Value {
        self.call(method, params).unwrap_or_else(|fault| panic!("{method} {params}: {}", fault.0))
    }

    /// Calls, and fails unless it is refused for this reason.
    #[track_caller]
    pub(crate) fn refused(&mut self, kind: &str, method: &str, params: &Value) -> Fault {
        match self.call(method, params) {
            Err(fault) if fault.kind() == kind => fault,
            other => panic!("{method} {params}: expected {kind}, got {other:?}"),
        }
    }

    /// Subscribes to events and gives the subscription's name.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, params: &Value) -> Value {
        self.ok("events.subscribe", params)
    }

    /// The next event of a subscription; none when the connection has ended, or was cut in the middle of one.
    #[track_caller]
    pub(crate) fn try_event(&mut self, subscription: &Value) -> Option<Value> {
        let line = self.try_line().ok()??;
        let mut told: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&told["jsonrpc"], &told["method"]), (&json!("2.0"), &json!("events.event")), "{line}");
        assert_eq!(told.get("id"), None, "{line}");
        assert_eq!(told["params"]["subscription"], *subscription, "{line}");
        Some(told["params"]["result"].take())
    }

    #[track_caller]
    pub(crate) fn event(&mut self, subscription: &Value) -> Value {
        self.try_event(subscription).expect("an event, not the end")
    }

    /// Reserves a thread at its tip and gives the reservation.
    #[track_caller]
    pub(crate) fn reserve(&mut self, repo: &str, thread: &str) -> Value {
        self.ok("agent.reserve", &json!({"repo": repo, "thread": thread, "at_tip": true}))["reservation"].take()
    }

    #[track_caller]
    pub(crate) fn release(&mut self, reservation: &Value) -> Value {
        self.ok("agent.release", &key(reservation))["reservation"].take()
    }

    /// A session as it is now.
    #[track_caller]
    pub(crate) fn show(&mut self, reservation: &Value) -> Value {
        self.ok("agent.show", &json!({"session_id": reservation["session_id"]}))["reservation"].take()
    }

    /// The active session of a thread, as far as anybody knows without looking.
    #[track_caller]
    pub(crate) fn holder(&mut self, repo: &str, thread: &str) -> Option<Value> {
        let listed = self.ok("agent.list", &json!({"repo": repo, "thread": thread, "status": "active"}));
        let active = listed["reservations"].as_array().unwrap();
        assert!(active.len() < 2, "R1: one thread, one active session: {listed}");
        active.first().cloned()
    }
}

impl Read for Client {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read(into)
    }
}

/// The parameters that name a session and show its secret.
pub(crate) fn key(reservation: &Value) -> Value {
    json!({"session_id": reservation["session_id"], "reservation_token": reservation["reservation_token"]})
}

/// A caller's own secret.
pub(crate) fn token(random: &mut Random) -> String {
    const SYMBOLS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    // 256 bits are 51 symbols and one bit.
    let body: String = (0..51).map(|_| char::from(*random.pick(SYMBOLS))).collect();
    format!("hrt_{body}{}", random.pick(&['a', 'q']))
}
