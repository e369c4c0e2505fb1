//! `heddlectl evict`: the operator's way to end another's session.

use clap::Args;
use proto_schema::{EvictParams, Reason, ReservationResult, SessionId};

use crate::app::App;
use crate::error::Error;
use crate::exit::Exit;

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Example:
  heddlectl evict agent-abcdefghij234567abcd --reason 'hangs since 2 am'

Its thread is free at once. An agent under `heddlectl run` is stopped; any other goes
on until it asks, and is then refused.";

/// Arguments of `evict`.
#[derive(Args, Debug)]
pub(crate) struct Evict {
    /// The session to end
    #[arg(value_name = "SESSION", required_unless_present = "session", conflicts_with = "session")]
    named: Option<SessionId>,
    /// The session to end
    #[arg(long, value_name = "ID")]
    session: Option<SessionId>,
    /// Why; kept in the operation log
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
}

impl Evict {
    /// Ends the session.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        let session_id = self.named.or(self.session).ok_or_else(|| Error::usage("name the session to end"))?;
        let params = EvictParams { session_id: session_id.into(), reason: self.reason.clone() };
        let answer = app.call(&mut app.connect()?, "agent.evict", &params)?;
        if app.out.json {
            app.out.print_json(&answer.0)?;
        } else if !app.out.quiet {
            let reservation = answer.read::<ReservationResult>()?.reservation;
            app.out.print(&format!("evicted {}: {} is free\n", reservation.session_id, reservation.thread))?;
        }
        Ok(Exit::OK)
    }
}
