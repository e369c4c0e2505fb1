//! Why a call could not be done: a refusal of the registry, or a failure at one of its edges.

use std::sync::Arc;

use proto_schema::{HolderProblem, Outcome};

use super::removals::Until;
use crate::liveness::Unidentified;
use crate::registry::{Refusal, RepoId, SessionRecord};
use crate::repo;

/// Why a call could not be done. The server turns it into the wire's error, with advice.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The registry says no.
    Refused(Refusal),
    /// Git says no, or could not.
    Repo(Arc<repo::Error>),
    /// The process that should hold the session cannot.
    Holder {
        /// The process.
        pid: i32,
        /// Why.
        problem: HolderProblem,
    },
    /// The system could not say which process it is that should hold the session.
    HolderUnreadable {
        /// The process.
        pid: i32,
        /// What the system said.
        cause: Arc<str>,
    },
    /// The change could not be made durable.
    Store(Outcome),
    /// The session lost its right between the check of its call and its write.
    Stale(Arc<SessionRecord>),
    /// A parameter is not what it should be.
    Invalid {
        /// Which.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// What happened after a revision is no longer kept.
    Compacted {
        /// The revision.
        after: u64,
        /// The oldest that is kept.
        oldest: u64,
    },
    /// The configuration does not serve this repository.
    NotServed(String),
    /// The thread is not known.
    ThreadNotFound,
    /// More is waiting for the writer than may.
    Overloaded {
        /// How much may.
        max: usize,
    },
    /// As many calls are under way in a repository as may be, and it does not answer any of them.
    RepositoryBusy {
        /// The repository's Git directory, or the mount point of paths that are not known to lead to one.
        repo: String,
        /// How many calls there are, with this one.
        value: usize,
        /// How many may be under way.
        max: usize,
    },
    /// The time to wait for the thread is over.
    WaitTimeout {
        /// Who holds it.
        owner: Arc<SessionRecord>,
        /// The place that the caller had in its queue; 1 is the next.
        position: usize,
    },
    /// As many callers wait as may.
    TooManyWaiters {
        /// How many wait.
        value: usize,
        /// How many may.
        max: usize,
    },
    /// The caller has a place in the thread's queue. Not for the wire: it is told when its turn comes.
    Queued,
    /// The thread changed each time between the look at its branch and the decision.
    Contended {
        /// How often it was looked at.
        reads: usize,
    },
    /// The worktree that the session would have is being removed: look and ask again then.
    BeingRemoved(Until),
    /// The repository is one in which what a crash left open is not settled yet: ask again then. Not for the wire.
    Recovering(RepoId),
    /// The daemon is stopping.
    ShuttingDown,
    /// A worker of the daemon broke.
    Broken(&'static str),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<repo::Error> for Failure {
    fn from(error: repo::Error) -> Self {
        Self::Repo(Arc::new(error))
    }
}

impl Failure {
    /// The process that should hold a session was not identified.
    pub(super) fn unidentified(pid: i32, why: Unidentified) -> Self {
        match why {
            Unidentified::Refused(problem) => Self::Holder { pid, problem },
            Unidentified::Unreadable(cause) => Self::HolderUnreadable { pid, cause },
        }
    }

    /// The era in which this registry granted tokens and of which it knows nothing, where that is what is in the way.
    pub(super) fn later_era(&self) -> Option<u64> {
        let Self::Repo(error) = self else { return None };
        let repo::Error::Unavailable { cause: repo::Cause::LaterEra { era, .. }, .. } = &**error else { return None };
        Some(*era)
    }

    /// The same of a call that had changed Git already: what could not be recorded then may well have happened.
    pub(super) fn after_git(self) -> Self {
        if matches!(self, Self::Store(_)) { Self::Store(Outcome::Unknown) } else { self }
    }
}
