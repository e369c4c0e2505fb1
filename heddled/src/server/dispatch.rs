//! From a line to its answer: parses the message, finds the method, calls it through jsonrpsee with the caller's context.

use std::borrow::Cow;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use jsonrpsee::Extensions;
use jsonrpsee::core::server::{MethodCallback, MethodResponse, Methods};
use jsonrpsee::types::{ErrorObjectOwned, Id, Params};
use parking_lot::Mutex;
use proto_schema::{MethodSpec, SessionId};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::watch;
use tracing::error;

use super::budget::{Budget, MAX_WAITING_ANSWERS, Share};
use super::error::{self, WireError};
use super::events::{Subscription, Subscriptions};
use super::order::{Order, Turn};
use super::peer::Peer;
use super::protocol::Via;
use super::request::{Names, RequestName};
use crate::coordinator::Stay;
use crate::registry::ConnectionId;

/// The largest answer in bytes, that of a whole batch too; lists are bounded, so nothing of ours comes near it.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// How long an answer is that has one reservation in it, in bytes.
const USUAL_ANSWER: usize = 1024;

/// What a handler may know of its caller, and tell of its call. Travels in jsonrpsee's extensions.
#[derive(Debug)]
pub(super) struct Call {
    /// Who asks.
    pub caller: Caller,
    /// What the log calls it.
    pub request: RequestName,
    /// The session that this call was granted, if its caller could not ask for it again.
    pub granted: OnceLock<SessionId>,
    /// The subscription that this call was granted.
    pub subscribed: Mutex<Option<Box<Subscription>>>,
    /// Whether the method changes something: then it is answered in any case.
    changes: bool,
    /// What the method answered, as JSON.
    result: OnceLock<Vec<u8>>,
}

impl Call {
    /// Takes a method's result. It travels beside jsonrpsee's own answer, which says `null` in its place: an answer of
    /// jsonrpsee's is parsed once more before it is handed out, and that takes as long as all the rest of a heartbeat.
    pub(super) fn answer(&self, result: &impl Serialize) -> Result<(), WireError> {
        let mut text = Vec::with_capacity(USUAL_ANSWER);
        serde_json::to_writer(&mut text, result).map_err(error::internal)?;
        if !self.changes && !self.caller.budget.has_room(text.len()) {
            return Err(error::limit("waiting_answer_bytes", text.len(), MAX_WAITING_ANSWERS).retry_after(1000));
        }
        // It is the first and only: a method answers once.
        let _set = self.result.set(text);
        Ok(())
    }
}

/// Which methods a connection may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// All of them.
    Full,
    /// Those of the daemon itself (`daemon.*`): the connection is over the limit of `max` connections.
    DaemonOnly {
        /// The limit.
        max: usize,
    },
}

/// Who sends calls: what a call knows of its connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Its process.
    pub(super) peer: Peer,
    /// When its connection came, by the monotonic clock.
    pub(super) connected_at_ms: u64,
    /// What it may call.
    pub(super) admission: Admission,
    /// How it asks.
    pub(super) via: Via,
    /// Whether it is still there.
    pub(super) stay: watch::Receiver<Stay>,
    /// Its connection, which may hold sessions.
    pub(super) connection: ConnectionId,
    /// What it is told without asking.
    pub(super) subscriptions: Arc<Subscriptions>,
    /// Names its calls.
    pub(super) names: Names,
    /// What bounds its answers.
    pub(super) budget: Budget,
}

/// A call as it stands on the wire.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(default, deserialize_with = "present")]
    id: Option<CallId>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// A call's id: a number, a text or null. Absent, and only then, the call is a notification.
struct CallId(Id<'static>);

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CallIdVisitor)
    }
}

struct CallIdVisitor;

