//! Responses.

use std::io::Write;

use chrono::DateTime;
use proto_schema::Timestamp;

/// A status, as the first line says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    NoContent,
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    ContentTooLarge,
    UnsupportedMediaType,
    ExpectationFailed,
    UpgradeRequired,
    HeadersTooLarge,
    Internal,
    NotImplemented,
    Unavailable,
    Version,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::NoContent => "204 No Content",
            Self::BadRequest => "400 Bad Request",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::UnsupportedMediaType => "415 Unsupported Media Type",
            Self::ExpectationFailed => "417 Expectation Failed",
            Self::UpgradeRequired => "426 Upgrade Required",
            Self::HeadersTooLarge => "431 Request Header Fields Too Large",
            Self::Internal => "500 Internal Server Error",
            Self::NotImplemented => "501 Not Implemented",
            Self::Unavailable => "503 Service Unavailable",
            Self::Version => "505 HTTP Version Not Supported",
        }
    }
}

/// What goes on the wire for one request.
pub(super) struct Reply<'a> {
    pub(super) status: Status,
    pub(super) content_type: &'static str,
    /// Further header lines, each with its ending.
    pub(super) headers: &'static str,
    pub(super) body: &'a [u8],
    /// The request was HEAD: everything but the body.
    pub(super) is_head: bool,
    /// What `Connection` says, where it says anything.
    pub(super) connection: Option<&'static str>,
    pub(super) at: Timestamp,
}

pub(super) const JSON: &str = "application/json";

/// Goes out while a client waits to be told that its body is wanted.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Reply<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        // Writing into memory cannot fail.
        let _written = self.write_head(out);
        if !self.is_head && self.status != Status::NoContent {
            out.extend_from_slice(self.body);
        }
    }

    fn write_head(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let date = DateTime::from_timestamp_millis(self.at.unix_ms()).unwrap_or_default();
        write!(out, "HTTP/1.1 {}\r\ndate: {}\r\n", self.status.line(), date.format("%a, %d %b %Y %H:%M:%S GMT"))?;
        if self.status != Status::NoContent {
            write!(out, "content-type: {}\r\ncontent-length: {}\r\n", self.content_type, self.body.len())?;
        }
        out.extend_from_slice(b"cache-control: no-store\r\n");
        out.extend_from_slice(self.headers.as_bytes());
        if let Some(connection) = self.connection {
            write!(out, "connection: {connection}\r\n")?;
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// The answer to a handshake; from then on the connection speaks WebSocket.
pub(super) fn switch_protocols(accept: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n");
    out.extend_from_slice(format!("sec-websocket-accept: {accept}\r\n\r\n").as_bytes());
}
