//! HTTP/1.1 and 1.0: requests in, responses out, one after the other. Pure but for the date that it writes.
//!
//! httparse reads heads and chunks; what is decided here is what this daemon serves, and that is little: `POST /` with a call
//! or a batch, `GET /health`, `GET /metrics`, and the handshake of WebSocket. What is asked for without a call in it becomes
//! the call that answers it, so that there is one way in for everything.

mod body;
mod head;
mod refusal;
mod reply;

use std::sync::Arc;

use jsonrpsee::types::Id;
use serde::Deserialize;
use serde_json::value::RawValue;

use self::body::Progress;
use self::head::{Head, Keep, MAX_HEAD, Passed, Request, Target};
use self::refusal::Refusal;
use self::reply::{CONTINUE, JSON, Reply, Status};
use super::dispatch::error_line;
use super::framing::Frame;
use super::incoming::Incoming;
use crate::clock::Clock;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What `GET /health` calls.
const HEALTH: &[u8] = br#"{"jsonrpc":"2.0","id":0,"method":"daemon.health"}"#;

/// What `GET /metrics` calls.
const METRICS: &[u8] = br#"{"jsonrpc":"2.0","id":0,"method":"daemon.metrics"}"#;

/// What a connection speaks that begins with a capital letter.
pub(super) struct Http {
    incoming: Incoming,
    /// How much of the head was read and was not all of it.
    looked_at: usize,
    /// The request under way, while its body has not come.
    request: Option<Request>,
    /// How the request that was handed on is to be answered.
    answer: Answer,
    max: usize,
    is_over: bool,
    /// What comes next is WebSocket.
    is_upgraded: bool,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Copy)]
struct Answer {
    shape: Shape,
    is_head: bool,
    keep: Keep,
}

/// The answer to what cannot be understood to its end: where the next request begins is not known.
const LAST: Answer = Answer { shape: Shape::Call, is_head: false, keep: Keep::Close };

/// What the answer of the call becomes.
#[derive(Clone, Copy)]
enum Shape {
    /// The whole answer.
    Call,
    /// The whole answer, which says that the body was too long.
    TooLong,
    /// The result, whose status tells the rest.
    Health,
    /// The text in the result.
    Metrics,
}

/// An answer of jsonrpsee's that has a result.
#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow)]
    result: &'a RawValue,
}

#[derive(Deserialize)]
struct IsHealthy {
    healthy: bool,
}

