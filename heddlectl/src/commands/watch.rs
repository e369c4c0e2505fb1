//! `heddlectl watch`: what happens, as it happens.
//!
//! It goes on by itself, from the last revision that it has shown, whatever becomes of the connection and of the daemon: what
//! is shown is shown once, and nothing is left out. It never starts a daemon that somebody has stopped.

use std::time::Duration;

use clap::Args;
use proto_schema::{Event, EventsCompactedDetails, Info, Kind, NoParams, SessionId, SubscribeParams, SubscriptionId};
use serde::Deserialize;

use crate::app::App;
use crate::client::{CallError, Client};
use crate::clock;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::log;

/// How often a daemon that is gone is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  heddlectl watch                                this repository, from now on
  heddlectl watch --all-repos --after 0 --json   from the oldest on

It goes on by itself after a restart of the daemon, and ends with Ctrl-C.";

/// Arguments of `watch`.
#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// Show only events of this thread
    #[arg(long, short, value_name = "NAME")]
    thread: Option<String>,
    /// Show only events of this session
    #[arg(long, value_name = "ID")]
    session: Option<SessionId>,
    /// Show events in all repositories
    #[arg(long, conflicts_with = "repo")]
    all_repos: bool,
    /// Start after this revision [default: from now on]
    #[arg(long, value_name = "REVISION")]
    after: Option<u64>,
}

/// The least that every event has, also one of a kind that this version does not know.
#[derive(Deserialize)]
struct Least {
    revision: u64,
    kind: String,
}

/// Why the events of one subscription have ended.
enum Ended {
    /// The connection was lost, or the daemon is stopping.
    Lost,
    /// It fell behind.
    Lagged,
    /// It begins later: what was asked for is no longer kept.
    Compacted,
}

/// What is watched, and how far it was shown.
struct Watcher<'a> {
    app: &'a App,
    /// `after` moves on with what was shown.
    params: SubscribeParams,
    /// Whether the heading was shown.
    is_headed: bool,
    /// Whether it was told that the connection is lost; it is told once each time.
    is_told: bool,
}

impl Watch {
    /// Watches until nobody wants to see it any more.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        let mut params = SubscribeParams {
            repo: if self.all_repos { None } else { Some(app.repo()?) },
            thread: self.thread.as_deref().map(Into::into),
            session_id: self.session,
            after: self.after,
        };
        let mut client = app.connect()?;
        if params.after.is_none() {
            // From here on, also when the connection is lost before anything has happened.
            let info: Info = app.repeatable(&mut client, "daemon.info", &NoParams {})?.read()?;
            params.after = Some(info.revision);
        }
        let mut watcher = Watcher { app, params, is_headed: app.out.json, is_told: false };
        loop {
            match watcher.follow(&mut client)? {
                Ended::Compacted => {}
                Ended::Lagged => watcher.tell("this fell behind; reading on"),
                Ended::Lost => {
                    if !watcher.is_told {
                        watcher.tell("the connection to the daemon is lost; watching on when it is back,");
                        watcher.is_told = true;
                    }
                    client = back(app)?;
                }
            }
        }
    }
}

/// Waits until a daemon serves again.
fn back(app: &App) -> Result<Client, Error> {
    loop {
        // Also the first time: one that is stopping is given a moment.
        clock::pause(LOOK);
        app.out.check()?;
        if let Some(client) = app.connector.running()? {
            return Ok(client);
        }
    }
}

impl Watcher<'_> {
    fn tell(&self, what: &str) {
        self.app.out.note(&format!("{what} after revision {}", self.params.after.unwrap_or_default()));
    }

    /// Subscribes and shows what comes, for as long as it comes.
    fn follow(&mut self, client: &mut Client) -> Result<Ended, Error> {
        let (app, out) = (self.app, &self.app.out);
        let answer = client.call("events.subscribe", &self.params);
        app.tell_skew(client);
        let subscription: SubscriptionId = match answer {
            Ok(answer) => answer.read()?,
            Err(CallError::Broken(_)) => return Ok(Ended::Lost),
            Err(CallError::Failed(error)) => return self.refused(error),
        };
        self.is_told = false;
        if !std::mem::replace(&mut self.is_headed, true) {
            out.print(&log::heading(out.page()))?;
        }
        loop {
            let event = match client.event(&subscription, |input| out.wait_for(input)) {
                Ok(event) => event,
                Err(CallError::Broken(_)) => return Ok(Ended::Lost),
                Err(CallError::Failed(error)) => return Err(error),
            };
            let (revision, line) = match event.read() {
                Ok(Event::Lagged(lagged)) => {
                    self.params.after = Some(lagged.detail.resume_after);
                    return Ok(Ended::Lagged);
                }
                Ok(Event::Operation(operation)) => (operation.revision, log::line(&operation, out.page())),
                // It is of a kind that this version does not know.
                Err(_) => {
                    let Least { revision, kind } = event.read()?;
                    (revision, log::bare(revision, &kind))
                }
            };
            if out.json {
                out.print_json(&event.0)?;
            } else {
                out.print(&line)?;
            }
            self.params.after = Some(revision);
        }
    }

    /// What to do about a subscription that was not made.
    fn refused(&mut self, error: Error) -> Result<Ended, Error> {
        match (error.kind(), &error) {
            (Some(Kind::ShuttingDown), _) => Ok(Ended::Lost),
            (Some(Kind::EventsCompacted), Error::Refused(refused)) => {
                let details = refused.object.data.as_ref().map(|data| data.details.clone()).unwrap_or_default();
                let EventsCompactedDetails { oldest } = serde_json::from_value(details).map_err(Error::garbled)?;
                let (missed, last) = (self.params.after.unwrap_or_default() + 1, oldest.saturating_sub(1));
                self.app.out.warn(&format!("revisions {missed} to {last} are no longer kept, and are not shown"));
                self.params.after = Some(last);
                Ok(Ended::Compacted)
            }
            _ => Err(error),
        }
    }
}
