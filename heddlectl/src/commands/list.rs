//! `heddlectl list`.

use clap::{Args, ValueEnum};
use proto_schema::{ListParams, ListResult, SessionStatus};

use crate::app::App;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::sessions;
use crate::tidy;

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  heddlectl list --alive-only   who holds what in this repository now
  heddlectl list --all-repos --json";

/// Arguments of `list`.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// List only live sessions, after ending those of dead agents
    #[arg(long)]
    alive_only: bool,
    /// List only sessions on this thread
    #[arg(long, short, value_name = "NAME")]
    thread: Option<String>,
    /// List sessions of all repositories
    #[arg(long, conflicts_with = "repo")]
    all_repos: bool,
    /// List only sessions with this status
    #[arg(long, value_name = "STATUS")]
    status: Option<Status>,
    /// List at most this many, up to 1000 [default: 100]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Continue after a page that ended with this cursor
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// A status to filter by.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Status {
    Active,
    Complete,
    Abandoned,
    Merged,
}

impl From<Status> for SessionStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Active => Self::Active,
            Status::Complete => Self::Complete,
            Status::Abandoned => Self::Abandoned,
            Status::Merged => Self::Merged,
        }
    }
}

impl List {
    /// Lists.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        let params = ListParams {
            repo: if self.all_repos { None } else { Some(app.repo()?) },
            thread: self.thread.as_deref().map(Into::into),
            alive_only: self.alive_only.then_some(true),
            status: self.status.map(Into::into),
            verify: None,
            limit: self.limit,
            cursor: self.cursor.as_deref().map(Into::into),
        };
        let mut client = app.connect()?;
        let answer = app.repeatable(&mut client, "agent.list", &params)?;
        if app.out.json {
            app.out.print_json(&answer.0)?;
            return Ok(Exit::OK);
        }
        let list: ListResult = answer.read()?;
        self.print(app, &list)?;
        tidy::after_list(app, &mut client, &list.reservations);
        Ok(Exit::OK)
    }

    fn print(&self, app: &App, list: &ListResult) -> Result<(), Error> {
        if list.reservations.is_empty() {
            app.out.print(&self.sentence())?;
        } else {
            app.out.print(&sessions::list(&list.reservations, app.out.page()))?;
        }
        if let Some(cursor) = &list.next_cursor {
            app.out.note(&format!("there are more: --cursor {}", shell_words::quote(cursor)));
        }
        Ok(())
    }

    fn sentence(&self) -> String {
        let kind = match (self.alive_only, self.status) {
            (true, _) => "live session",
            (false, Some(Status::Active)) => "active session",
            (false, Some(Status::Complete)) => "complete session",
            (false, Some(Status::Abandoned)) => "abandoned session",
            (false, Some(Status::Merged)) => "merged session",
            (false, None) => "session",
        };
        let place = if self.all_repos { "in any repository" } else { "in this repository" };
        match &self.thread {
            Some(thread) => format!("There is no {kind} on {thread} {place}.\n"),
            None => format!("There is no {kind} {place}.\n"),
        }
    }
}
