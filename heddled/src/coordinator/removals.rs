//! The worktrees that are being removed: no session is granted that would find its worktree gone.
//!
//! Whoever removes one announces it here, waits until the writer has committed all that was before, and only then looks who
//! is active. The writer looks here before each grant. So of a grant and a removal of the same worktree one comes first: the
//! removal sees the session and leaves the worktree alone, or the reserve waits until the worktree is gone, and looks again.

use std::sync::Arc;

use parking_lot::Mutex;
use proto_schema::ThreadName;
use tokio::sync::watch;

use super::shared::Shared;
use crate::registry::{Registry, Reserve, ThreadKey};

/// All removals under way.
#[derive(Default)]
pub(super) struct Removals {
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    under_way: Vec<UnderWay>,
    /// How many there were.
    begun: u64,
}

struct UnderWay {
    thread: ThreadKey,
    /// As sessions have it.
    path: Arc<str>,
    until: Until,
}

/// The end of a removal, for who waits for it.
#[derive(Clone, Debug)]
pub struct Until(watch::Receiver<()>);

/// A removal that was announced, for as long as this lives.
pub(super) struct Announced {
    shared: Arc<Shared>,
    until: watch::Receiver<()>,
    _end: watch::Sender<()>,
}

impl Until {
    pub(super) async fn passed(mut self) {
        // Nothing is ever sent: the sender goes.
        while self.0.changed().await.is_ok() {}
    }
}

impl Removals {
    /// What stands in the way of a grant.
    pub(super) fn before(&self, registry: &Registry, reserve: &Reserve) -> Option<Until> {
        let list = self.list.lock();
        if list.under_way.is_empty() {
            return None;
        }
        let repo = registry.repo_at(reserve.repo.key).map(|repo| repo.id);
        let is_of = |one: &&UnderWay| {
            repo == Some(one.thread.0) && one.thread.1 == reserve.thread || reserve.path.as_ref() == Some(&one.path)
        };
        list.under_way.iter().find(is_of).map(|one| one.until.clone())
    }

    /// One of a thread of that name, in any repository.
    pub(super) fn of(&self, thread: &ThreadName) -> Option<Until> {
        self.list.lock().under_way.iter().find(|one| one.thread.1 == *thread).map(|one| one.until.clone())
    }

    /// How many have begun: what was read of worktrees while this rose may be of one that is half gone.
    pub(super) fn begun(&self) -> u64 {
        self.list.lock().begun
    }
}

impl Announced {
    pub(super) fn new(shared: &Arc<Shared>, thread: ThreadKey, path: Arc<str>) -> Self {
        let (end, until) = watch::channel(());
        let mut list = shared.removals.list.lock();
        list.under_way.push(UnderWay { thread, path, until: Until(until.clone()) });
        list.begun += 1;
        drop(list);
        Self { shared: Arc::clone(shared), until, _end: end }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        // Those who wait are told after this.
        self.shared.removals.list.lock().under_way.retain(|one| !one.until.0.same_channel(&self.until));
    }
}
