//! `heddlectl evict`: the operator's way to end another's session.

use std::fs;

use clap::Args;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use proto_schema::{EvictParams, ProcessHold, Reason, ReservationResult, SessionId};

use crate::app::App;
use crate::error::Error;
use crate::exit::Exit;

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Example:
  heddlectl evict agent-abcdefghij234567abcd --reason 'hangs since 2 am'

The thread is free at once. An agent under `heddlectl run` is stopped. Any
other agent may still write files, but its next capture or update is refused.";

/// Arguments of `evict`.
#[derive(Args, Debug)]
pub(crate) struct Evict {
    /// The session to end
    #[arg(value_name = "SESSION", required_unless_present = "session", conflicts_with = "session")]
    named: Option<SessionId>,
    /// The session to end
    #[arg(long, value_name = "ID")]
    session: Option<SessionId>,
    /// Why; the operation log keeps it
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
}

impl Evict {
    /// Ends the session.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        let session_id = self.named.or(self.session).ok_or_else(|| Error::usage("name the session to end"))?;
        let params = EvictParams { session_id: session_id.into(), reason: self.reason.clone() };
        let answer = app.call(&mut app.connect()?, "agent.evict", &params)?;
        let reservation = answer.read::<ReservationResult>()?.reservation;
        if app.out.json {
            app.out.print_json(&answer.0)?;
        } else if !app.out.quiet {
            app.out.print(&format!("evicted {}: {} is free\n", reservation.session_id, reservation.thread))?;
        }
        if let Some(pid) = reservation.hold.process.as_ref().and_then(running) {
            app.out.warn(&format!("its process {pid} is still running and may still write; end it with: kill {pid}"));
        }
        Ok(Exit::OK)
    }
}

/// The process that held it, if it is still there: a moment ago it was this one, for the session was active.
fn running(process: &ProcessHold) -> Option<i32> {
    // Of another boot or another machine it is somebody else's number. Where the boot has no id only the number tells.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let same = boot.is_none_or(|boot| boot.trim() == &*process.boot_id);
    let state = fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
    // A process that nobody has waited for yet has ended all the same.
    let ended = state.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
    (same && !ended && kill(Pid::from_raw(process.pid), None).is_ok()).then_some(process.pid)
}
