//! `heddlectl run`: a command that holds a thread as long as it lives.
//!
//! CMD's process is there first, waiting; the reservation is held for it, not for us; then CMD starts. So the thread
//! stays held while CMD lives, whatever becomes of us, and is free the moment it is gone.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use clap::Args;
use proto_schema::{EndReason, Kind, ReleaseParams, ReleaseStatus, Reservation};

use super::reserve::What;
use crate::app::App;
use crate::client::Client;
use crate::error::Error;
use crate::exit::Exit;
use crate::grant::{self, Granted};
use crate::probe;
use crate::run::first;
use crate::run::gate::{self, Gated};
use crate::run::release::{self, Waiting};
use crate::run::signals::Signals;
use crate::run::supervise::{Ended, supervise};
use crate::run::watch::{self, Lost, Watched};

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  heddlectl run --thread fix-login --worktree -- claude
  heddlectl run --thread fix-login --worktree -- codex exec 'fix the login'
  heddlectl run --thread fix-login --wait 1h -- make check

With --worktree the command runs in the thread's own worktree. Without it, it
runs right here, and its commits land on whatever branch is checked out. The
worktree and the branch stay when the command ends.

`run` exits with the command's own code, 127 if there is no such command, 126
if it cannot be run. The session ends as complete after code 0, otherwise as
abandoned. If the session is lost, the command gets TERM, and KILL 10 s later.";

/// Arguments of `run`.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The thread: a branch, which is created if it does not exist
    #[arg(long, short, value_name = "NAME")]
    thread: String,
    #[command(flatten)]
    what: What,
    /// The command, and its arguments
    #[arg(value_name = "CMD", required = true, last = true)]
    command: Vec<OsString>,
}

