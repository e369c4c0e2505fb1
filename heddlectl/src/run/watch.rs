//! Watches the reservation while CMD runs, on one connection that is opened again when the daemon was restarted.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use proto_schema::{
    Alive, EndReason, HeartbeatParams, Kind, ReservationToken, ResumeParams, SessionId, ValidateParams, ValidateResult,
};

use crate::client::connector::Connector;
use crate::client::{CallError, Client};
use crate::error::Error;

/// How often it is asked for.
const EVERY: Duration = Duration::from_secs(1);

/// The session that is watched.
#[derive(Debug)]
pub(crate) struct Watched<'a> {
    /// Its name.
    pub(crate) id: SessionId,
    /// Its secret.
    pub(crate) token: &'a ReservationToken,
    /// Whether the connection holds it, so that another one has to resume it.
    pub(crate) by_connection: bool,
}

/// How the watch ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lost {
    /// The session has ended; why, where that is known.
    Ended(Option<EndReason>),
    /// The daemon does not know the session, or not this token: it serves another registry now.
    Unknown,
}

/// Asks again and again whether the session still has the right to write; returns when it has lost it, or when told to stop.
pub(crate) fn watch(
    connector: &Connector,
    mut client: Option<Client>,
    watched: &Watched<'_>,
    stop: &Receiver<()>,
    tell: impl Fn(&Error),
    warn: impl Fn(&str),
) -> Option<Lost> {
    let (session_id, reservation_token) = (watched.id.into(), watched.token.clone().into());
    let params = ValidateParams { session_id, reservation_token, thread: None };
    let mut told = false;
    loop {
        match stop.recv_timeout(EVERY) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return None,
        }
        let answer = ask(connector, &mut client, watched, &params);
        if let Some(skew) = client.as_mut().and_then(|open| connector.take_skew(open)) {
            warn(&skew);
        }
        match answer {
            Ok(result) if result.valid => {
                told = false;
                // CMD finds its token by the file, also after something has removed that: this process knows it.
                if let Some(open) = &client {
                    connector.tokens(open).restore(watched.id, watched.token).ok();
                }
                if result.reservation.is_some_and(|reservation| reservation.alive == Alive::Unknown) {
                    renew(&mut client, watched);
                }
            }
            Ok(result) => return lost(&result),
            Err(error) => {
                client = None;
                if !told {
                    tell(&error);
                    told = true;
                }
            }
        }
    }
}

fn ask(
    connector: &Connector,
    client: &mut Option<Client>,
    watched: &Watched<'_>,
    params: &ValidateParams,
) -> Result<ValidateResult, Error> {
    if let Some(open) = client {
        match open.call("agent.validate", params) {
            Ok(answer) => return answer.read(),
            // The daemon was restarted, or will be by us.
            Err(CallError::Broken(_)) => *client = None,
            Err(CallError::Failed(error)) => return Err(error),
        }
    }
    let mut fresh = connector.connect()?;
    if watched.by_connection {
        let (session_id, reservation_token) = (watched.id.into(), watched.token.clone().into());
        // Where it is refused, the answer below says why.
        drop(fresh.call("agent.resume", &ResumeParams { session_id, reservation_token, by_process: None }));
    }
    let answer = fresh.call("agent.validate", params)?;
    *client = Some(fresh);
    answer.read()
}

/// Renews a session whose command the daemon cannot look at, as after its restart in another pid namespace.
fn renew(client: &mut Option<Client>, watched: &Watched<'_>) {
    let Some(open) = client else { return };
    let (session_id, reservation_token) = (watched.id.into(), watched.token.clone().into());
    let params = HeartbeatParams { session_id, reservation_token, progress: None, usage: None, hold_for_pid: None };
    // Where it is refused, the next look says why.
    drop(open.call("agent.heartbeat", &params));
}

fn lost(result: &ValidateResult) -> Option<Lost> {
    let Some(reservation) = &result.reservation else {
        return Some(Lost::Unknown);
    };
    if result.reason == Some(Kind::AgentSessionInactive) && reservation.end_reason == Some(EndReason::ProcessExited) {
        // CMD itself has ended, which is noticed without our help.
        return None;
    }
    Some(Lost::Ended(reservation.end_reason))
}
