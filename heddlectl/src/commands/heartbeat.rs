//! `heddlectl heartbeat`.

use clap::Args;
use proto_schema::{HeartbeatParams, ReservationResult, Usage};

use crate::app::App;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::sessions;
use crate::session::SessionArgs;

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  heddlectl heartbeat --progress
  heddlectl heartbeat --usage '{\"input_tokens\": 1200, \"tool_calls\": 3}'

The session ends if no heartbeat comes within its time to live. A session that
a process holds needs none.";

/// Arguments of `heartbeat`.
#[derive(Args, Debug)]
pub(crate) struct Heartbeat {
    #[command(flatten)]
    session: SessionArgs,
    /// Report that the agent made progress
    #[arg(long)]
    progress: bool,
    /// Let this process hold the session from now on
    #[arg(long, value_name = "PID")]
    hold_for_pid: Option<i32>,
    /// What the agent used so far, in total, as JSON
    #[arg(long, value_name = "JSON", value_parser = usage)]
    usage: Option<Usage>,
}

fn usage(text: &str) -> Result<Usage, serde_json::Error> {
    serde_json::from_str(text)
}

impl Heartbeat {
    /// Keeps the session alive.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        let mut client = app.connect()?;
        let owned = self.session.owned(app, &mut client)?;
        let params = HeartbeatParams {
            session_id: owned.id.into(),
            reservation_token: owned.token.into(),
            progress: self.progress.then_some(true),
            usage: self.usage,
            hold_for_pid: self.hold_for_pid,
        };
        let answer = app.repeatable(&mut client, "agent.heartbeat", &params)?;
        if app.out.json {
            app.out.print_json(&answer.0)?;
        } else if !app.out.quiet {
            let reservation = answer.read::<ReservationResult>()?.reservation;
            let held = sessions::held(&reservation, app.out.page().now_ms);
            app.out.print(&format!("{} holds {}: {held}\n", reservation.session_id, reservation.thread))?;
        }
        Ok(Exit::OK)
    }
}
