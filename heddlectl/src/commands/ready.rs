//! `heddlectl ready`.

use clap::Args;
use proto_schema::{Message, ReadyParams, ReadyResult, ReadyStatus, VerificationSummary};

use super::capture::{LONG, confidence};
use crate::app::App;
use crate::client::CallError;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::ready;
use crate::session::SessionArgs;

/// Examples, below the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  heddlectl ready                      check the thread as it stands
  heddlectl ready -m 'Fix the login'   capture the worktree first, then check
  heddlectl ready --tests-passed 212 --tests-failed 0 --confidence 0.9

Exit 0 if the thread is ready, 5 if something is in the way of a merge. It
names what is in the way, each with its command, and merges nothing.";

/// Arguments of `ready`.
#[derive(Args, Debug)]
pub(crate) struct Ready {
    #[command(flatten)]
    session: SessionArgs,
    /// Capture the worktree first, with this message
    #[arg(long, short, value_name = "M")]
    message: Option<Message>,
    /// How sure the agent is of its work, from 0 to 1
    #[arg(long, value_name = "C", value_parser = confidence)]
    confidence: Option<f64>,
    /// How many tests passed, as the agent reports
    #[arg(long, value_name = "N")]
    tests_passed: Option<u64>,
    /// How many tests failed, as the agent reports
    #[arg(long, value_name = "N")]
    tests_failed: Option<u64>,
    /// The measured coverage, in percent
    #[arg(long, value_name = "PCT", value_parser = percent)]
    coverage: Option<f64>,
    /// How many warnings the linters printed
    #[arg(long, value_name = "N")]
    lint_warnings: Option<u64>,
}

fn percent(text: &str) -> Result<f64, &'static str> {
    let percent = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or("a number from 0 to 100")
}

impl Ready {
    /// What the agent reports of its own checks, if anything.
    fn verification(&self) -> Option<VerificationSummary> {
        let summary = VerificationSummary {
            tests_passed: self.tests_passed,
            tests_failed: self.tests_failed,
            coverage_pct: self.coverage,
            lint_warnings: self.lint_warnings,
        };
        let nothing =
            VerificationSummary { tests_passed: None, tests_failed: None, coverage_pct: None, lint_warnings: None };
        (summary != nothing).then_some(summary)
    }

    /// Has the session's thread checked.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        let mut client = app.connect()?;
        let owned = self.session.owned(app, &mut client)?;
        let params = ReadyParams {
            session_id: owned.id.into(),
            reservation_token: owned.token.into(),
            worktree: None,
            message: self.message.clone(),
            confidence: self.confidence,
            verification: self.verification(),
        };
        let answer = client.call_within("agent.ready", &params, LONG);
        app.tell_skew(&mut client);
        let answer = match answer {
            // To check again changes nothing but the time of the check.
            Err(CallError::Broken(_)) => app.connect()?.call_within("agent.ready", &params, LONG)?,
            answer => answer?,
        };
        if app.out.json {
            app.out.print_json(&answer.0)?;
        }
        let result: ReadyResult = answer.read()?;
        if !app.out.json && !app.out.quiet {
            app.out.print(&ready::report(&result, app.out.page()))?;
        }
        Ok(if result.status == ReadyStatus::Completed { Exit::OK } else { Exit::BLOCKED })
    }
}
