//! `heddlectl validate`: the question that hooks ask before an agent writes.

use clap::Args;
use proto_schema::{Kind, ValidateParams, ValidateResult};

use crate::app::App;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::sessions;
use crate::session::SessionArgs;

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  heddlectl validate          exit 0 if the session may write, otherwise 3
  heddlectl validate --hook   exit 0 or 2, as the hooks of agents expect

Without a token to show, the answer is no. With --hook, an answer that cannot
be had (no daemon, for example) is a no as well.";

/// Arguments of `validate`.
#[derive(Args, Debug)]
pub(crate) struct Validate {
    #[command(flatten)]
    session: SessionArgs,
    /// The thread that the agent is about to write
    #[arg(long, short, value_name = "NAME")]
    thread: Option<String>,
    /// Answer as the hooks of agents expect: if the answer is no, exit 2 with the reason on stderr
    #[arg(long)]
    hook: bool,
}

impl Validate {
    /// Asks.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        let done = self.ask(app);
        if !self.hook {
            return done;
        }
        // A hook that cannot find out must not let the write pass.
        match done {
            Ok(exit) => Ok(exit),
            Err(error) => {
                app.out.fail(&error);
                Ok(Exit::USAGE)
            }
        }
    }

    fn ask(&self, app: &App) -> Result<Exit, Error> {
        let mut client = app.connect()?;
        let owned = self.session.owned(app, &mut client).map_err(unproven)?;
        let params = ValidateParams {
            session_id: owned.id.into(),
            reservation_token: owned.token.into(),
            thread: self.thread.as_deref().map(Into::into),
        };
        let answer = app.repeatable(&mut client, "agent.validate", &params)?;
        let result: ValidateResult = answer.read()?;
        if app.out.json {
            app.out.print_json(&answer.0)?;
        }
        if result.valid {
            if !app.out.json && !app.out.quiet && !self.hook {
                let thread = result.reservation.map(|one| one.thread.to_string()).unwrap_or_default();
                app.out.print(&format!("valid: {} holds {thread}\n", owned.id))?;
            }
            return Ok(Exit::OK);
        }
        let thread = self.thread.as_ref().map(|thread| format!(" {thread}")).unwrap_or_default();
        let because = Self::because(&result, app.out.page().now_ms);
        let reason = format!("{} has no right to write{thread}: {because}", owned.id);
        if self.hook {
            // Asked for, so --quiet does not silence it.
            return Err(Error::local(Exit::USAGE, reason));
        }
        if !app.out.json {
            app.out.print(&format!("not valid: {reason}\n"))?;
        }
        Ok(Exit::REFUSED)
    }

    fn because(result: &ValidateResult, now_ms: i64) -> String {
        let kind = result.reason.map_or("no reason was given", Kind::as_str);
        let Some(reservation) = &result.reservation else {
            return kind.to_owned();
        };
        match sessions::ended(reservation, now_ms) {
            Some(ended) => format!("it ended, {ended}"),
            None => format!("{kind}; it holds {}", reservation.thread),
        }
    }
}

/// Who has no token to show has no right to write: that is an answer, not a failure to find out.
fn unproven(error: Error) -> Error {
    if matches!(error.exit(), Exit::DENIED | Exit::IO) { error.exits(Exit::REFUSED) } else { error }
}
