//! Waiting for a thread that is held: who is told what, and the call that waits.
//!
//! The place in the queue lasts as long as the connection: whoever ends this process, by Ctrl-C or kill -9, gives it up.

use std::time::{Duration, Instant};

use proto_schema::{AnchorDriftDetails, Kind, LiveOwnerDetails, Reservation, ReserveParams};
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::client::patience::ANSWER;
use crate::client::{Answer, CallError, Client};
use crate::clock;
use crate::error::Error;
use crate::exit::Exit;

/// A thread that cannot be had at once.
#[derive(Debug, PartialEq)]
pub(crate) struct Held {
    owner: Option<Reservation>,
    waiters: u64,
}

/// What a refusal says of who holds the thread, if waiting may help.
pub(crate) fn held(error: &Error) -> Option<Held> {
    let Error::Refused(refused) = error else { return None };
    let data = refused.object.data.as_ref()?;
    if data.kind == Kind::LiveOwner {
        let LiveOwnerDetails { owner, waiters, .. } = read(&data.details)?;
        return Some(Held { owner: Some(owner), waiters });
    }
    // Nobody may hold it, and it stands elsewhere than where we are: whoever waits takes it over where it is.
    let drift: AnchorDriftDetails = read(&data.details).filter(|_| data.kind == Kind::AnchorDrift)?;
    Some(Held { owner: drift.owner, waiters: drift.waiters })
}

fn read<T: DeserializeOwned>(details: &serde_json::Value) -> Option<T> {
    T::deserialize(details).ok()
}

/// Tells, once, who holds the thread and how many wait before us.
pub(crate) fn tell(app: &App, thread: &str, held: &Held) {
    if let (false, Some(owner)) = (app.out.json, &held.owner) {
        app.out.note(&sentence(thread, owner, held.waiters));
    }
}

fn sentence(thread: &str, owner: &Reservation, waiters: u64) -> String {
    let who = owner.harness.as_ref().map_or_else(String::new, |harness| format!(" ({harness})"));
    let place = match waiters {
        0 => "you are the next".to_owned(),
        1 => "1 other waits before you".to_owned(),
        many => format!("{many} others wait before you"),
    };
    format!("heddlectl: waiting for {thread}, held by {}{who}; {place}", owner.session_id)
}

/// How often a daemon that is gone is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// Asks with patience. A daemon that is lost meanwhile, or stops, takes its queues along: who has time left asks again, once
/// there is one.
pub(crate) fn ask(app: &App, client: &mut Client, params: &mut ReserveParams, wait_ms: u64) -> Result<Answer, Error> {
    let (began, patience) = (clock::now(), Duration::from_millis(wait_ms));
    loop {
        let left = patience.saturating_sub(clock::now() - began);
        // A wait of no time is none, and would be answered as such.
        params.wait_ms = Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1));
        match client.call_queued("agent.reserve", params, ANSWER + left) {
            Err(error) if is_gone(&error) && !left.is_zero() => *client = back(app, began, patience)?,
            answer => return answer.map_err(Error::from),
        }
    }
}

/// Whether there is no answer, or none but that the daemon is stopping.
fn is_gone(error: &CallError) -> bool {
    match error {
        CallError::Broken(_) => true,
        CallError::Failed(error) => error.kind() == Some(Kind::ShuttingDown),
    }
}

/// A connection to the next daemon, for as long as there is patience; it is started where that is allowed, and possible while
/// the one before it is still stopping.
fn back(app: &App, began: Instant, patience: Duration) -> Result<Client, Error> {
    loop {
        match app.connect() {
            Err(error) if error.exit() == Exit::UNREACHABLE && clock::now() - began < patience => clock::pause(LOOK),
            answer => return answer,
        }
    }
}
