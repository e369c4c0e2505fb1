//! From a line to its answer: parses the message, finds the method, calls it through jsonrpsee with the caller's context.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use jsonrpsee::core::server::{BatchResponseBuilder, MethodCallback, MethodResponse, Methods};
use jsonrpsee::types::{ErrorObjectOwned, Id, Params};
use jsonrpsee::{ConnectionId, Extensions};
use proto_schema::{MethodSpec, SessionId};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use tracing::error;

use super::error::{self, WireError};
use super::order::{Order, Turn};
use super::peer::Peer;

/// The largest answer in bytes; lists are bounded, so nothing of ours comes near it.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// What a handler may know of its caller, and tell of its call. Travels in jsonrpsee's extensions.
#[derive(Debug)]
pub(super) struct Call {
    /// Who asks.
    pub peer: Peer,
    /// The session that this call was granted, if its caller could not ask for it again.
    pub granted: OnceLock<SessionId>,
}

/// A call as it stands on the wire.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<Id<'a>>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// An id that is there, null included; only an absent one makes a notification.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Id<'de>>, D::Error> {
    Id::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct OnlyId<'a> {
    #[serde(borrow, default)]
    id: Option<Id<'a>>,
}

/// One call that is ready to run.
struct Prepared {
    id: Id<'static>,
    callback: MethodCallback,
    params: Params<'static>,
    is_notification: bool,
    turn: Turn,
}

/// What is to be done for one message.
pub(super) enum Work {
    /// It is answered already, or needs no answer.
    Answered(Option<String>),
    /// One call.
    One(Box<Pending>),
    /// Several, answered together.
    Batch(Vec<Pending>),
}

/// A call, or the answer that it already has.
pub(super) enum Pending {
    Call(Box<PendingCall>),
    Answer(MethodResponse),
}

/// A call that is to run.
pub(super) struct PendingCall(Prepared);

/// An answer and what it granted.
pub(super) struct Answer {
    /// The line, without its ending; none for notifications.
    pub(super) line: Option<String>,
    /// The session that must end if this answer is never read.
    pub(super) granted: Vec<SessionId>,
}

/// Reads one message. Everything that is wrong with it is answered here.
pub(super) fn parse(methods: &Methods, order: &mut Order, line: &[u8], max_batch: usize) -> Work {
    let first = line.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        return parse_batch(methods, order, line, max_batch);
    }
    match serde_json::from_slice::<&RawValue>(line) {
        Err(problem) => Work::Answered(Some(answer(&error_response(Id::Null, error::not_json(&problem))))),
        Ok(message) => match prepare(methods, order, message) {
            Some(pending) => Work::One(Box::new(pending)),
            None => Work::Answered(None),
        },
    }
}

fn parse_batch(methods: &Methods, order: &mut Order, line: &[u8], max_batch: usize) -> Work {
    let refused = |problem: WireError| Work::Answered(Some(answer(&error_response(Id::Null, problem))));
    let messages: Vec<&RawValue> = match serde_json::from_slice(line) {
        Ok(messages) => messages,
        Err(problem) => return refused(error::not_json(&problem)),
    };
    match messages.len() {
        0 => refused(error::invalid_request("a batch has at least one call")),
        many if many > max_batch => refused(error::limit("batch", many, max_batch)),
        _ => Work::Batch(messages.into_iter().filter_map(|message| prepare(methods, order, message)).collect()),
    }
}

/// Finds what a message calls. None for notifications that are not executed.
fn prepare(methods: &Methods, order: &mut Order, message: &RawValue) -> Option<Pending> {
    let request: Request<'_> = match serde_json::from_str(message.get()) {
        Ok(request) => request,
        Err(problem) => {
            let id = serde_json::from_str::<OnlyId<'_>>(message.get()).ok().and_then(|only| only.id);
            let id = id.map_or(Id::Null, Id::into_owned);
            return Some(Pending::Answer(error_response(id, error::invalid_request(&problem.to_string()))));
        }
    };
    let is_notification = request.id.is_none();
    let id = request.id.map_or(Id::Null, Id::into_owned);
    let refuse =
        |problem| if is_notification { None } else { Some(Pending::Answer(error_response(id.clone(), problem))) };
    if request.jsonrpc != "2.0" {
        return refuse(error::invalid_request("`jsonrpc` must be \"2.0\""));
    }
    let Some(callback) = methods.method(&request.method) else { return refuse(error::no_method(&request.method)) };
    if is_notification && MethodSpec::find(&request.method).is_none_or(|method| method.changes) {
        return None;
    }
    let turn = order.queue(request.params);
    let params = Params::new(request.params.map(RawValue::get)).into_owned();
    Some(Pending::Call(Box::new(PendingCall(Prepared {
        id,
        callback: callback.clone(),
        params,
        is_notification,
        turn,
    }))))
}

/// Does the work of one message, to its end.
pub(super) async fn run(work: Work, peer: Peer) -> Answer {
    match work {
        Work::Answered(line) => Answer { line, granted: Vec::new() },
        Work::One(pending) => {
            let (response, granted) = settle(*pending, peer).await;
            Answer { line: response.map(|response| answer(&response)), granted: granted.into_iter().collect() }
        }
        Work::Batch(batch) => {
            let mut builder = BatchResponseBuilder::new_with_limit(MAX_ANSWER);
            let mut granted = Vec::new();
            for pending in batch {
                let (response, grant) = settle(pending, peer).await;
                granted.extend(grant);
                if let Some(Err(too_large)) = response.map(|response| builder.append(response)) {
                    return Answer { line: Some(answer(&too_large)), granted };
                }
            }
            let line = (!builder.is_empty()).then(|| answer(&MethodResponse::from_batch(builder.finish())));
            Answer { line, granted }
        }
    }
}

async fn settle(pending: Pending, peer: Peer) -> (Option<MethodResponse>, Option<SessionId>) {
    match pending {
        Pending::Answer(response) => (Some(response), None),
        Pending::Call(call) => {
            let Prepared { id, callback, params, is_notification, mut turn } = call.0;
            turn.come().await;
            let call = Arc::new(Call { peer, granted: OnceLock::new() });
            let mut extensions = Extensions::new();
            extensions.insert(Arc::clone(&call));
            let connection = ConnectionId(0);
            let response = match callback {
                MethodCallback::Async(method) => {
                    let called = method(id.clone(), params, connection, MAX_ANSWER, extensions);
                    AssertUnwindSafe(called).catch_unwind().await
                }
                MethodCallback::Sync(method) => Ok(method(id.clone(), params, MAX_ANSWER, extensions)),
                // There are none yet.
                MethodCallback::Subscription(_) | MethodCallback::Unsubscription(_) => {
                    Ok(error_response(id.clone(), error::no_method("subscriptions")))
                }
            };
            let response = response.unwrap_or_else(|_| {
                error!("a handler panicked");
                error_response(id, error::internal())
            });
            ((!is_notification).then_some(response), call.granted.get().copied())
        }
    }
}

fn error_response(id: Id<'_>, problem: WireError) -> MethodResponse {
    MethodResponse::error(id, ErrorObjectOwned::from(problem))
}

fn answer(response: &MethodResponse) -> String {
    response.as_json().get().to_owned()
}
