//! `heddlectl thread list|show|clean`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use proto_schema::{
    CleanParams, CleanResult, ThreadListParams, ThreadListResult, ThreadParams, ThreadResult, ThreadState,
};

use crate::app::App;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::{clean, threads};

/// How long cleaning may take: every worktree of a merged thread is looked at, file by file.
const CLEANED: Duration = Duration::from_secs(15 * 60);

/// What the help of each ends with.
const LIST: &str = "\
Example:
  heddlectl thread list --state ready";
const SHOW: &str = "\
Example:
  heddlectl thread show fix-login";
const CLEAN: &str = "\
Example:
  heddlectl thread clean --dry-run

Branches stay. For each worktree that stays, it prints why.";

/// The commands about threads.
#[derive(Subcommand, Debug)]
pub(crate) enum Thread {
    /// List the threads of this repository
    #[command(after_help = LIST)]
    List(List),
    /// Show one thread and its holder
    #[command(after_help = SHOW)]
    Show(Show),
    /// Remove the worktrees of merged threads that hold no other work
    #[command(after_help = CLEAN)]
    Clean(Clean),
}

impl Thread {
    /// Whether the command only reads.
    pub(crate) fn only_reads(&self) -> bool {
        match self {
            Self::List(_) | Self::Show(_) => true,
            Self::Clean(_) => false,
        }
    }
}

/// Arguments of `thread list`.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// List only threads in this state
    #[arg(long, value_name = "STATE")]
    state: Option<State>,
    /// List at most this many, up to 1000 [default: 100]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Continue after a page that ended with this cursor
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// Arguments of `thread show`.
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// The thread to show
    #[arg(value_name = "THREAD")]
    thread: String,
}

/// Arguments of `thread clean`.
#[derive(Args, Debug)]
pub(crate) struct Clean {
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// A state to filter by.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Draft,
    Active,
    Ready,
    Blocked,
    Merged,
    Abandoned,
    Promoted,
}

impl From<State> for ThreadState {
    fn from(state: State) -> Self {
        match state {
            State::Draft => Self::Draft,
            State::Active => Self::Active,
            State::Ready => Self::Ready,
            State::Blocked => Self::Blocked,
            State::Merged => Self::Merged,
            State::Abandoned => Self::Abandoned,
            State::Promoted => Self::Promoted,
        }
    }
}

impl Thread {
    /// Does it.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        match self {
            Self::List(list) => list.run(app),
            Self::Show(show) => show.run(app),
            Self::Clean(clean) => clean.run(app),
        }
    }
}

impl List {
    fn run(&self, app: &App) -> Result<Exit, Error> {
        let params = ThreadListParams {
            repo: app.repo()?,
            state: self.state.map(Into::into),
            limit: self.limit,
            cursor: self.cursor.as_deref().map(Into::into),
        };
        let answer = app.ask("thread.list", &params)?;
        if app.out.json {
            app.out.print_json(&answer.0)?;
            return Ok(Exit::OK);
        }
        let list: ThreadListResult = answer.read()?;
        if list.threads.is_empty() {
            let kind = if self.state.is_some() { "There is no such thread" } else { "No thread was ever reserved" };
            app.out.print(&format!("{kind} in this repository.\n"))?;
        } else {
            app.out.print(&threads::list(&list.threads, app.out.page()))?;
        }
        if let Some(cursor) = list.next_cursor {
            app.out.note(&format!("there are more: --cursor {}", shell_words::quote(&cursor)));
        }
        Ok(Exit::OK)
    }
}

impl Show {
    fn run(&self, app: &App) -> Result<Exit, Error> {
        let params = ThreadParams { repo: app.repo()?, thread: self.thread.as_str().into() };
        let answer = app.ask("thread.show", &params)?;
        if app.out.json {
            app.out.print_json(&answer.0)?;
        } else {
            let thread = answer.read::<ThreadResult>()?.thread;
            app.out.print(&threads::card(&thread, app.out.page()))?;
        }
        Ok(Exit::OK)
    }
}

impl Clean {
    fn run(&self, app: &App) -> Result<Exit, Error> {
        let params = CleanParams { repo: app.repo()?, dry_run: self.dry_run.then_some(true) };
        // Not repeated when the answer is lost: the second one would not tell what the first had removed.
        let mut client = app.connect()?;
        let answer = client.call_within("thread.clean", &params, CLEANED);
        app.tell_skew(&mut client);
        let answer = answer?;
        if app.out.json {
            app.out.print_json(&answer.0)?;
        } else {
            let result: CleanResult = answer.read()?;
            app.out.print(&clean::report(&result, self.dry_run, app.out.page()))?;
        }
        Ok(Exit::OK)
    }
}
