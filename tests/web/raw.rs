//! Clients that do as they are told: HTTP by hand, WebSocket by tungstenite.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::support::{Daemon, Fault, ledger};

pub(crate) fn connect(daemon: &Daemon<'_>) -> UnixStream {
    let stream = UnixStream::connect(daemon.socket()).unwrap();
    // A test that hangs says nothing.
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// A call as it stands on the wire.
pub(crate) fn call(id: u64, method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

/// One HTTP connection.
pub(crate) struct Http {
    pub(crate) stream: UnixStream,
    reader: BufReader<UnixStream>,
}

/// One response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} is there once");
        value
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The kind of the error in it.
    #[track_caller]
    pub(crate) fn kind(&self) -> String {
        self.json()["error"]["data"]["kind"].as_str().unwrap_or_else(|| panic!("no error: {self:?}")).to_owned()
    }
}

impl Http {
    pub(crate) fn open(daemon: &Daemon<'_>) -> Self {
        let stream = connect(daemon);
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.strip_suffix("\r\n").unwrap_or_else(|| panic!("{line:?} ends so")).to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next response; none when the connection has ended.
    pub(crate) fn try_response(&mut self, has_body: bool) -> Option<Response> {
        let line = self.line()?;
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest[..3].parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("{line:?} is a status line"));
        let mut headers = Vec::new();
        loop {
            let line = self.line().expect("the head has an end");
            let Some((name, value)) = line.split_once(": ") else {
                assert_eq!(line, "");
                break;
            };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let mut response = Response { status, headers, body: String::new() };
        let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
        assert_eq!(response.header("content-length").is_some(), status != 204 && status >= 200, "{response:?}");
        if has_body {
            let mut body = vec![0; length];
            self.reader.read_exact(&mut body).unwrap();
            ledger::note(&body);
            response.body = String::from_utf8(body).unwrap();
        }
        Some(response)
    }

    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.try_response(true).expect("a response, not the end")
    }

    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        self.response()
    }

    #[track_caller]
    pub(crate) fn post(&mut self, body: &str) -> Response {
        self.send(post(body));
        self.response()
    }

    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Result<Value, Fault> {
        let response = self.post(&call(7, method, params));
        assert_eq!(response.status, 200, "{response:?}");
        let mut answer = response.json();
        assert_eq!(answer["id"], 7);
        match answer.get_mut("error") {
            Some(error) => Err(Fault(error.take())),
            None => Ok(answer["result"].take()),
        }
    }

    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
        }
        assert_eq!(String::from_utf8_lossy(&rest), "", "nothing more is said");
    }

    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// A handshake, with the key of RFC 6455's example.
pub(crate) const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A request with a call.
pub(crate) fn post(body: &str) -> String {
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json; charset=utf-8";
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// One WebSocket connection.
pub(crate) struct Web(pub(crate) WebSocket<UnixStream>);

impl Web {
    pub(crate) fn open(daemon: &Daemon<'_>) -> Self {
        let (socket, response) = tungstenite::client("ws://localhost/", connect(daemon)).unwrap();
        assert_eq!(response.status(), 101);
        Self(socket)
    }

    #[track_caller]
    pub(crate) fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Value {
        loop {
            let message = self.0.read().unwrap();
            if let Message::Text(text) = &message {
                ledger::note(text.as_bytes());
                return serde_json::from_str(text).unwrap();
            }
            assert!(message.is_ping() || message.is_pong(), "{message:?}");
        }
    }

    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Result<Value, Fault> {
        self.send(&call(7, method, params));
        let mut answer = self.receive();
        assert_eq!(answer["id"], 7, "{answer}");
        match answer.get_mut("error") {
            Some(error) => Err(Fault(error.take())),
            None => Ok(answer["result"].take()),
        }
    }

    /// The code that the daemon closes with, once everything before is read.
    #[track_caller]
    pub(crate) fn closed_with(&mut self) -> u16 {
        loop {
            match self.0.read() {
                Ok(Message::Close(Some(close))) => return close.code.into(),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("not closed: {other:?}"),
            }
        }
    }
}

impl Read for Http {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read(into)
    }
}
