//! Where Git is run on a worktree that nobody trusts: a private Git directory of the daemon's own, for a capture and for a
//! look at what has changed alike.
//!
//! The repository's own Git directory is only read. What Git sees is a configuration that was made from what counts
//! ([`Snapshot`]), a copy of the index, the repository's objects as an alternate, and the worktree as it was opened
//! ([`beneath`]): no command of the repository, of a repository within it, or of the worktree runs.

mod beneath;
pub(super) mod filters;
mod listed;
mod listings;
pub(super) mod rules;
mod run;
mod snapshot;
mod stored;
mod work;

pub(super) use beneath::{Beneath, Content};
pub(super) use listed::Listed;
pub(super) use run::{Bounds, SPARE, is_full, run, said_why, wait_for};
pub(super) use snapshot::Snapshot;
pub(super) use stored::Stored;
pub(super) use work::{
    Limits, Purpose, Work, Workplace, Workplaces, copy_rules, private, quoted, registered, search_path, write_below,
};
