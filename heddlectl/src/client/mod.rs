//! A plain blocking client: one connection, one line out, one line back.
//!
//! The first call on a connection carries `daemon.hello` with it, in the same write, so that a daemon of another version
//! is noticed without another round trip.

pub(crate) mod connector;
mod hello;
pub(crate) mod peer;
pub(crate) mod start;

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto_schema::{ErrorObject, Kind, Request, SubscriptionId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, Refused};
use crate::exit::Exit;

/// How long one answer may take, the time that the caller asked to wait not counted.
pub(crate) const ANSWER: Duration = Duration::from_secs(60);

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
    /// Something lasts as long as this connection, so that another one cannot take its place.
    is_tied: bool,
}

impl Client {
    /// Opens a connection, once it is sure that the socket is the user's own daemon's.
    pub(crate) fn open(socket: &Path, uid: u32) -> Result<Self, peer::OpenError> {
        let stream = peer::connect(socket, uid)?;
        Ok(Self::over(stream, socket, uid))
    }

    /// On a connection whose peer was looked at.
    pub(crate) fn over(stream: UnixStream, socket: &Path, uid: u32) -> Self {
        Self { reader: BufReader::new(stream), socket: socket.to_path_buf(), calls: 0, skew: None, uid, is_tied: false }
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
        self.call_within(method, params, patience(method))
    }

    /// Calls a method whose answer may take this long.
    ///
    /// A daemon that is replaced closes its connections. What it certainly has not read is asked again of the next one, whose
    /// socket is there already where a service manager keeps it.
    pub(crate) fn call_within<P: Serialize>(
        &mut self,
        method: &str,
        params: &P,
        time: Duration,
    ) -> Result<Answer, CallError> {
        let answer = match self.attempt(method, params, time) {
            Err(CallError::Broken(cause)) if is_unread(&cause) && !self.is_tied => {
                match peer::connect(&self.socket, self.uid) {
                    Ok(stream) => {
                        (self.reader, self.calls) = (BufReader::new(stream), 0);
                        self.attempt(method, params, time)
                    }
                    Err(_) => Err(CallError::Broken(cause)),
                }
            }
            answer => answer,
        };
        self.is_tied |= answer.is_ok() && matches!(method, "agent.reserve" | "agent.resume" | "events.subscribe");
        answer
    }

    fn attempt<P: Serialize>(&mut self, method: &str, params: &P, time: Duration) -> Result<Answer, CallError> {
        let first = self.calls == 0;
        self.calls += 1;
        let id = self.calls;
        let mut message = Vec::with_capacity(512);
        if first {
            write_call(&mut message, 0, "daemon.hello", &hello::params()?)?;
        }
        write_call(&mut message, id, method, params)?;
        let stream = self.reader.get_mut();
        stream.set_read_timeout(Some(time)).map_err(CallError::Broken)?;
        // The daemon may have answered and hung up before it read everything; its last words are worth reading.
        let sent = stream.write_all(&message);
        match (self.answer(id, time), sent) {
            (Err(CallError::Broken(_)), Err(cause)) => Err(CallError::Broken(cause)),
            (answer, _) => answer,
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

    fn answer(&mut self, id: u64, time: Duration) -> Result<Answer, CallError> {
        let mut bytes = Vec::with_capacity(2048);
        let mut hello_refused = None;
        loop {
            bytes.clear();
            match self.reader.read_until(b'\n', &mut bytes) {
                Ok(0) => return Err(CallError::Broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(cause) if matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    let error = Error::local(
                        Exit::UNREACHABLE,
                        format!("the daemon did not answer within {} s", time.as_secs()),
                    );
                    let error = error.fact("the call may or may not have been executed");
                    return Err(CallError::Failed(error.command("heddlectl doctor")));
                }
                Err(cause) => return Err(CallError::Broken(cause)),
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

/// How long a method may take. What is answered from memory is answered soon or not at all, and a hook waits for it.
fn patience(method: &str) -> Duration {
    const SOON: Duration = Duration::from_secs(5);
    let is_quick = method.starts_with("daemon.") || matches!(method, "agent.validate" | "agent.show");
    if is_quick { SOON } else { ANSWER }
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

#[cfg(test)]
mod tests;
