//! A plain blocking client: one connection, one line out, one line back.
//!
//! The first call on a connection carries `daemon.hello` with it, in the same write, so that a daemon of another version
//! is noticed without another round trip.

pub(crate) mod connector;
mod hello;
pub(crate) mod lock_holder;
pub(crate) mod patience;
pub(crate) mod peer;
pub(crate) mod start;

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lock_holder::LockHolder;
use patience::Patience;
use proto_schema::{ErrorObject, Kind, Request, SubscriptionId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock;
use crate::error::{Error, Refused};
use crate::exit::Exit;

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The connection was lost before the answer: the call may or may not have been executed.
    Broken(io::Error),
    /// Everything else, the daemon's "no" included.
    Failed(Error),
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Broken(cause) => Self::local(Exit::UNREACHABLE, "the connection to the daemon was lost")
                .fact(format!("{cause}; the call may or may not have been executed"))
                .command("heddlectl doctor"),
            CallError::Failed(error) => error,
        }
    }
}

/// A result as it was on the wire.
///
/// It may be a reservation with its token, so `Debug` hides it.
#[derive(PartialEq)]
pub(crate) struct Answer(pub(crate) String);

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer(..)")
    }
}

impl Answer {
    /// Reads it as its type.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(&self.0).map_err(Error::garbled)
    }
}

/// One line from the daemon.
#[derive(Deserialize)]
struct Line<'a> {
    /// Which call it answers; absent in notifications, null where the daemon could not read the call.
    id: Option<u64>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// A line that the daemon sends by itself.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    params: Option<ToldParams<'a>>,
}

#[derive(Deserialize)]
struct ToldParams<'a> {
    subscription: SubscriptionId,
    #[serde(borrow)]
    result: &'a RawValue,
}

/// One connection to the daemon.
pub(crate) struct Client {
    reader: BufReader<UnixStream>,
    socket: PathBuf,
    calls: u64,
    skew: Option<String>,
    uid: u32,
    patience: Patience,
    /// Something lasts as long as this connection, so that another one cannot take its place.
    is_tied: bool,
}

impl Client {
    /// Opens a connection, once it is sure that the socket is the user's own daemon's.
    pub(crate) fn open(socket: &Path, uid: u32, patience: &Patience) -> Result<Self, peer::OpenError> {
        let stream = peer::connect(socket, uid, patience.of_connect())?;
        Ok(Self { patience: patience.clone(), ..Self::over(stream, socket, uid) })
    }

    /// On a connection whose peer was looked at.
    pub(crate) fn over(stream: UnixStream, socket: &Path, uid: u32) -> Self {
        let (reader, socket) = (BufReader::new(stream), socket.to_path_buf());
        Self { reader, socket, calls: 0, skew: None, uid, patience: Patience::default(), is_tied: false }
    }

    /// The daemon's pid as we see it; none where it is not in our pid namespace.
    pub(crate) fn peer_pid(&self) -> Option<i32> {
        peer::pid(self.reader.get_ref())
    }

    /// The socket it is connected to.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// What is to be said of the daemon's version, once.
    pub(crate) fn take_skew(&mut self) -> Option<String> {
        self.skew.take()
    }

    /// Calls a method and gives its result as it came.
    pub(crate) fn call<P: Serialize>(&mut self, method: &str, params: &P) -> Result<Answer, CallError> {
        let time = self.patience.of(method);
        self.call_until(method, params, Wait { time, is_announced: true })
    }

    /// Calls a method whose answer may take this long.
    pub(crate) fn call_within<P: Serialize>(
        &mut self,
        method: &str,
        params: &P,
        time: Duration,
    ) -> Result<Answer, CallError> {
        self.call_until(method, params, Wait { time, is_announced: true })
    }

    /// The same, where the caller knows that it waits, and for what.
    pub(crate) fn call_queued<P: Serialize>(
        &mut self,
        method: &str,
        params: &P,
        time: Duration,
    ) -> Result<Answer, CallError> {
        self.call_until(method, params, Wait { time, is_announced: false })
    }

