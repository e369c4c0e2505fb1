//! The names of requests: each call has one, its error tells it (`data.request`), and every line that the log has about the
//! call begins with it or says it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Gives the calls of this process their names. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<AtomicU64>);

impl Names {
    /// The next name.
    pub(super) fn next(&self) -> RequestName {
        RequestName(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// The name of a call: `<pid>-<number>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RequestName(u64);

impl fmt::Display for RequestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", std::process::id(), self.0)
    }
}