impl Visitor<'_> for CallIdVisitor {
    type Value = CallId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number that is not negative, a text or null as `id`")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<CallId, E> {
        Ok(CallId(Id::Number(number)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<CallId, E> {
        Ok(CallId(Id::Str(text.to_owned().into())))
    }

    fn visit_unit<E: de::Error>(self) -> Result<CallId, E> {
        Ok(CallId(Id::Null))
    }
}

/// An id that is there, null included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<CallId>, D::Error> {
    CallId::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct OnlyId {
    #[serde(default, deserialize_with = "present")]
    id: Option<CallId>,
}

/// One call that is ready to run.
struct Prepared {
    id: Id<'static>,
    callback: MethodCallback,
    params: Params<'static>,
    is_notification: bool,
    changes: bool,
    /// Whether it is a method of the daemon itself.
    is_daemons: bool,
    turn: Turn,
}

/// What is to be done for one message.
pub(super) enum Work {
    /// It is answered already, or needs no answer.
    Answered(Option<Vec<u8>>),
    /// One call.
    One(Box<Pending>),
    /// Several, answered together.
    Batch(Vec<Pending>),
}

/// A call, or the answer that it already has.
pub(super) enum Pending {
    Call(Box<PendingCall>),
    Answer(Vec<u8>),
}

/// A call that is to run.
pub(super) struct PendingCall(Prepared);

/// An answer and what it granted.
pub(super) struct Answer {
    /// The line, without its ending; none for notifications.
    pub(super) line: Option<Vec<u8>>,
    /// The session that must end if this answer is never read.
    pub(super) granted: Vec<SessionId>,
    /// The subscriptions that are to be carried once this answer is written.
    pub(super) subscribed: Vec<Subscription>,
    /// Its part of the answers that wait: until it is put to what its connection writes.
    _share: Share,
}

impl Answer {
    /// An answer to one message, and what each of its calls was granted.
    fn new(line: Option<Vec<u8>>, granted: impl IntoIterator<Item = Granted>, mut share: Share) -> Self {
        share.set(line.as_ref().map_or(0, Vec::len));
        let mut answer = Self { line, granted: Vec::new(), subscribed: Vec::new(), _share: share };
        for (session, subscription) in granted {
            answer.granted.extend(session);
            answer.subscribed.extend(subscription.map(|subscription| *subscription));
        }
        answer
    }
}

/// What one call was granted beside its result.
type Granted = (Option<SessionId>, Option<Box<Subscription>>);

/// Reads one message. Everything that is wrong with it is answered here.
pub(super) fn parse(methods: &Methods, order: &mut Order, line: &[u8], max_batch: usize) -> Work {
    let first = line.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        return parse_batch(methods, order, line, max_batch);
    }
    match serde_json::from_slice(line) {
        Ok(request) => find(methods, order, request).map_or(Work::Answered(None), one),
        // It may be a call with something wrong in it, or no JSON at all.
        Err(problem) => match serde_json::from_slice::<&RawValue>(line) {
            Ok(message) => one(Pending::Answer(not_a_call(message, &problem))),
            Err(problem) => Work::Answered(Some(error_line(Id::Null, error::not_json(&problem)))),
        },
    }
}

fn one(pending: Pending) -> Work {
    Work::One(Box::new(pending))
}

fn parse_batch(methods: &Methods, order: &mut Order, line: &[u8], max_batch: usize) -> Work {
    let refused = |problem: WireError| Work::Answered(Some(error_line(Id::Null, problem)));
    let messages: Vec<&RawValue> = match serde_json::from_slice(line) {
        Ok(messages) => messages,
        Err(problem) => return refused(error::not_json(&problem)),
    };
    match messages.len() {
        0 => refused(error::invalid_request("a batch has at least one call")),
        many if many > max_batch => refused(error::limit("batch", many, max_batch)),
        _ => Work::Batch(messages.into_iter().filter_map(|message| read(methods, order, message)).collect()),
    }
}

/// Reads one message of a batch.
fn read(methods: &Methods, order: &mut Order, message: &RawValue) -> Option<Pending> {
    match serde_json::from_str(message.get()) {
        Ok(request) => find(methods, order, request),
        Err(problem) => Some(Pending::Answer(not_a_call(message, &problem))),
    }
}

fn not_a_call(message: &RawValue, problem: &serde_json::Error) -> Vec<u8> {
    let id = serde_json::from_str::<OnlyId>(message.get()).ok().and_then(|only| only.id);
    error_line(id.map_or(Id::Null, |id| id.0), error::invalid_request(&problem.to_string()))
}

/// Finds what a message calls. None for notifications that are not executed.
fn find(methods: &Methods, order: &mut Order, request: Request<'_>) -> Option<Pending> {
    let is_notification = request.id.is_none();
    let id = request.id.map_or(Id::Null, |id| id.0);
    let refuse = |problem| if is_notification { None } else { Some(Pending::Answer(error_line(id.clone(), problem))) };
    if request.jsonrpc != "2.0" {
        return refuse(error::invalid_request("`jsonrpc` must be \"2.0\""));
    }
    let Some(callback) = methods.method(&request.method) else { return refuse(error::no_method(&request.method)) };
    let changes = MethodSpec::find(&request.method).is_none_or(|method| method.changes);
    if is_notification && changes {
        return None;
    }
    let turn = order.queue(request.params);
    let params = Params::new(request.params.map(RawValue::get)).into_owned();
    Some(Pending::Call(Box::new(PendingCall(Prepared {
        id,
        callback: callback.clone(),
        params,
        is_notification,
        changes,
        is_daemons: is_daemons(&request.method),
        turn,
    }))))
}