    /// A daemon that is replaced closes its connections. What it certainly has not read is asked again of the next one, whose
    /// socket is there already where a service manager keeps it.
    fn call_until<P: Serialize>(&mut self, method: &str, params: &P, wait: Wait) -> Result<Answer, CallError> {
        let answer = match self.attempt(method, params, wait) {
            Err(CallError::Broken(cause)) if is_unread(&cause) && !self.is_tied => {
                match peer::connect(&self.socket, self.uid, self.patience.of_connect()) {
                    Ok(stream) => {
                        (self.reader, self.calls) = (BufReader::new(stream), 0);
                        self.attempt(method, params, wait)
                    }
                    Err(_) => Err(CallError::Broken(cause)),
                }
            }
            answer => answer,
        };
        self.is_tied |= answer.is_ok() && matches!(method, "agent.reserve" | "agent.resume" | "events.subscribe");
        answer
    }

    fn attempt<P: Serialize>(&mut self, method: &str, params: &P, wait: Wait) -> Result<Answer, CallError> {
        let first = self.calls == 0;
        self.calls += 1;
        let id = self.calls;
        let mut message = Vec::with_capacity(512);
        if first {
            write_call(&mut message, 0, "daemon.hello", &hello::params()?)?;
        }
        write_call(&mut message, id, method, params)?;
        let stream = self.reader.get_mut();
        stream.set_write_timeout(Some(wait.time)).map_err(CallError::Broken)?;
        // The daemon may have answered and hung up before it read everything; its last words are worth reading.
        let sent = stream.write_all(&message);
        if sent.as_ref().is_err_and(is_timeout) {
            return Err(CallError::Failed(self.late(method, wait.time)));
        }
        match (self.answer(id, method, wait), sent) {
            (Err(CallError::Broken(_)), Err(cause)) => Err(CallError::Broken(cause)),
            (answer, _) => answer,
        }
    }

