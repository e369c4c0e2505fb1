//! Finds the running daemon, and starts one where there is none and that is allowed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;

use super::lock_holder::LockHolder;
use super::patience::Patience;
use super::peer::OpenError;
use super::{Client, start};
use crate::clock;
use crate::env::Env;
use crate::error::Error;
use crate::exit::Exit;
use crate::files;
use crate::tokens::Tokens;

/// How long a running daemon whose socket is gone may take to bind it again: it looks once a second.
pub(crate) const REBIND: Duration = Duration::from_secs(2);

/// How often its socket is looked for meanwhile.
const LOOK: Duration = Duration::from_millis(3);
use crate::paths::Paths;

/// Variables by which a sandbox shows itself. A daemon started inside would hold the lock and serve nobody.
pub(crate) const SANDBOX: &[&str] = &["CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED"];

/// What the running daemon writes into the file that it holds locked.
#[derive(Deserialize)]
struct LockFile {
    pid: Option<u32>,
    socket: PathBuf,
}

/// How to get a connection.
#[derive(Clone)]
pub(crate) struct Connector {
    /// Where things are.
    pub(crate) paths: Paths,
    /// The environment.
    pub(crate) env: Env,
    /// Who we are.
    pub(crate) uid: u32,
    /// How long it may take to answer.
    pub(crate) patience: Patience,
    /// What was told of the daemon's version.
    pub(crate) told: Arc<Mutex<Option<String>>>,
}

impl Connector {
    /// What is to be told of the version of the daemon at the other end, if it has not been told: one that is started again is
    /// no news.
    pub(crate) fn take_skew(&self, client: &mut Client) -> Option<String> {
        let skew = client.take_skew()?;
        let mut told = self.told.lock().ok()?;
        let is_news = told.as_ref() != Some(&skew);
        told.replace(skew.clone());
        is_news.then_some(skew)
    }

    /// A connection to the daemon, which is started if need be.
    pub(crate) fn connect(&self) -> Result<Client, Error> {
        match self.running()? {
            Some(client) => Ok(client),
            None if self.starts_by_itself() => self.start(),
            None => Err(self.not_running()),
        }
    }

    /// Starts a daemon, even where starting by itself is forbidden; not in a sandbox.
    pub(crate) fn start(&self) -> Result<Client, Error> {
        if let Some(marker) = self.sandbox() {
            return Err(self
                .absent()
                .fact(format!("{marker} is set: a daemon started inside a sandbox would serve nobody outside of it"))
                .hint("start the daemon outside of the sandbox")
                .command("heddlectl daemon start"));
        }
        match self.elsewhere() {
            Some(error) => Err(error),
            None => start::start(self),
        }
    }

    /// The error of those who named another socket than that of our daemon, which runs: no second one can start beside it.
    fn elsewhere(&self) -> Option<Error> {
        let other = self.recorded_socket().filter(|socket| self.paths.named && *socket != self.paths.socket)?;
        // One that cannot be asked is as good as none here.
        self.open(&other).ok().flatten()?;
        let other = other.display().to_string();
        let error = self.absent().fact(format!("your daemon is running, and listens on {other}"));
        let command = shell_words::join(["heddlectl", "--socket", &other, "status"]);
        Some(error.hint("name that socket, or none").command(command))
    }

    /// A connection to the daemon if one is running. One whose socket is gone is given the time to bind it again.
    pub(crate) fn running(&self) -> Result<Option<Client>, Error> {
        let deadline = clock::now() + REBIND;
        loop {
            let client = self.listening()?;
            if client.is_some() || clock::now() >= deadline || !self.is_expected_to_listen() {
                return Ok(client);
            }
            clock::pause(LOOK);
        }
    }

    /// Whether a daemon runs that should listen where we look.
    fn is_expected_to_listen(&self) -> bool {
        let listens_here = !self.paths.named || self.recorded_socket().as_ref() == Some(&self.paths.socket);
        listens_here && self.lock_holder().is_some_and(|holder| !holder.is_suspended())
    }

    /// The process that holds the lock of the state directory, reachable or not.
    pub(crate) fn lock_holder(&self) -> Option<LockHolder> {
        LockHolder::of(&self.paths.lock(), self.recorded_pid()?)
    }

