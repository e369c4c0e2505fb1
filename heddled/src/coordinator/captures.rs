//! The captures under way: those of one worktree queue, a few at a time run in a repository, and the end of a session cancels
//! its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use proto_schema::SessionId;
use tokio::sync::Notify;

use super::shared::Shared;
use super::slots::{Slot, Slots};
use super::turns::{self, Turns};

/// How many captures run at one time in a repository.
const AT_ONCE: usize = 3;

/// How long the expiry of a session waits for its capture, in milliseconds of lease time.
const EXPIRY_WAITS_MS: u64 = 10 * 60 * 1000;

/// All captures under way.
pub(super) struct Captures {
    under_way: Mutex<Vec<Arc<UnderWay>>>,
    worktrees: Turns<PathBuf>,
    slots: Slots,
}

/// One capture.
struct UnderWay {
    /// None for what nobody's session ends.
    session: Option<SessionId>,
    /// Since when, in lease time.
    since: u64,
    cancelled: AtomicBool,
    told: Notify,
}

/// A capture that can be cancelled, for as long as this lives.
pub(super) struct Cancellable {
    shared: Arc<Shared>,
    under_way: Arc<UnderWay>,
}

/// A capture's turn. Whoever has it is alone in the worktree.
pub(super) struct Turn {
    _worktree: turns::Turn,
    slot: Option<Slot>,
}

impl Turn {
    /// Goes on beside those that wait for a slot.
    pub(super) fn go_beside(&mut self) {
        self.slot = None;
    }
}

impl Default for Captures {
    fn default() -> Self {
        Self { under_way: Mutex::default(), worktrees: Turns::default(), slots: Slots::new(AT_ONCE) }
    }
}

impl Captures {
    /// Waits for the worktree, then for a slot: a capture that waits for its worktree keeps no other from running.
    pub(super) async fn turn(&self, worktree: &Path, git_dir: &Arc<Path>) -> Turn {
        let worktree = self.worktrees.take(worktree).await;
        Turn { _worktree: worktree, slot: Some(self.slots.wait_for(git_dir).await) }
    }

    /// Cancels those of a session that has ended.
    pub(super) fn cancel(&self, session: SessionId) {
        self.under_way.lock().iter().filter(|one| one.session == Some(session)).for_each(|one| one.cancel());
    }

    /// Cancels all: the daemon is stopping.
    pub(super) fn cancel_all(&self) {
        self.under_way.lock().iter().for_each(|one| one.cancel());
    }

    /// Whether the expiry of a session waits for its capture.
    pub(super) fn delay_expiry(&self, session: SessionId, now: u64) -> bool {
        let is_delaying = |one: &Arc<UnderWay>| one.session == Some(session) && now < one.since + EXPIRY_WAITS_MS;
        self.under_way.lock().iter().any(is_delaying)
    }
}

impl UnderWay {
    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.told.notify_one();
    }
}

impl Cancellable {
    /// Lets the end of the session cancel what follows. The session may have ended just before: look after this.
    pub(super) fn new(shared: &Arc<Shared>, session: SessionId) -> Self {
        Self::begin(shared, Some(session))
    }

    /// Lets only the end of the daemon cancel what follows.
    pub(super) fn of_nobody(shared: &Arc<Shared>) -> Self {
        Self::begin(shared, None)
    }

    fn begin(shared: &Arc<Shared>, session: Option<SessionId>) -> Self {
        let under_way = Arc::new(UnderWay {
            session,
            since: shared.lease_now(),
            cancelled: AtomicBool::new(false),
            told: Notify::new(),
        });
        shared.captures.under_way.lock().push(Arc::clone(&under_way));
        Self { shared: Arc::clone(shared), under_way }
    }

    /// Cancels it.
    pub(super) fn cancel(&self) {
        self.under_way.cancel();
    }

    /// True once it is cancelled.
    pub(super) fn flag(&self) -> &AtomicBool {
        &self.under_way.cancelled
    }

    /// Comes back when it is cancelled.
    pub(super) async fn cancelled(&self) {
        self.under_way.told.notified().await;
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        self.shared.captures.under_way.lock().retain(|one| !Arc::ptr_eq(one, &self.under_way));
    }
}
