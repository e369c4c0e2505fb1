//! Keeps the lease clock going, finds leases that ran out, answers callers of repositories that do not, has heartbeats
//! written behind once a second, and has old records pruned once an hour.
//!
//! It runs beside the connections on purpose: when they are not scheduled, neither is the clock, and no deadline passes.

use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tracing::warn;

use super::message::Message;
use super::retention::Retention;
use super::shared::Shared;
use crate::clock::MAX_STEP_MS;

/// How often the lease clock ticks at least.
const TICK: Duration = Duration::from_millis(250);

/// How often heartbeats are written behind at most, in milliseconds.
const SAVE_EVERY_MS: u64 = 1000;

/// Runs for as long as the daemon does.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut fence = Fence::new();
    let mut saved_at = shared.clock.monotonic_ms();
    let (mut ticked_at, mut reprieve) = (saved_at, 0);
    let mut retention = Retention::new(shared.clock.wall(), shared.lease_now());
    loop {
        let wait = shared.deadlines.lock().next().map_or(TICK, |next| {
            Duration::from_millis(next.saturating_sub(shared.lease_now())).clamp(Duration::from_millis(1), TICK)
        });
        // Either the time is up or an earlier deadline came in: both mean to look again.
        let _elapsed = tokio::time::timeout(wait, shared.rearmed.notified()).await;
        let now = shared.clock.monotonic_ms();
        shared.lease_clock.tick(now);
        if now.saturating_sub(std::mem::replace(&mut ticked_at, now)) > MAX_STEP_MS {
            // The daemon stood still. What that counts of the time is given back, and what was sent meanwhile comes in.
            reprieve = shared.lease_now() + MAX_STEP_MS;
        }
        shared.work.sweep();
        shared.long_work.sweep();
        let committed = shared.committed.load_full();
        let due = shared.deadlines.lock().due(shared.lease_clock.now(now), |session| {
            committed.leases.get(&session).and_then(|lease| lease.lock().runs_out())
        });
        if shared.lease_now() < reprieve {
            due.into_iter().for_each(|session| shared.look_at(reprieve, session));
        } else if !due.is_empty() {
            fence.pass().await;
            post(&shared, Message::Overdue(due));
        }
        if let Some(as_of) = retention.look(shared.clock.wall(), shared.lease_clock.now(now)) {
            post(&shared, Message::Prune(as_of));
        }
        if now.saturating_sub(saved_at) >= SAVE_EVERY_MS {
            saved_at = now;
            let unsaved = std::mem::take(&mut *shared.unsaved.lock());
            if !unsaved.is_empty() {
                post(&shared, Message::Unsaved(unsaved));
            }
        }
    }
}

/// Hands the writer what can be handed again a little later, when it is too far behind to take it now.
fn post(shared: &Shared, message: Message) {
    let Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) = shared.inbox.try_send(message) else {
        return;
    };
    warn!("the writer is behind; leases that ran out are looked at again");
    match message {
        Message::Overdue(due) => {
            let again = shared.lease_now() + 100;
            due.into_iter().for_each(|session| shared.look_at(again, session));
        }
        Message::Unsaved(sessions) => shared.unsaved.lock().extend(sessions),
        Message::Reserve { .. }
        | Message::Leave(_)
        | Message::Command { .. }
        | Message::Join { .. }
        | Message::Gone(_)
        | Message::Died(_)
        | Message::Observed(_)
        | Message::Merged(_)
        | Message::TakenOver(_)
        | Message::Replaced(_)
        | Message::RepoSeen(_)
        | Message::Recovered(_)
        | Message::RaiseFencing(_)
        // The next one prunes what this one would have.
        | Message::Prune(_)
        | Message::Barrier(_)
        | Message::Stop { .. } => {}
    }
}

/// Waits until the input that had arrived by now has been taken: events come in the order in which sockets became
/// readable, so when this one's own byte comes back, the heartbeats that were there before it have been handed out.
pub(super) struct Fence(Option<(UnixStream, UnixStream)>);

impl Fence {
    pub(super) fn new() -> Self {
        Self(UnixStream::pair().ok())
    }

    pub(super) async fn pass(&mut self) {
        if let Some((near, far)) = &mut self.0 {
            // Errors leave only the turns below, which is no worse than having no pair.
            let _written = near.write_all(&[0]).await;
            // Room for more than comes: only a read that leaves some makes the next one wait for its event.
            let _read = far.read(&mut [0; 8]).await;
        }
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }
}
