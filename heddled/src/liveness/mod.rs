//! Whether the processes that hold sessions live: identify one, check it, be told when it dies.
//!
//! It decides nothing about sessions: it answers and reports, and the coordinator ends what has to end.
//!
//! Invariants: V1, a process that lives is never said to have exited, whatever its state looks like from outside; V2, a
//! process that has exited is never said to live because another one got its pid; V3, what cannot be told is
//! [`Verdict::Unknown`], which counts as alive; V4, the death of a watched process is reported at least once.

#[cfg(target_os = "macos")]
mod darwin;
mod local;
#[cfg(target_os = "linux")]
mod namespace;
#[cfg(any(test, not(any(target_os = "linux", target_os = "macos"))))]
#[cfg_attr(
    any(target_os = "linux", target_os = "macos"),
    expect(dead_code, reason = "here it is built for its tests only")
)]
mod portable;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod stat;
mod watcher;

use std::sync::Arc;

use proto_schema::HolderProblem;

use crate::registry::HolderProcess;

pub use local::LocalLiveness;

/// What is known about a holder process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It lives.
    Alive,
    /// It has exited; its pid may belong to another process now.
    Exited,
    /// The machine has been started anew since it was seen.
    BootChanged,
    /// It cannot be told now. Counts as alive.
    Unknown,
    /// It is in another pid namespace than the daemon, if it lives: nothing will ever tell its end. Counts as alive.
    OtherNamespace,
}

impl Verdict {
    /// Whether the process is certainly gone.
    #[must_use]
    pub fn is_dead(self) -> bool {
        matches!(self, Self::Exited | Self::BootChanged)
    }
}

/// Why a process was not identified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unidentified {
    /// It cannot hold a session.
    Refused(HolderProblem),
    /// The system could not say which process it is, for want of descriptors perhaps.
    Unreadable(Arc<str>),
}

impl From<HolderProblem> for Unidentified {
    fn from(problem: HolderProblem) -> Self {
        Self::Refused(problem)
    }
}

impl Unidentified {
    fn unreadable(cause: impl std::fmt::Display) -> Self {
        Self::Unreadable(cause.to_string().into())
    }
}

/// The eyes of the daemon on the machine's processes.
pub trait Liveness: Send + Sync + 'static {
    /// The identity of the process `pid`, as named by a peer whose own pid is `peer` (from the socket's credentials;
    /// none if that is unknown). The answer belongs to one process that lived at one moment during the call.
    ///
    /// # Errors
    ///
    /// [`HolderProblem::OtherNamespace`] if the peer's pids are not the daemon's or it cannot be told,
    /// [`HolderProblem::NoSuchProcess`] if there is no such process or it has exited, [`HolderProblem::OtherUser`] if it
    /// runs as another user; [`Unidentified::Unreadable`] if the system could not say.
    fn identify(&self, peer: Option<i32>, pid: i32) -> Result<HolderProcess, Unidentified>;

    /// Whether a process lives. Never blocks: a few system calls at most.
    fn check(&self, holder: &HolderProcess) -> Verdict;

    /// Whether the process `peer` is the holder or descends from it. `peer` has been at the other end of a connection for
    /// `since_ms` milliseconds, so a younger process only has its pid. False where it cannot be told. Reads a file for each
    /// ancestor.
    fn descends(&self, peer: i32, since_ms: u64, holder: &HolderProcess) -> bool;

    /// Whether a process has exited and its parent is about to take note of it: it has not reaped it yet, and has work to
    /// do that only wants a processor. False where that cannot be told. Never blocks.
    fn is_being_reaped(&self, holder: &HolderProcess) -> bool;

    /// Whether a process that has exited may yet be said to have succeeded: it ended so, and its parent has not taken note of
    /// it. True where it cannot be told. Never blocks.
    fn may_have_succeeded(&self, holder: &HolderProcess) -> bool;

    /// Begins to watch a process; each call needs its own [`Liveness::unwatch`]. Its death is reported at once, also if
    /// it had died before. A death may be reported more than once.
    fn watch(&self, holder: &HolderProcess);

    /// Ends one watch. A report that is already on its way still arrives.
    fn unwatch(&self, holder: &HolderProcess);
}
