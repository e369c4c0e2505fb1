//! `heddlectl log`.

use clap::Args;
use proto_schema::{OplogListParams, OplogListResult, SessionId};

use crate::app::App;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::log;

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  heddlectl log --thread fix-login
  heddlectl log --after 1200 --json";

/// Arguments of `log`.
#[derive(Args, Debug)]
pub(crate) struct Log {
    /// Show only operations on this thread
    #[arg(long, short, value_name = "NAME")]
    thread: Option<String>,
    /// Show only operations of this session
    #[arg(long, value_name = "ID")]
    session: Option<SessionId>,
    /// Show operations in all repositories
    #[arg(long, conflicts_with = "repo")]
    all_repos: bool,
    /// Show what came after this revision, oldest first [default: the newest]
    #[arg(long, value_name = "REVISION")]
    after: Option<u64>,
    /// Show at most this many, up to 1000 [default: 100]
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<u64>,
}

impl Log {
    /// Shows the log.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        let params = OplogListParams {
            repo: if self.all_repos { None } else { Some(app.repo()?) },
            thread: self.thread.as_deref().map(Into::into),
            session_id: self.session,
            after: self.after,
            limit: self.limit,
        };
        let answer = app.ask("oplog.list", &params)?;
        if app.out.json {
            app.out.print_json(&answer.0)?;
            return Ok(Exit::OK);
        }
        let list: OplogListResult = answer.read()?;
        if list.operations.is_empty() {
            app.out.print("Nothing of that kind is in the operation log.\n")?;
        } else {
            app.out.print(&log::table_of(&list.operations, app.out.page()))?;
        }
        Ok(Exit::OK)
    }
}
