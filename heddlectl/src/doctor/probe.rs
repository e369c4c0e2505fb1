//! Asks the daemon how it does, in bounded time, and tells the ways apart in which that fails.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use proto_schema::{Health, Info, NoParams};

use super::bounded::DAEMON;
use crate::client::peer::{self, OpenError};
use crate::client::{Answer, CallError, Client};
use crate::error::Error;
use crate::exit::Exit;

/// What became of the attempt to ask.
#[derive(Debug)]
pub(crate) enum Reach {
    /// There is no socket.
    Absent,
    /// Its service listens for it: whoever connects starts it.
    Idle,
    /// There is one, and nobody listens.
    Stale,
    /// The system does not let us connect.
    Denied(io::Error),
    /// Its directory is not one to send anything into.
    Unsafe(String),
    /// Another user's process listens.
    Foreign(u32),
    /// It listens, and does not answer in time; its pid, where we can see it.
    Silent(Option<i32>),
    /// It answers something else than a daemon of this protocol does.
    Strange(String),
    /// It answers.
    Answers(Box<Daemon>),
}

/// A daemon that answers.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// Where it was reached.
    pub(crate) socket: PathBuf,
    /// What it says of itself.
    pub(crate) info: Info,
    /// How it does.
    pub(crate) health: Health,
    /// Its pid in our pid namespace, where it has one there.
    pub(crate) pid: Option<i32>,
    /// What is to be said of its version.
    pub(crate) skew: Option<String>,
}

/// Asks the daemon that listens there.
pub(crate) fn ask(path: &Path, uid: u32) -> Reach {
    match peer::check_directory(path, uid) {
        Ok(()) => {}
        Err(OpenError::Absent) => return Reach::Absent,
        Err(OpenError::Denied(cause)) => return Reach::Denied(cause),
        Err(OpenError::Failed(error)) => return Reach::Unsafe(facts(&error)),
    }
    let stream = match peer::open(path) {
        Ok(stream) => stream,
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Reach::Absent,
        Err(Errno::ECONNREFUSED) => return Reach::Stale,
        Err(cause @ (Errno::EACCES | Errno::EPERM)) => return Reach::Denied(cause.into()),
        // Its queue is full: it has not accepted for a while.
        Err(Errno::EAGAIN | Errno::EINPROGRESS) => return Reach::Silent(None),
        Err(cause) => return Reach::Strange(format!("cannot connect: {}", cause.desc())),
    };
    match peer::peer_uid(&stream) {
        Ok(peer) if peer == uid => {}
        Ok(peer) => return Reach::Foreign(peer),
        Err(cause) => return Reach::Strange(format!("cannot tell who listens: {cause}")),
    }
    let pid = peer::pid(&stream);
    let mut client = Client::over(stream, path, uid);
    let asked = call::<Info>(&mut client, "daemon.info")
        .and_then(|info| Ok((info, call::<Health>(&mut client, "daemon.health")?)));
    match asked {
        Ok((info, health)) => {
            let skew = client.take_skew();
            Reach::Answers(Box::new(Daemon { socket: path.to_owned(), info, health, pid, skew }))
        }
        Err(Asked::Late) => Reach::Silent(pid),
        Err(Asked::Strange(why)) => Reach::Strange(why),
    }
}

enum Asked {
    Late,
    Strange(String),
}

fn call<T: serde::de::DeserializeOwned>(client: &mut Client, method: &str) -> Result<T, Asked> {
    let answer = client.call_within(method, &NoParams {}, DAEMON);
    let read = answer.map_err(|error| match error {
        // The one failure of this side that is of the daemon's making: no answer in time.
        CallError::Failed(error @ Error::Local(_)) if error.exit() == Exit::UNREACHABLE => Asked::Late,
        CallError::Failed(error) => Asked::Strange(facts(&error)),
        CallError::Broken(cause) => Asked::Strange(format!("the connection was lost: {cause}")),
    })?;
    Answer::read(&read).map_err(|error| Asked::Strange(facts(&error)))
}

/// Another connection to a daemon that has answered.
pub(crate) fn again(daemon: &Daemon, uid: u32) -> Option<Client> {
    Some(Client::over(peer::open(&daemon.socket).ok()?, &daemon.socket, uid))
}

/// What an error says, in one line.
pub(crate) fn facts(error: &Error) -> String {
    let report = error.report();
    let facts = report.facts.iter().map(|(_, fact)| *fact);
    std::iter::once(report.message).chain(facts).collect::<Vec<_>>().join("; ")
}