impl Http {
    /// Begins with what has come in already; bodies may have `max` bytes.
    pub(super) fn new(sent: Vec<u8>, max: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            incoming: Incoming::new(sent),
            looked_at: 0,
            request: None,
            answer: LAST,
            max,
            is_over: false,
            is_upgraded: false,
            clock,
        }
    }

    pub(super) fn input(&mut self, room: usize) -> &mut Vec<u8> {
        self.incoming.input(room)
    }

    pub(super) fn settle(&mut self) {
        self.incoming.settle();
    }

    pub(super) fn is_partial(&self) -> bool {
        self.request.is_some() || self.incoming.rest().iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whatever is answered next is the last.
    pub(super) fn wind_up(&mut self) {
        self.answer.keep = Keep::Close;
    }

    /// What has come in behind a handshake, once there was one.
    pub(super) fn upgraded(&mut self) -> Option<Vec<u8>> {
        self.is_upgraded.then(|| std::mem::take(&mut self.incoming).into_rest())
    }

    /// The next message, if one is complete. The one before it was answered.
    pub(super) fn next_frame(&mut self, out: &mut Vec<u8>) -> Option<Frame> {
        if self.is_over {
            return None;
        }
        if self.request.is_none()
            && let Some(refused) = self.read_head(out)?
        {
            return Some(refused);
        }
        let request = self.request.as_mut()?;
        let progress = request.body.take(&mut self.incoming, self.max);
        if progress == Progress::Partial {
            if std::mem::take(&mut request.waits_to_continue) {
                out.extend_from_slice(CONTINUE);
            }
            return None;
        }
        let Request { target, is_head, keep, .. } = self.request.take()?;
        self.answer = Answer { shape: Shape::Call, is_head, keep };
        match progress {
            Progress::Partial => None,
            Progress::TooLong => {
                self.answer = Answer { shape: Shape::TooLong, ..LAST };
                Some(Frame::TooLong)
            }
            Progress::Malformed(what) => Some(self.refuse(&refusal::malformed(what), LAST, out)),
            Progress::Complete(body) => Some(self.hand_on(target, body, out)),
        }
    }

    /// Reads a head, and answers what is refused by it. None while there is none.
    fn read_head(&mut self, out: &mut Vec<u8>) -> Option<Option<Frame>> {
        if self.looked_at == 0 {
            let blank = self.incoming.rest().iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.incoming.take(blank);
        }
        let rest = self.incoming.rest();
        // A head is read only where a line of it has come to its end: whoever sends it byte by byte makes no work.
        let has_line = memchr::memchr(b'\n', rest.get(self.looked_at..).unwrap_or_default()).is_some();
        let read = if has_line { head::read(rest) } else { Head::Partial };
        self.looked_at = 0;
        match read {
            Head::Partial if rest.len() > MAX_HEAD => {
                Some(Some(self.refuse(&refusal::head_too_large(MAX_HEAD), LAST, out)))
            }
            Head::Partial => {
                self.looked_at = rest.len();
                None
            }
            Head::Complete(length, _) if length > MAX_HEAD => {
                Some(Some(self.refuse(&refusal::head_too_large(MAX_HEAD), LAST, out)))
            }
            Head::Complete(length, request) => {
                self.incoming.take(length);
                self.request = Some(request);
                Some(None)
            }
            Head::Refused(refusal, Passed { over, is_head }) => {
                let (length, keep) = over.unwrap_or((0, Keep::Close));
                self.incoming.take(length);
                Some(Some(self.refuse(&refusal, Answer { shape: Shape::Call, is_head, keep }, out)))
            }
        }
    }

    fn hand_on(&mut self, target: Target, body: Vec<u8>, out: &mut Vec<u8>) -> Frame {
        match target {
            Target::Call => Frame::Line(body),
            Target::Health => {
                self.answer.shape = Shape::Health;
                Frame::Line(HEALTH.to_vec())
            }
            Target::Metrics => {
                self.answer.shape = Shape::Metrics;
                Frame::Line(METRICS.to_vec())
            }
            Target::Upgrade(accept) => {
                reply::switch_protocols(&accept, out);
                self.is_upgraded = true;
                Frame::Answered
            }
        }
    }

    fn refuse(&mut self, refusal: &Refusal, answer: Answer, out: &mut Vec<u8>) -> Frame {
        self.answer = answer;
        let body = error_line(Id::Null, refusal.problem.clone());
        self.reply(refusal.status, JSON, refusal.headers, &body, out);
        Frame::Answered
    }

    /// Answers the request that was handed on.
    pub(super) fn answer(&mut self, line: Option<&[u8]>, out: &mut Vec<u8>) {
        let Some(line) = line else { return self.reply(Status::NoContent, JSON, "", b"", out) };
        let result = serde_json::from_slice::<Answered<'_>>(line).map(|answered| answered.result.get());
        match (self.answer.shape, result) {
            (Shape::Call, _) => self.reply(Status::Ok, JSON, "", line, out),
            (Shape::TooLong, _) => self.reply(Status::ContentTooLarge, JSON, "", line, out),
            (Shape::Health, Ok(result)) => {
                let is_healthy = serde_json::from_str(result).is_ok_and(|IsHealthy { healthy }| healthy);
                let status = if is_healthy { Status::Ok } else { Status::Unavailable };
                self.reply(status, JSON, "", result.as_bytes(), out);
            }
            (Shape::Metrics, Ok(result)) => match serde_json::from_str::<proto_schema::Metrics>(result) {
                Ok(metrics) => self.reply(Status::Ok, TEXT, "", metrics.text.as_bytes(), out),
                Err(_) => self.reply(Status::Internal, JSON, "", line, out),
            },
            (Shape::Health | Shape::Metrics, Err(_)) => self.reply(Status::Internal, JSON, "", line, out),
        }
    }

    fn reply(
        &mut self,
        status: Status,
        content_type: &'static str,
        headers: &'static str,
        body: &[u8],
        out: &mut Vec<u8>,
    ) {
        let Answer { is_head, keep, .. } = self.answer;
        let connection = match keep {
            Keep::Open => None,
            Keep::OpenAsAsked => Some("keep-alive"),
            Keep::Close => Some("close"),
        };
        let body = if content_type == JSON && !body.is_empty() { [body, b"\n"].concat() } else { body.to_vec() };
        let at = self.clock.wall();
        Reply { status, content_type, headers, body: &body, is_head, connection, at }.write(out);
        self.is_over |= keep == Keep::Close;
    }
}

/// A whole response to somebody who is not let in.
pub(super) fn turned_away(is_stranger: bool, line: &[u8], clock: &dyn Clock) -> Vec<u8> {
    let status = if is_stranger { Status::Forbidden } else { Status::Unavailable };
    let (mut out, body) = (Vec::new(), [line, b"\n"].concat());
    let connection = Some("close");
    let at = clock.wall();
    Reply { status, content_type: JSON, headers: "", body: &body, is_head: false, connection, at }.write(&mut out);
    out
}