    /// Reads one line, or what there is of it where the connection ends. Times out at the deadline, however slowly bytes come.
    fn read_line(&mut self, line: &mut Vec<u8>, deadline: Instant, method: &str, wait: Wait) -> Result<(), CallError> {
        let announced_at = deadline.checked_sub(wait.time.saturating_sub(patience::SILENCE));
        let mut is_silent = wait.is_announced && wait.time > patience::SILENCE;
        loop {
            let until = announced_at.filter(|_| is_silent).unwrap_or(deadline);
            let left = until.saturating_duration_since(clock::now());
            let stream = self.reader.get_ref();
            // A timeout of zero would be none.
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).map_err(CallError::Broken)?;
            let (used, is_whole) = match self.reader.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(bytes) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
                    let used = end.unwrap_or(bytes.len());
                    line.extend_from_slice(&bytes[..used]);
                    (used, end.is_some())
                }
                Err(cause) if is_timeout(&cause) && is_silent => {
                    is_silent = false;
                    self.patience.announce(method, wait.time);
                    continue;
                }
                Err(cause) if is_timeout(&cause) => return Err(CallError::Failed(self.late(method, wait.time))),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(CallError::Broken(cause)),
            };
            self.reader.consume(used);
            if is_whole {
                return Ok(());
            }
            if clock::now() >= deadline {
                return Err(CallError::Failed(self.late(method, wait.time)));
            }
        }
    }

    /// The error of a daemon that did not answer in time, with the reason where the system knows it.
    fn late(&self, method: &str, time: Duration) -> Error {
        let error =
            Error::local(Exit::UNREACHABLE, format!("the daemon did not answer {method} within {}", seconds(time)));
        let error = error.fact("the call may or may not have been executed");
        let holder = self.peer_pid().map(|pid| LockHolder { pid });
        match holder.filter(|holder| holder.is_suspended()) {
            Some(holder) => holder.tell_suspended(error),
            None => error.command("heddlectl doctor"),
        }
    }

    /// The next event of a subscription, as it came. Where none is there, `wait` waits until there is input.
    pub(crate) fn event(
        &mut self,
        subscription: &SubscriptionId,
        wait: impl Fn(BorrowedFd<'_>) -> Result<(), Error>,
    ) -> Result<Answer, CallError> {
        self.reader.get_ref().set_read_timeout(None).map_err(CallError::Broken)?;
        let mut bytes = Vec::with_capacity(1024);
        loop {
            bytes.clear();
            if self.reader.buffer().is_empty() {
                wait(self.reader.get_ref().as_fd()).map_err(CallError::Failed)?;
            }
            self.reader.read_until(b'\n', &mut bytes).map_err(CallError::Broken)?;
            if !bytes.ends_with(b"\n") {
                // What was cut short is told again after the revision before it.
                return Err(CallError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let told: Told<'_> =
                serde_json::from_slice(&bytes).map_err(|error| CallError::Failed(Error::garbled(error)))?;
            if let Some(params) = told.params.filter(|params| params.subscription == *subscription) {
                return Ok(Answer(params.result.get().to_owned()));
            }
        }
    }

    fn answer(&mut self, id: u64, method: &str, wait: Wait) -> Result<Answer, CallError> {
        let mut bytes = Vec::with_capacity(2048);
        let mut hello_refused = None;
        let deadline = clock::now() + wait.time;
        loop {
            bytes.clear();
            self.read_line(&mut bytes, deadline, method, wait)?;
            if bytes.is_empty() {
                return Err(CallError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let line: Line<'_> = serde_json::from_slice(&bytes).map_err(|error| {
                // A line cut short by a lost connection is no JSON either.
                if bytes.ends_with(b"\n") {
                    CallError::Failed(Error::garbled(error))
                } else {
                    CallError::Broken(io::ErrorKind::UnexpectedEof.into())
                }
            })?;
            match (line.id, line.result, line.error) {
                (Some(0), Some(result), _) => self.skew = hello::skew(result.get(), self.reader.get_ref()),
                // What was asked may have been done all the same, so its own answer is waited for.
                (Some(0), None, Some(error)) => match refused(error.get()) {
                    error if error.kind() == Some(Kind::ProtocolUnsupported) => {
                        self.skew = Some(error.report().message.to_owned());
                        hello_refused = Some(error);
                    }
                    // It does not know of hellos, or not of ours: that is no reason why a call fails.
                    _ => self.skew = Some(hello::without_hello()),
                },
                (Some(answered), Some(result), _) if answered == id => return Ok(Answer(result.get().to_owned())),
                // An error without an id is about what we sent last: it could not be read, or is over a limit.
                (answered, _, Some(error)) if answered.is_none_or(|answered| answered == id) => {
                    if hello_refused.is_some() {
                        // It is told by the error.
                        self.skew = None;
                    }
                    return Err(CallError::Failed(hello_refused.unwrap_or_else(|| refused(error.get()))));
                }
                _ => {}
            }
        }
    }
}

/// How long an answer is waited for, and whether a long wait is announced.
#[derive(Clone, Copy)]
struct Wait {
    time: Duration,
    is_announced: bool,
}

fn is_timeout(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Whether a lost connection says that the daemon has not read the call: the kernel resets it then, or does not take it.
///
/// Only where the kernel is known to do that, and because a call is the last thing that was sent.
fn is_unread(cause: &io::Error) -> bool {
    cfg!(target_os = "linux") && matches!(cause.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

fn refused(wire: &str) -> Error {
    match serde_json::from_str::<ErrorObject>(wire) {
        Ok(object) => Error::Refused(Box::new(Refused { object, wire: wire.to_owned() })),
        // A kind that this version does not know still has its number and its sentence.
        Err(_) => match serde_json::from_str::<Bare>(wire) {
            Ok(Bare { code, message }) => {
                let object = ErrorObject { code, message, data: None };
                Error::Refused(Box::new(Refused { object, wire: wire.to_owned() }))
            }
            Err(error) => Error::garbled(error),
        },
    }
}

/// The least that every JSON-RPC error has.
#[derive(Deserialize)]
struct Bare {
    code: i32,
    message: String,
}

fn write_call<P: Serialize>(message: &mut Vec<u8>, id: u64, method: &str, params: &P) -> Result<(), CallError> {
    serde_json::to_writer(&mut *message, &Request::new(id, method, params)).map_err(|error| {
        CallError::Failed(Error::local(Exit::UNEXPECTED, format!("cannot write the call: {error}")))
    })?;
    message.push(b'\n');
    Ok(())
}

/// A length of time for people: `60 s`, `2.5 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{} s", time.as_millis() as f64 / 1000.0)
}

#[cfg(test)]
mod tests;
