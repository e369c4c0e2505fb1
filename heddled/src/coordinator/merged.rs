//! Whether the work of a thread has reached its target.

use std::path::Path;

use proto_schema::{ObjectId, ThreadState};
use tracing::debug;

use crate::registry::ThreadRecord;
use crate::repo::Repo;

/// The target's commit that has the work of a thread that nobody holds; none while the target lacks it, or where that cannot be
/// told. `tip` is the thread's tip, `target` its target's.
pub(super) fn merged_state(
    repo: &dyn Repo,
    git_dir: &Path,
    record: &ThreadRecord,
    tip: ObjectId,
    target: ObjectId,
) -> Option<ObjectId> {
    if record.state == ThreadState::Merged && record.current_state == Some(tip) {
        return record.merged_state;
    }
    // Where it began there is nothing to merge.
    if tip == record.base_state {
        return None;
    }
    repo.merged_by(git_dir, tip, target)
        .inspect_err(|error| debug!(thread = %record.thread, %error, "whether it is merged cannot be told"))
        .ok()
        .flatten()
}
