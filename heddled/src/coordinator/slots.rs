//! How much long work runs at one time: a few jobs in each repository, and a few in all, for each keeps a processor and a disk
//! busy that the agents need too.
//!
//! The bound in all only spreads the load: who has waited for [`SPREAD`] goes ahead without a slot of it, so that jobs that hang
//! in some repositories do not keep those of the others waiting.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a job waits at most because of those in other repositories.
const SPREAD: Duration = Duration::from_secs(2);

/// The slots of one kind of work.
pub(super) struct Slots {
    at_once: usize,
    repositories: Mutex<HashMap<Arc<Path>, Weak<Semaphore>>>,
    in_all: Arc<Semaphore>,
}

/// A slot, for as long as this lives.
pub(super) struct Slot {
    _in_repository: Option<OwnedSemaphorePermit>,
    _in_all: Option<OwnedSemaphorePermit>,
}

impl Slots {
    /// So many in a repository, and as many in all.
    pub(super) fn new(at_once: usize) -> Self {
        Self { at_once, repositories: Mutex::default(), in_all: Arc::new(Semaphore::new(at_once)) }
    }

    /// Waits for a slot in a repository, given by its Git directory.
    pub(super) async fn wait_for(&self, repository: &Arc<Path>) -> Slot {
        // Neither is ever closed.
        let in_repository = self.of(repository).acquire_owned().await.ok();
        let in_all = timeout(SPREAD, Arc::clone(&self.in_all).acquire_owned()).await.ok().and_then(Result::ok);
        Slot { _in_repository: in_repository, _in_all: in_all }
    }

    fn of(&self, repository: &Arc<Path>) -> Arc<Semaphore> {
        let mut repositories = self.repositories.lock();
        if let Some(slots) = repositories.get(repository).and_then(Weak::upgrade) {
            return slots;
        }
        repositories.retain(|_, slots| slots.strong_count() > 0);
        let slots = Arc::new(Semaphore::new(self.at_once));
        repositories.insert(Arc::clone(repository), Arc::downgrade(&slots));
        slots
    }
}
