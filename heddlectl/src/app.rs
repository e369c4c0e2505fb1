//! What every command works with: the output, the environment, the way to the daemon, the repository.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use proto_schema::PathText;
use serde::Serialize;

use crate::client::connector::Connector;
use crate::client::patience::Patience;
use crate::client::{Answer, CallError, Client};
use crate::env::Env;
use crate::error::Error;
use crate::exit::Exit;
use crate::global::Global;
use crate::output::{Output, problem, text};
use crate::paths::Paths;
use crate::worktree::Worktree;

/// One run of the program.
pub(crate) struct App {
    /// Where to print.
    pub(crate) out: Output,
    /// The way to the daemon.
    pub(crate) connector: Connector,
    /// Where the repository is looked for, or why that cannot be told.
    directory: io::Result<PathBuf>,
    /// Whether the command line names it.
    says_where: bool,
}

impl App {
    /// Prepares a run.
    pub(crate) fn new(global: &Global, out: Output, env: Env) -> Result<Self, Error> {
        let uid = nix::unistd::geteuid().as_raw();
        let paths = Paths::find(&env, global.socket.as_deref(), uid)?;
        let directory = match &global.repo {
            Some(path) => Ok(std::path::absolute(path).map_err(|cause| Error::io("find", path, &cause))?),
            // It may have been removed, and not every command needs it.
            None => std::env::current_dir(),
        };
        let says_where = global.repo.is_some();
        Ok(Self {
            out,
            connector: Connector { paths, env, uid, patience: Patience::default(), told: Arc::default() },
            directory,
            says_where,
        })
    }

    /// The environment.
    pub(crate) fn env(&self) -> &Env {
        &self.connector.env
    }

    /// Where the repository is: `--repo`, else the current directory.
    pub(crate) fn repo(&self) -> Result<PathText, Error> {
        let directory = self.directory.as_ref().map_err(|cause| {
            Error::local(Exit::IO, format!("cannot tell the current directory: {cause}"))
                .hint("go to one that is there, or use --repo")
        })?;
        let text = directory.to_str().ok_or_else(|| {
            Error::usage(format!("the path is not UTF-8: {}", directory.display()))
                .hint("use --repo with a path that is, a symbolic link perhaps")
        })?;
        text.parse().map_err(|error| Error::usage(format!("cannot use the path {}: {error}", text.escape_debug())))
    }

    /// The top of the worktree that we are in.
    pub(crate) fn worktree(&self) -> Option<PathBuf> {
        self.here().map(|worktree| worktree.top)
    }

    /// The worktree that we are in.
    pub(crate) fn here(&self) -> Option<Worktree> {
        Worktree::containing(self.directory.as_ref().ok()?)
    }

    /// Whether somebody meant a repository: by standing in a worktree, or by saying where one is.
    pub(crate) fn is_in_repository(&self) -> bool {
        self.says_where || self.here().is_some()
    }

    /// A connection; the daemon is started if need be.
    pub(crate) fn connect(&self) -> Result<Client, Error> {
        self.connector.connect()
    }

    /// Calls a method on this connection.
    pub(crate) fn call<P: Serialize>(&self, client: &mut Client, method: &str, params: &P) -> Result<Answer, Error> {
        let answer = client.call(method, params);
        self.tell_skew(client);
        Ok(answer?)
    }

    /// Calls a method that may be repeated: once more, on a new connection, when the first is lost.
    pub(crate) fn repeatable<P: Serialize>(
        &self,
        client: &mut Client,
        method: &str,
        params: &P,
    ) -> Result<Answer, Error> {
        let answer = client.call(method, params);
        self.tell_skew(client);
        match answer {
            Err(CallError::Broken(_)) => {
                *client = self.connect()?;
                self.call(client, method, params)
            }
            answer => Ok(answer?),
        }
    }

    /// Connects and calls a method that may be repeated.
    pub(crate) fn ask<P: Serialize>(&self, method: &str, params: &P) -> Result<Answer, Error> {
        self.repeatable(&mut self.connect()?, method, params)
    }

    /// Warns of a daemon of another version, once.
    pub(crate) fn tell_skew(&self, client: &mut Client) {
        if let Some(skew) = self.connector.take_skew(client) {
            self.out.warn(&skew);
        }
    }

    /// Tells an error on stderr as a warning, with its facts.
    pub(crate) fn warn_of(&self, what: &str, error: &Error) {
        if !self.out.quiet {
            let report = problem::render(&error.report(), text::WRAP);
            self.out.warn(&format!("{what}:\n{}", anstream::adapter::strip_str(&report)));
        }
    }
}
