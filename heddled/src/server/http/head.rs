//! What a request asks for, by its first line and its headers.
//!
//! Invariant H1: nothing is called for a request that a web page could have sent. Pages cannot leave out `Origin` where they
//! can choose the method or a body, nor say another `Host` than their own; so either is enough to be refused.

use data_encoding::BASE64;
use httparse::{EMPTY_HEADER, Header};
use tungstenite::handshake::derive_accept_key;

use super::body::{Body, Chunked};
use super::refusal::{self, Refusal};

/// How many headers a request may have.
const MAX_HEADERS: usize = 64;

/// The longest head, in bytes.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A call or a batch, in the body.
    Call,
    /// How the daemon is.
    Health,
    /// Its figures.
    Metrics,
    /// WebSocket from here on; this is what the client's key is answered.
    Upgrade(String),
}

/// One request, without its body.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) target: Target,
    pub(super) is_head: bool,
    pub(super) body: Body,
    pub(super) keep: Keep,
    /// The body comes once the client is told to go on.
    pub(super) waits_to_continue: bool,
}

/// What becomes of the connection once the request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It stays, as is usual.
    Open,
    /// It stays, which an old client is told.
    OpenAsAsked,
    /// It is closed.
    Close,
}

/// What the beginning of the input is.
pub(super) enum Head {
    /// Not yet a whole head.
    Partial,
    /// A head of so many bytes.
    Complete(usize, Request),
    /// One that is not served.
    Refused(Refusal, Passed),
}

/// How a request that is refused is answered.
pub(super) struct Passed {
    /// Its length and what becomes of the connection, where it can be passed over.
    pub(super) over: Option<(usize, Keep)>,
    pub(super) is_head: bool,
}

/// Reads a head.
pub(super) fn read(input: &[u8]) -> Head {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let refused = |refusal| Head::Refused(refusal, Passed { over: None, is_head: false });
    let length = match parsed.parse(input) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Head::Partial,
        Err(httparse::Error::Version) => return refused(refusal::version()),
        Err(httparse::Error::TooManyHeaders) => return refused(refusal::too_many_headers(MAX_HEADERS)),
        Err(problem) => return refused(refusal::malformed(&problem.to_string())),
    };
    let line = Line {
        method: parsed.method.unwrap_or_default(),
        path: parsed.path.unwrap_or_default(),
        is_old: parsed.version == Some(0),
        headers: Headers(parsed.headers),
    };
    let is_head = line.method == "HEAD";
    let (body, keep) = match line.frame() {
        Ok(framed) => framed,
        Err(refusal) => return Head::Refused(refusal, Passed { over: None, is_head }),
    };
    let has_body = !matches!(body, Body::Length(0));
    match line.target(has_body).and_then(|target| Ok((target, line.waits_to_continue()?))) {
        Ok((target, waits_to_continue)) => {
            Head::Complete(length, Request { target, is_head, body, keep, waits_to_continue })
        }
        // A body that nobody asked for is not waited for.
        Err(refusal) => Head::Refused(refusal, Passed { over: (!has_body).then_some((length, keep)), is_head }),
    }
}

struct Line<'a> {
    method: &'a str,
    path: &'a str,
    /// HTTP/1.0.
    is_old: bool,
    headers: Headers<'a>,
}