/// Whether a method is one of the daemon itself.
fn is_daemons(method: &str) -> bool {
    method.starts_with("daemon.")
}

/// Whether a message is one call of a method of the daemon itself.
pub(super) fn calls_daemon(message: &[u8]) -> bool {
    serde_json::from_slice::<Request<'_>>(message).is_ok_and(|request| is_daemons(&request.method))
}

/// Does the work of one message, to its end.
pub(super) async fn run(work: Work, caller: Caller) -> Answer {
    match work {
        Work::Answered(line) => Answer::new(line, [], caller.budget.share()),
        Work::One(pending) => {
            let share = caller.budget.share();
            let (line, granted) = settle(*pending, caller).await;
            Answer::new(line, [granted], share)
        }
        Work::Batch(batch) => {
            let (mut whole, mut granted, mut share) = (Vec::new(), Vec::new(), caller.budget.share());
            for pending in batch {
                let (line, grant) = settle(pending, caller.clone()).await;
                // Each may be a long list: the other connections have their turns between them.
                tokio::task::yield_now().await;
                granted.push(grant);
                let Some(line) = line else { continue };
                let length = whole.len() + line.len();
                if length > MAX_ANSWER {
                    let problem = error::limit("batch_answer_bytes", length, MAX_ANSWER);
                    // Nobody learns the names of its subscriptions.
                    granted.iter_mut().for_each(|(_, subscription)| *subscription = None);
                    return Answer::new(Some(error_line(Id::Null, problem)), granted, share);
                }
                whole.push(if whole.is_empty() { b'[' } else { b',' });
                whole.extend_from_slice(&line);
                share.set(whole.len());
            }
            let line = (!whole.is_empty()).then(|| {
                whole.push(b']');
                whole
            });
            Answer::new(line, granted, share)
        }
    }
}

async fn settle(pending: Pending, caller: Caller) -> (Option<Vec<u8>>, Granted) {
    let Prepared { id, callback, params, is_notification, changes, is_daemons, mut turn } = match pending {
        Pending::Answer(line) => return (Some(line), (None, None)),
        Pending::Call(call) => call.0,
    };
    turn.come().await;
    if !changes && *caller.stay.borrow() == Stay::Lost {
        // The rest of a long batch, as a rule: nobody reads what it finds.
        return (None, (None, None));
    }
    if let Admission::DaemonOnly { max } = caller.admission
        && !is_daemons
    {
        let line = error_line(id, error::limit("connections", max + 1, max));
        return ((!is_notification).then_some(line), (None, None));
    }
    let call = Arc::new(Call {
        request: caller.names.next(),
        caller,
        granted: OnceLock::new(),
        subscribed: Mutex::default(),
        changes,
        result: OnceLock::new(),
    });
    let mut extensions = Extensions::new();
    extensions.insert(Arc::clone(&call));
    let connection = jsonrpsee::ConnectionId(0);
    let response = match callback {
        MethodCallback::Async(method) => {
            let called = method(id.clone(), params, connection, MAX_ANSWER, extensions);
            AssertUnwindSafe(called).catch_unwind().await
        }
        MethodCallback::Sync(method) => Ok(method(id.clone(), params, MAX_ANSWER, extensions)),
        // Ours are methods like others: see `events`.
        MethodCallback::Subscription(_) | MethodCallback::Unsubscription(_) => {
            return (Some(error_line(id, error::no_method("subscriptions"))), (None, None));
        }
    };
    let line = match &response {
        Ok(response) => with_result(response.as_json(), call.result.get()),
        Err(_) => {
            error!(request = %call.request, "a handler panicked");
            error_line(id, error::internal("a handler panicked").named(&call.request.to_string()))
        }
    };
    let subscribed = call.subscribed.lock().take();
    ((!is_notification).then_some(line), (call.granted.get().copied(), subscribed))
}

/// Puts a method's result in its place in jsonrpsee's answer.
fn with_result(answer: &RawValue, result: Option<&Vec<u8>>) -> Vec<u8> {
    let answer = answer.get().as_bytes();
    match (answer.strip_suffix(b"null}"), result) {
        (Some(head), Some(result)) => [head, result, b"}"].concat(),
        _ => answer.to_vec(),
    }
}

/// An error as an answer, without its line ending.
pub(super) fn error_line(id: Id<'_>, problem: WireError) -> Vec<u8> {
    MethodResponse::error(id, ErrorObjectOwned::from(problem)).as_json().get().into()
}

#[cfg(test)]
mod tests;