    fn listening(&self) -> Result<Option<Client>, Error> {
        if let Some(client) = self.open(&self.paths.socket)? {
            return Ok(Some(client));
        }
        if self.paths.named {
            return Ok(None);
        }
        // Started from another environment (ssh and cron have no XDG_RUNTIME_DIR) it listens elsewhere.
        match self.recorded_socket() {
            Some(socket) if socket != self.paths.socket => self.open(&socket),
            Some(_) | None => Ok(None),
        }
    }

    /// Whether a command that needs the daemon may start it.
    pub(crate) fn starts_by_itself(&self) -> bool {
        !self.env.flag("HEDDLE_NO_AUTOSTART")
    }

    /// The error of those who do not start the daemon, with what does.
    pub(crate) fn not_running(&self) -> Error {
        if let Some(error) = self.elsewhere() {
            return error;
        }
        if let Some(holder) = self.lock_holder() {
            return self.unreachable(holder);
        }
        let error = if self.starts_by_itself() {
            self.absent().hint("any command that needs it starts it")
        } else {
            self.absent().fact("HEDDLE_NO_AUTOSTART is set")
        };
        error.command("heddlectl daemon start")
    }

    /// The error of a daemon that runs, and whose socket is not there.
    pub(crate) fn unreachable(&self, holder: LockHolder) -> Error {
        let socket = self.recorded_socket().unwrap_or_else(|| self.paths.socket.clone());
        let what = format!("the daemon is running as pid {}, but nothing listens on {}", holder.pid, socket.display());
        let error = Error::local(Exit::UNREACHABLE, what);
        if holder.is_suspended() {
            return holder.tell_suspended(error);
        }
        error
            .hint("it is starting or stopping, or it cannot bind its socket: its log says which")
            .command("heddlectl daemon logs")
            .command("heddlectl daemon stop")
    }

    /// Opens one socket; none when nobody listens there.
    pub(crate) fn open(&self, socket: &Path) -> Result<Option<Client>, Error> {
        match Client::open(socket, self.uid, &self.patience) {
            Ok(client) => Ok(Some(client)),
            Err(OpenError::Absent) => Ok(None),
            Err(OpenError::Denied(cause)) => Err(self.denied(socket, &cause)),
            Err(OpenError::Failed(error)) => Err(error),
        }
    }

    /// The error of a daemon that is not there.
    pub(crate) fn absent(&self) -> Error {
        let socket = &self.paths.socket;
        let error = Error::local(Exit::UNREACHABLE, format!("no daemon is listening on {}", socket.display()));
        match socket.parent().filter(|directory| self.paths.named && !directory.exists()) {
            Some(missing) => error.fact(format!("there is no directory {}", missing.display())),
            None => error,
        }
    }

    fn denied(&self, socket: &Path, cause: &io::Error) -> Error {
        let error = Error::local(Exit::UNREACHABLE, format!("not allowed to connect to {}: {cause}", socket.display()));
        let error = match self.sandbox() {
            Some(marker) => error.fact(format!("{marker} is set: this is a sandbox")),
            None => error.fact("a sandbox may forbid it, or the directory is another user's"),
        };
        error
            .hint("allow the sandbox to use this socket, and have the daemon started outside of it")
            .command("heddlectl daemon start")
    }

    fn sandbox(&self) -> Option<&'static str> {
        SANDBOX.iter().copied().find(|marker| self.env.flag(marker))
    }

    /// The token files of the daemon at the other end.
    pub(crate) fn tokens(&self, client: &Client) -> Tokens {
        Tokens::of_daemon(&self.paths.state, client.socket(), self.uid)
    }

    fn recorded_socket(&self) -> Option<PathBuf> {
        self.record().map(|lock| lock.socket).filter(|socket| socket.is_absolute())
    }

    /// The pid of the daemon that wrote itself down last. It may have been killed since.
    pub(crate) fn recorded_pid(&self) -> Option<u32> {
        self.record()?.pid
    }

    fn record(&self) -> Option<LockFile> {
        let text = files::read_text(&self.paths.lock()).ok()?;
        serde_json::from_str(text.lines().next()?).ok()
    }
}
