//! `heddlectl release`.

use clap::{Args, ValueEnum};
use proto_schema::{ReleaseParams, ReleaseStatus, ReservationResult};

use crate::app::App;
use crate::error::Error;
use crate::exit::Exit;
use crate::session::SessionArgs;

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  heddlectl release                      the work is done
  heddlectl release --status abandoned   the work is given up

The branch and the worktree stay.";

/// Arguments of `release`.
#[derive(Args, Debug)]
pub(crate) struct Release {
    #[command(flatten)]
    session: SessionArgs,
    /// How the session ends
    #[arg(long, value_name = "STATUS", default_value = "complete")]
    status: Status,
}

/// How a session ends.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Status {
    Complete,
    Abandoned,
}

impl Release {
    /// Gives the session back.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        let mut client = app.connect()?;
        let owned = self.session.owned(app, &mut client)?;
        let status = match self.status {
            Status::Complete => ReleaseStatus::Complete,
            Status::Abandoned => ReleaseStatus::Abandoned,
        };
        let params =
            ReleaseParams { session_id: owned.id.into(), reservation_token: owned.token.into(), status: Some(status) };
        let answer = app.repeatable(&mut client, "agent.release", &params)?;
        if app.out.json {
            app.out.print_json(&answer.0)?;
        } else if !app.out.quiet {
            let reservation = answer.read::<ReservationResult>()?.reservation;
            let (thread, status) = (&reservation.thread, reservation.status.as_str());
            app.out.print(&format!("released {thread}: {} is {status}\n", reservation.session_id))?;
        }
        Ok(Exit::OK)
    }
}
