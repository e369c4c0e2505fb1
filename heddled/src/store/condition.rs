//! How an open store is: for health reports, which must not wait for the thread that writes.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// What is wrong with an open store, if anything is.
#[derive(Debug, Default)]
pub struct Condition {
    failed: ArcSwapOption<String>,
    checkpoint: ArcSwapOption<String>,
}

impl Condition {
    /// Returns why the store takes no changes until it is opened again.
    #[must_use]
    pub fn failed(&self) -> Option<Arc<String>> {
        self.failed.load_full()
    }

    /// Returns why the last checkpoint failed. The store tries again, and takes changes while its journal has room.
    #[must_use]
    pub fn checkpoint_failed(&self) -> Option<Arc<String>> {
        self.checkpoint.load_full()
    }

    /// The first reason stays.
    pub(super) fn fail(&self, why: String) {
        self.failed.rcu(|known| Some(known.clone().unwrap_or_else(|| Arc::new(why.clone()))));
    }

    pub(super) fn set_checkpoint(&self, problem: Option<String>) {
        self.checkpoint.store(problem.map(Arc::new));
    }
}
