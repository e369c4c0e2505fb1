//! `heddlectl capture`.

use std::time::Duration;

use clap::Args;
use proto_schema::{CaptureParams, CaptureResult, Message};

use crate::app::App;
use crate::client::CallError;
use crate::error::Error;
use crate::exit::Exit;
use crate::session::SessionArgs;

/// Examples, below the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  heddlectl capture -m 'Let users stay logged in'   as `git add -A` does
  heddlectl capture --confidence 0.6                record how sure the agent is

It works from a sandbox that cannot write `.git`, for the daemon makes the
commit.";

/// How long a call that reads a worktree may take: a large one is read and hashed as a whole, and others may be first.
pub(crate) const LONG: Duration = Duration::from_secs(15 * 60);

/// Arguments of `capture`.
#[derive(Args, Debug)]
pub(crate) struct Capture {
    #[command(flatten)]
    session: SessionArgs,
    /// The commit message [default: `capture of THREAD`]
    #[arg(long, short, value_name = "M")]
    message: Option<Message>,
    /// How sure the agent is of its work, from 0 to 1
    #[arg(long, value_name = "C", value_parser = confidence)]
    confidence: Option<f64>,
}

pub(crate) fn confidence(text: &str) -> Result<f64, &'static str> {
    let confidence = text.parse().ok().filter(|confidence| (0.0..=1.0).contains(confidence));
    confidence.ok_or("a number from 0 to 1")
}

impl Capture {
    /// Commits what the session's worktree has.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        let mut client = app.connect()?;
        let owned = self.session.owned(app, &mut client)?;
        let params = CaptureParams {
            session_id: owned.id.into(),
            reservation_token: owned.token.into(),
            worktree: None,
            message: self.message.clone(),
            confidence: self.confidence,
        };
        let answer = client.call_within("agent.capture", &params, LONG);
        app.tell_skew(&mut client);
        let answer = match answer {
            // What it has committed by then is not committed again.
            Err(CallError::Broken(_)) => app.connect()?.call_within("agent.capture", &params, LONG)?,
            answer => answer?,
        };
        if app.out.json {
            app.out.print_json(&answer.0)?;
        } else if !app.out.quiet {
            let CaptureResult { reservation, capture } = answer.read()?;
            let state = capture.state.to_string();
            let (thread, short) = (&reservation.thread, state.get(..12).unwrap_or(&state));
            let said = match (capture.created, capture.changed_count) {
                (false, _) => format!("nothing to capture: {thread} has it all at {short}\n"),
                (true, 1) => format!("captured 1 path onto {thread}: {short}\n"),
                (true, count) => format!("captured {count} paths onto {thread}: {short}\n"),
            };
            app.out.print(&said)?;
        }
        Ok(Exit::OK)
    }
}
