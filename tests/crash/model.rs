//! What the clients know of what they were told, and what they do not know.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde_json::Value;

/// What is known of something that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nobody asked.
    Not,
    /// It was asked for, and the answer never came.
    Asked,
    /// It was acknowledged.
    Done,
}

/// A grant that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) reservation: Value,
    pub(crate) thread: String,
    pub(crate) fencing: u64,
    pub(crate) token: String,
    /// The parameters, when they can be sent again.
    pub(crate) request: Option<Value>,
    pub(crate) granted_at: Duration,
    pub(crate) release: Known,
    pub(crate) release_asked_at: Option<Duration>,
}

impl Grant {
    pub(crate) fn session(&self) -> &str {
        self.reservation["session_id"].as_str().unwrap()
    }
}

/// A reserve whose answer never came.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) params: Value,
    pub(crate) thread: String,
}

/// What one client saw of one life of the daemon.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) grants: Vec<Grant>,
    pub(crate) lost: Option<Lost>,
    /// The threads that were moved: where each was before and was to be, and what is known of that.
    pub(crate) moved: HashMap<String, (String, String, Known)>,
    pub(crate) acknowledged: usize,
}

/// What all clients saw so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) fencing: BTreeSet<u64>,
    /// Moves and where they must have gone, from the last one of each thread.
    pub(crate) tips: BTreeMap<String, String>,
    pub(crate) released: Vec<Grant>,
}

impl History {
    /// R2 and R1 within one life of the daemon, by what was acknowledged.
    pub(crate) fn take(&mut self, journals: &[Journal]) {
        let before = self.fencing.last().copied().unwrap_or(0);
        let mut by_thread: BTreeMap<&str, Vec<&Grant>> = BTreeMap::new();
        for grant in journals.iter().flat_map(|journal| &journal.grants) {
            assert!(grant.fencing > before, "R2: {} was granted after {before}", grant.fencing);
            assert!(self.fencing.insert(grant.fencing), "R2: {} was granted twice", grant.fencing);
            by_thread.entry(&grant.thread).or_default().push(grant);
        }
        for journal in journals {
            assert!(journal.grants.is_sorted_by_key(|grant| grant.fencing), "R2: one client's grants rise");
        }
        for (thread, mut grants) in by_thread {
            grants.sort_by_key(|grant| grant.fencing);
            for pair in grants.windows(2) {
                let (earlier, later) = (pair[0], pair[1]);
                let given_back = earlier.release_asked_at.is_some_and(|at| at <= later.granted_at);
                assert!(given_back, "R1: {thread} was granted to {later:?} while {earlier:?} held it");
            }
        }
    }
}