impl Run {
    /// Runs the command.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        if first::is_first() {
            return first::run(std::env::args_os().skip(1));
        }
        let program = self.command.first().ok_or_else(|| Error::usage("there is no command to run"))?;
        if !gate::exists(program, app.env().os("PATH")) {
            let name = Path::new(program).display();
            return Err(Error::local(Exit::NOT_FOUND, format!("there is no command {name}"))
                .fact("nothing was reserved")
                .hint("check its name and your PATH, or give its whole path"));
        }
        let gated = Gated::spawn(&self.command)?;
        match self.reserve(app, gated.pid()) {
            Ok((client, granted)) => self.hold(app, gated, client, &granted),
            Err(error) => {
                gated.close();
                Err(error)
            }
        }
    }

    fn reserve(&self, app: &App, pid: i32) -> Result<(Client, Granted), Error> {
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let program = self.command.first().map(OsString::as_os_str);
        let found = probe::look(&self.what.agent, app.env(), program, Path::new("/proc"), own);
        let mut params = self.what.params(app, &self.thread)?;
        found.fill(&mut params);
        params.at_tip = Some(true);
        params.hold_for_pid = Some(pid);
        match grant::obtain(app, params.clone()) {
            Err(error) if is_of_other_namespace(&error) => {
                // As in a container that shares the socket with its host: this process keeps its connection as long as it lives.
                app.out.note(
                    "heddlectl: the daemon is in another pid namespace and cannot watch the command: the thread is held by \
                     this process's connection",
                );
                params.hold_for_pid = None;
                params.hold_connection = Some(true);
                grant::obtain(app, params)
            }
            granted => granted,
        }
    }

    /// Opens the gate, waits for the command, gives the session back.
    fn hold(&self, app: &App, gated: Gated, client: Client, granted: &Granted) -> Result<Exit, Error> {
        let reservation = granted.reservation();
        self.tell(app, reservation);
        let ended = self.start(app, gated, client, granted);
        const KEPT: &str = "the session was not given back; the daemon ends it, for its process is gone";
        match &ended {
            // What could not even be started.
            Err(_) => release(app, granted, ReleaseStatus::Abandoned),
            Ok(Ended { lost: Some(_), .. } | Ended { released: Some(Ok(())), .. }) => {}
            // The daemon sees the process end too, and may have been first.
            Ok(Ended { released: Some(Err(error)), .. }) if error.kind() == Some(Kind::AgentSessionInactive) => {}
            Ok(Ended { released: Some(Err(error)), .. }) => app.warn_of(KEPT, error),
            Ok(Ended { released: None, .. }) => app.out.warn(KEPT),
        }
        Ok(exit_code(ended?.status))
    }

    fn start(&self, app: &App, gated: Gated, client: Client, granted: &Granted) -> Result<Ended, Error> {
        let failed = |cause| Error::local(Exit::UNEXPECTED, format!("cannot run the command: {cause}"));
        let reservation = granted.reservation();
        let environment = [
            ("HEDDLE_SESSION", reservation.session_id.to_string().into()),
            ("HEDDLE_THREAD", reservation.thread.to_string().into()),
            ("HEDDLE_REPO", reservation.repo.to_string().into()),
            ("HEDDLE_SOCKET", client.socket().as_os_str().to_os_string()),
        ];
        let directory = reservation.path.as_deref().filter(|_| self.what.has_worktree()).map(PathBuf::from);
        // From here on signals are CMD's business; until here Ctrl-C ends us, and the gate with us.
        let signals = Signals::block().map_err(failed)?;
        let by_connection = reservation.hold.connection;
        // Where the daemon does not see the command itself, it must not outlive what the daemon sees.
        let child = gated.open(&environment, directory.as_deref(), by_connection).map_err(failed)?;
        let (connector, out) = (app.connector.clone(), app.out.clone());
        let (id, token) = (reservation.session_id, granted.token.clone());
        let watching = move |stop: &std::sync::mpsc::Receiver<()>| {
            let tell = |error: &Error| out.warn(&format!("cannot ask the daemon: {}", error.report().message));
            let watched = Watched { id, token: &token, by_connection };
            watch::watch(&connector, Some(client), &watched, stop, tell, |skew| out.warn(skew))
        };
        // Open before it is needed; after a restart of the daemon there is time for another one, for CMD is not reaped yet.
        let ready = app.connector.running().ok().flatten();
        let (again, params) = (app.connector.clone(), released(granted, ReleaseStatus::Complete));
        let (says, name) = (app.out.clone(), reservation.thread.clone());
        let release = move |succeeded, waiting: &Waiting| {
            let status = if succeeded { ReleaseStatus::Complete } else { ReleaseStatus::Abandoned };
            let params = ReleaseParams { status: Some(status), ..params };
            let tell = || says.note(&format!("heddlectl: waiting for the daemon, to give {name} back to it"));
            release::give_back(&again, ready, &params, waiting, tell)
        };
        let on_lost = |lost| app.out.alert(&format!("{}; stopping the command", told(lost, reservation)));
        supervise(child, signals, release, watching, on_lost).map_err(failed)
    }

    fn tell(&self, app: &App, reservation: &Reservation) {
        let thread = &reservation.thread;
        app.out.note(&format!("heddlectl: holding {thread} as {} while the command runs", reservation.session_id));
        if self.what.has_worktree() {
            return;
        }
        let Some(worktree) = app.here() else { return };
        let branch = worktree.branch();
        if branch.as_deref() != Some(thread.as_str()) {
            let stands = branch.map_or_else(|| "on no branch".to_owned(), |branch| format!("on {branch}"));
            let top = worktree.top.display().to_string();
            let command = shell_words::join(["git", "-C", &top, "switch", thread.as_str()]);
            app.out.warn(&format!("this worktree is {stands}, not on {thread}\nnext: {command}"));
        }
    }
}

/// Whether the daemon refused the hold because it does not see the processes of this side.
fn is_of_other_namespace(error: &Error) -> bool {
    let Error::Refused(refused) = error else { return false };
    refused.object.data.as_ref().is_some_and(|data| data.details["reason"] == "other namespace")
}

fn told(lost: Lost, reservation: &Reservation) -> String {
    let id = reservation.session_id;
    let why = match lost {
        Lost::Unknown => "the daemon does not know it any more",
        Lost::Ended(Some(EndReason::Evicted)) => "it was evicted",
        Lost::Ended(Some(EndReason::Released)) => "it was released",
        Lost::Ended(Some(reason)) => reason.as_str(),
        Lost::Ended(None) => "it has ended",
    };
    format!("{id} holds {} no longer: {why}", reservation.thread)
}

fn released(granted: &Granted, status: ReleaseStatus) -> ReleaseParams {
    ReleaseParams {
        session_id: granted.reservation().session_id.into(),
        reservation_token: granted.token.clone().into(),
        status: Some(status),
    }
}

/// Gives the session back of a command that was not started. The daemon sees its process end too, and may have been first.
fn release(app: &App, granted: &Granted, status: ReleaseStatus) {
    if let Err(error) = app.ask("agent.release", &released(granted, status))
        && error.kind() != Some(Kind::AgentSessionInactive)
    {
        app.warn_of("the session was not given back; the daemon ends it, for its process is gone", &error);
    }
}

/// The command's own code, or 128 and the number of the signal that ended it.
fn exit_code(status: ExitStatus) -> Exit {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Exit(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::UNEXPECTED.0))
}