impl Line<'_> {
    /// What follows the head, and what follows the request. Refuses what must not be understood in two ways.
    fn frame(&self) -> Result<(Body, Keep), Refusal> {
        if self.headers.has("origin") {
            return Err(refusal::origin());
        }
        match self.headers.only("host")? {
            Some(host) if is_localhost(host) => {}
            // HTTP/1.0 need not say it, and no browser speaks that.
            None if self.is_old => {}
            Some(_) => return Err(refusal::host()),
            None => return Err(refusal::malformed("it has no `Host`")),
        }
        let body = match (self.headers.only("transfer-encoding")?, self.headers.only("content-length")?) {
            (None, None) => Body::Length(0),
            (None, Some(length)) => Body::Length(read_length(length)?),
            (Some(_), Some(_)) => return Err(refusal::malformed("it has two lengths")),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") && !self.is_old => {
                Body::Chunked(Chunked::default())
            }
            (Some(_), None) => return Err(refusal::coding()),
        };
        let keep = match self.is_old {
            _ if self.headers.lists("connection", "close") => Keep::Close,
            true if self.headers.lists("connection", "keep-alive") => Keep::OpenAsAsked,
            true => Keep::Close,
            false => Keep::Open,
        };
        Ok((body, keep))
    }

    fn target(&self, has_body: bool) -> Result<Target, Refusal> {
        let path = self.path.split_once('?').map_or(self.path, |(path, _)| path);
        let is_read = matches!(self.method, "GET" | "HEAD");
        match path {
            "/" if self.upgrades() && has_body => Err(refusal::handshake("it has a body")),
            "/" if self.upgrades() => self.handshake(),
            "/" if self.method != "POST" => Err(refusal::not_post()),
            "/" if !self.is_json()? => Err(refusal::media_type()),
            "/" => Ok(Target::Call),
            "/health" if is_read => Ok(Target::Health),
            "/metrics" if is_read => Ok(Target::Metrics),
            "/health" | "/metrics" => Err(refusal::not_get()),
            _ => Err(refusal::not_found()),
        }
    }

    fn upgrades(&self) -> bool {
        self.method == "GET" && !self.is_old && self.headers.lists("upgrade", "websocket")
    }

    fn handshake(&self) -> Result<Target, Refusal> {
        if !self.headers.lists("connection", "upgrade") {
            return Err(refusal::handshake("`Connection` does not say `Upgrade`"));
        }
        if self.headers.only("sec-websocket-version")? != Some("13") {
            return Err(refusal::handshake_version());
        }
        let key = self.headers.only("sec-websocket-key")?.unwrap_or_default();
        match BASE64.decode(key.as_bytes()) {
            Ok(nonce) if nonce.len() == 16 => Ok(Target::Upgrade(derive_accept_key(key.as_bytes()))),
            Ok(_) | Err(_) => Err(refusal::handshake("its key is not 16 bytes")),
        }
    }

    fn is_json(&self) -> Result<bool, Refusal> {
        let named = self.headers.only("content-type")?.unwrap_or_default();
        let media = named.split_once(';').map_or(named, |(media, _)| media);
        Ok(media.trim().eq_ignore_ascii_case("application/json"))
    }

    fn waits_to_continue(&self) -> Result<bool, Refusal> {
        match self.headers.only("expect")? {
            // Who speaks HTTP/1.0 does not know what it would be told.
            None => Ok(false),
            Some(_) if self.is_old => Ok(false),
            Some(expected) if expected.eq_ignore_ascii_case("100-continue") => Ok(true),
            Some(_) => Err(refusal::expectation()),
        }
    }
}

struct Headers<'a>(&'a [Header<'a>]);

impl<'a> Headers<'a> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    fn has(&self, name: &'static str) -> bool {
        self.all(name).next().is_some()
    }

    /// The value of a header that may come once.
    fn only(&self, name: &'static str) -> Result<Option<&'a str>, Refusal> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => match std::str::from_utf8(value) {
                Ok(value) => Ok(Some(value.trim())),
                Err(_) => Err(refusal::malformed(&format!("its `{name}` is no text"))),
            },
            (Some(_), Some(_)) => Err(refusal::malformed(&format!("it has `{name}` twice"))),
        }
    }

    /// Whether a list has a member; its case does not matter.
    fn lists(&self, name: &'static str, member: &str) -> bool {
        let values = self.all(name).filter_map(|value| std::str::from_utf8(value).ok());
        values.flat_map(|value| value.split(',')).any(|listed| listed.trim().eq_ignore_ascii_case(member))
    }
}

fn read_length(text: &str) -> Result<usize, Refusal> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // What is beyond a number is beyond the limit, too.
    if is_number { Ok(text.parse().unwrap_or(usize::MAX)) } else { Err(refusal::malformed("its length is no number")) }
}

/// Whether a host is this machine by its one name for it, with any port.
fn is_localhost(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    name.eq_ignore_ascii_case("localhost") && port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
