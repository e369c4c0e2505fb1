//! Gives the session back when CMD has ended, also where the daemon is being started again at that very moment.
//!
//! CMD is not reaped until this is done: a daemon that comes up meanwhile sees by that, for two seconds, that it is still to be
//! told how CMD ended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proto_schema::{Kind, ReleaseParams};

use crate::client::Client;
use crate::client::connector::Connector;
use crate::clock;
use crate::error::Error;

/// How long a daemon is waited for: a little longer than one that is told to stop may take for what is under way.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long, where somebody else must start it.
const PATIENCE_WITH_OTHERS: Duration = Duration::from_secs(5);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Whether the daemon is waited for, and is to be waited for.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    begun: AtomicBool,
    over: AtomicBool,
}

impl Waiting {
    /// Whether it has begun: from then on CMD hears no signal any more, so a signal is meant for us.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// There is nothing to be waited for: the reservation is lost.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }
}

/// Gives the session back: on `ready` if that is still open, else on a new connection, once there is one. `tell` is called
/// once, when there is none.
pub(crate) fn give_back(
    connector: &Connector,
    mut ready: Option<Client>,
    params: &ReleaseParams,
    waiting: &Waiting,
    tell: impl FnOnce(),
) -> Result<(), Error> {
    let patience = if connector.starts_by_itself() { PATIENCE } else { PATIENCE_WITH_OTHERS };
    let (deadline, mut tell) = (clock::now() + patience, Some(tell));
    loop {
        let (is_old, open) = (ready.is_some(), ready.take().map_or_else(|| connector.connect(), Ok));
        let answer = open.and_then(|mut open| Ok(open.call("agent.release", params)?));
        let Err(error) = answer else { return Ok(()) };
        let is_answered = matches!(error, Error::Refused(_)) && error.kind() != Some(Kind::ShuttingDown);
        if is_answered || clock::now() >= deadline || waiting.over.load(Ordering::Acquire) {
            return Err(error);
        }
        if is_old {
            // The daemon was started again since.
            continue;
        }
        if let Some(tell) = tell.take() {
            tell();
            waiting.begun.store(true, Ordering::Release);
        }
        clock::pause(LOOK);
    }
}
