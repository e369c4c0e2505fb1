//! The registry: who holds what. Pure: no I/O, no clock, no randomness, no async; time and verdicts are passed in.
//!
//! # Invariants
//!
//! - R1: a thread of a repository has at most one active session.
//! - R2: fencing tokens strictly increase, and none is ever given twice.
//! - R3: no reply before the batch that it speaks of is durable (the coordinator's part).
//! - R4: an ended session never becomes active, and nothing of it changes but that a complete one becomes merged.
//! - R5: the state that is loaded equals the state before the crash: applying the journal's entries again, to a checkpoint
//!   that has some of them or all, ends in the same state.
//!
//! [`Registry`] is the state, [`decide`] says what a [`Command`] would change or why it may not, [`Registry::apply`] applies
//! it, [`Lease`] is a session's time to live.

mod apply;
mod change;
mod command;
mod decide;
mod holder;
mod lease;
mod merge;
mod observe;
mod operation;
mod record;
mod records;
mod refusal;
mod spelling;
mod state;
#[cfg(test)]
pub(crate) mod tests;

pub use apply::{ENDED_KEPT, ENDED_KEPT_MS};
pub use change::{Actor, Change, Ending, Entry};
pub use command::{Command, RepoSeen, Reserve};
pub use decide::{Decision, active, authorized, decide, find, repeats, replay};
pub use holder::HolderProcess;
pub use lease::{Beat, Closed, ConnectionId, Deadlines, GRACE_MS, Lease};
pub use merge::{Merging, merge};
pub use observe::{Observation, observe};
pub use operation::{Detail, OperationRecord};
pub use record::{
    AgentRecord, CaptureIntent, Checked, HoldRecord, Intent, MarkKey, ParamDigest, Pulse, RepoId, RepoKey, RepoRecord,
    RepositoryId, RequestRecord, SessionRecord, ThreadKey, ThreadRecord, TokenHash,
};
pub use records::{Difference, Records};
pub use refusal::Refusal;
pub use spelling::Folding;
pub use state::{Counters, Registry, before_era};
