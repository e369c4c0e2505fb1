//! Which session a command is about, and with which token.
//!
//! A kept token is used only for $HEDDLE_SESSION or for a session of this worktree: an agent that is told who holds a
//! thread must not be able to end that session by naming it.

use std::path::{Path, PathBuf};

use clap::Args;
use proto_schema::{
    Chain, Info, Kind, ListParams, ListResult, NoParams, Reservation, ReservationToken, ResumeParams, SessionId,
    SessionStatus, ShowParams,
};

use crate::app::App;
use crate::client::Client;
use crate::clock;
use crate::error::Error;
use crate::exit::Exit;
use crate::grant;
use crate::output::{sessions, text};
use crate::tokens::{self, Tokens};

/// The session and its token, as the command line names them.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SessionArgs {
    /// The session [default: $HEDDLE_SESSION, or the one active in this worktree]
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<SessionId>,
    /// A file that contains the session's reservation token
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// A session that this caller may act for.
#[derive(Debug)]
pub(crate) struct Owned {
    /// The session.
    pub(crate) id: SessionId,
    /// Its secret.
    pub(crate) token: ReservationToken,
}

impl SessionArgs {
    /// Finds the session.
    pub(crate) fn find(&self, app: &App, client: &mut Client) -> Result<SessionId, Error> {
        match self.session.map_or_else(|| of_environment(app), |id| Ok(Some(id)))? {
            Some(id) => Ok(id),
            None => of_worktree(app, client),
        }
    }

    /// Finds the session and its token.
    pub(crate) fn owned(&self, app: &App, client: &mut Client) -> Result<Owned, Error> {
        let environment = of_environment(app);
        let id = match (self.session, &environment) {
            (Some(id), _) => id,
            (None, Ok(Some(id))) => *id,
            (None, _) => environment.and_then(|_| of_worktree(app, client))?,
        };
        if let Some(path) = &self.token_file {
            return Ok(Owned { id, token: tokens::named(path)? });
        }
        // Found by the environment or the worktree it is ours; named only, it must be one of those.
        if self.session.is_some() && of_environment(app).ok().flatten() != Some(id) && !here(app, client, id)? {
            return Err(Error::local(Exit::DENIED, format!("{id} is not a session of this worktree"))
                .fact("naming a session does not give the right to act for it; nothing was sent")
                .hint("run this in the session's worktree, or bring its token with --token-file"));
        }
        let tokens = app.connector.tokens(client);
        let kept = match tokens.of(id)? {
            None => of_daemons_state(app, client)?.of(id)?,
            kept => kept,
        };
        match kept {
            Some(token) => Ok(Owned { id, token }),
            None => prove(app, client, id)?.map(|token| Owned { id, token }).ok_or_else(|| {
                Error::local(Exit::DENIED, format!("the reservation token of {id} is not kept here"))
                    .fact(format!("it would be in {}", tokens.path(id).display()))
                    .fact("a new one is given only to the process that holds the session, and to those that it started")
                    .hint("bring it with --token-file")
            }),
        }
    }
}

/// Gets a new token for a session whose file is gone, if this process descends from the one that holds the session: the daemon
/// looks at the ancestors itself. `None` if it does not, or the daemon is of a version that does not.
fn prove(app: &App, client: &mut Client, id: SessionId) -> Result<Option<ReservationToken>, Error> {
    let token = grant::new_token()?;
    let tokens = app.connector.tokens(client);
    let pending = tokens.begin(&grant::request_id()?, &token)?;
    let params =
        ResumeParams { session_id: id.into(), reservation_token: token.clone().into(), by_process: Some(true) };
    match app.repeatable(client, "agent.resume", &params) {
        Ok(_) => {
            tokens.settle(&pending, id)?;
            Ok(Some(token))
        }
        Err(error) if error.kind() == Some(Kind::StoreUnavailable) || error.kind().is_none() => Err(error),
        Err(error) => {
            Tokens::discard(&pending);
            match error.kind() {
                Some(Kind::ReservationTokenMismatch | Kind::InvalidParams) => Ok(None),
                _ => Err(error),
            }
        }
    }
}

/// The token files where the daemon itself keeps its state: a hook may have lost the variables that say where that is.
fn of_daemons_state(app: &App, client: &mut Client) -> Result<Tokens, Error> {
    let info: Info = app.call(client, "daemon.info", &NoParams {})?.read()?;
    Ok(Tokens::of_daemon(Path::new(&*info.state_dir), client.socket(), app.connector.uid))
}

/// The session that the environment names.
fn of_environment(app: &App) -> Result<Option<SessionId>, Error> {
    let Some(text) = app.env().text("HEDDLE_SESSION") else {
        return Ok(None);
    };
    let id = text.parse().map_err(|error| Error::usage(format!("HEDDLE_SESSION is no session id: {error}")))?;
    Ok(Some(id))
}

/// Whether the session's worktree is the one we are in.
fn here(app: &App, client: &mut Client, id: SessionId) -> Result<bool, Error> {
    let chain: Chain = app.call(client, "agent.show", &ShowParams { session_id: id.into() })?.read()?;
    Ok(app.worktree().is_some_and(|top| is_at(&chain.reservation, &top)))
}

fn is_at(reservation: &Reservation, top: &Path) -> bool {
    reservation.path.as_deref().is_some_and(|path| Path::new(path) == top)
}

/// The one active session of this worktree.
fn of_worktree(app: &App, client: &mut Client) -> Result<SessionId, Error> {
    let Some(top) = app.worktree() else {
        return Err(Error::usage("no session is named, and this is no worktree of a repository")
            .hint("name the session with --session, or set HEDDLE_SESSION"));
    };
    let mut params = ListParams {
        repo: Some(app.repo()?),
        status: Some(SessionStatus::Active),
        limit: Some(1_000),
        ..ListParams::default()
    };
    let mut found = Vec::new();
    loop {
        let page: ListResult = app.call(client, "agent.list", &params)?.read()?;
        found.extend(page.reservations.into_iter().filter(|one| is_at(one, &top)));
        match page.next_cursor {
            Some(cursor) => params.cursor = Some(cursor),
            None => break,
        }
    }
    match found.as_slice() {
        [one] => Ok(one.session_id),
        [] => Err(Error::usage(format!("no session is active in {}", top.display()))
            .hint("reserve a thread first, name a session with --session, or set HEDDLE_SESSION")
            .command(shell_words::join([
                "heddlectl",
                "reserve",
                "--thread",
                "<thread>",
                "--repo",
                &top.display().to_string(),
            ]))),
        several => {
            let now = clock::wall_ms();
            let error = Error::usage(format!("{} sessions are active in {}", several.len(), top.display()));
            let error = several.iter().fold(error, |error, one| {
                let age = text::age(now - one.started_at.unix_ms());
                let agent = sessions::agent(one).map(|agent| format!(" ({agent})")).unwrap_or_default();
                error.fact(format!("{} holds {} for {age}{agent}", one.session_id, one.thread))
            });
            Err(error.hint("name one with --session, or set HEDDLE_SESSION"))
        }
    }
}
