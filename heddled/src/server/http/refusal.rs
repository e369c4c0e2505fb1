//! Requests that are refused before anything is called: what is wrong with each, as the same error that a call gets.

use proto_schema::{Kind, LimitDetails};
use serde_json::json;

use super::reply::Status;
use crate::server::error::WireError;

/// A request that is not served.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: Status,
    pub(super) problem: WireError,
    /// Header lines that say what would be served.
    pub(super) headers: &'static str,
}

impl Refusal {
    fn new(status: Status, problem: WireError) -> Self {
        Self { status, problem, headers: "" }
    }

    fn with(self, headers: &'static str) -> Self {
        Self { headers, ..self }
    }
}

const HOW: &str = "send a JSON-RPC 2.0 call as `POST / HTTP/1.1` with `Content-Type: application/json`";

fn invalid(status: Status, error: &str, hint: &str) -> Refusal {
    Refusal::new(status, WireError::new(Kind::InvalidRequest, error, hint, &json!({})))
}

/// A web page may not talk to the daemon, whatever it says.
fn forbidden(error: &str) -> Refusal {
    let hint = "web pages are not served; send no `Origin`, and `Host: localhost`";
    Refusal::new(Status::Forbidden, WireError::new(Kind::UnauthorizedPeer, error, hint, &json!({})))
}

pub(super) fn origin() -> Refusal {
    forbidden("the request has an `Origin`: a web page has sent it")
}

pub(super) fn host() -> Refusal {
    forbidden("the `Host` is another than localhost")
}

pub(super) fn malformed(what: &str) -> Refusal {
    invalid(Status::BadRequest, &format!("this is no HTTP request: {what}"), HOW)
}

pub(super) fn version() -> Refusal {
    invalid(Status::Version, "only HTTP/1.1 and HTTP/1.0 are spoken", HOW)
}

fn too_large(limit: &str, max: usize) -> Refusal {
    let details = LimitDetails { limit: limit.to_owned(), value: max as u64 + 1, max: max as u64 };
    let error = format!("the limit `{limit}` of {max} is reached");
    Refusal::new(Status::HeadersTooLarge, WireError::new(Kind::LimitExceeded, error, HOW, &details))
}

pub(super) fn head_too_large(max: usize) -> Refusal {
    too_large("head_bytes", max)
}

pub(super) fn too_many_headers(max: usize) -> Refusal {
    too_large("headers", max)
}

pub(super) fn coding() -> Refusal {
    invalid(Status::NotImplemented, "of the transfer codings only `chunked` is known", HOW)
}

pub(super) fn expectation() -> Refusal {
    invalid(Status::ExpectationFailed, "of the expectations only `100-continue` is known", HOW)
}

pub(super) fn media_type() -> Refusal {
    invalid(Status::UnsupportedMediaType, "the content type is not `application/json`", HOW)
}

pub(super) fn not_found() -> Refusal {
    let hint = "there are `POST /` for calls, `GET /health`, `GET /metrics`, and WebSocket at `/`";
    invalid(Status::NotFound, "nothing is at this path", hint)
}

pub(super) fn not_post() -> Refusal {
    invalid(Status::MethodNotAllowed, "at `/` there is only POST, and WebSocket", HOW).with("allow: POST\r\n")
}

pub(super) fn not_get() -> Refusal {
    let hint = "ask with GET";
    invalid(Status::MethodNotAllowed, "this is only to be read", hint).with("allow: GET, HEAD\r\n")
}

pub(super) fn handshake(what: &str) -> Refusal {
    let hint = "open a WebSocket of version 13 with `GET / HTTP/1.1`";
    invalid(Status::BadRequest, &format!("this is no WebSocket handshake: {what}"), hint)
}

pub(super) fn handshake_version() -> Refusal {
    let hint = "open a WebSocket of version 13 with `GET / HTTP/1.1`";
    let refusal = invalid(Status::UpgradeRequired, "only version 13 of WebSocket is spoken", hint);
    refusal.with("upgrade: websocket\r\nsec-websocket-version: 13\r\n")
}
