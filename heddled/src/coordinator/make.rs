//! What a granted reserve makes in Git: the branch, and the worktree. Where the worktree fails, the branch is removed again.

use std::sync::Arc;

use tracing::warn;

use super::Settings;
use super::failure::Failure;
use super::reserve::ReserveRequest;
use super::shared::Shared;
use super::worktrees::lock_reason;
use crate::registry::{Intent, SessionRecord};
use crate::repo::{Error, Expected, Located, MarkSeen, shown};

/// Makes the branch where there is none, and the worktree where one is wanted.
pub(super) fn make(
    shared: &Shared,
    request: &ReserveRequest,
    session: &SessionRecord,
    settings: &Settings,
) -> Result<(bool, Option<Arc<str>>), Failure> {
    let repo = shared.repo.locate(&request.repo)?;
    if let Some(known) = shared.committed.load().registry.repo(session.repo) {
        // It was looked at before the grant, and this is after it.
        shared.claim_known(settings, known)?;
        if known.mark.is_some_and(|mark| repo.mark != MarkSeen::Id(mark)) {
            return Err(Error::Replaced { git_dir: repo.git_dir.to_path_buf() }.into());
        }
    }
    let created = session.intent == Some(Intent::Create);
    if created {
        let log = format!("heddle: reserved by {}", session.id);
        shared.repo.compare_and_swap(&repo.git_dir, &session.thread, Expected::Absent, session.anchor_state, &log)?;
    }
    let Some(path) = &request.worktree else { return Ok((created, None)) };
    let reason = lock_reason(session.id);
    let made = shared.repo.worktree(&repo, &session.thread, path.as_deref(), &settings.worktree_roots, &reason);
    match made {
        Ok(made) => Ok((created, Some(shown(&made)))),
        Err(error) if created => {
            take_back(shared, &repo, session);
            Err(error.for_new_branch(session.anchor_state).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes the branch that a reserve has just made and whose worktree could not be made.
fn take_back(shared: &Shared, repo: &Located, session: &SessionRecord) {
    if let Err(error) = shared.repo.delete_branch(&repo.git_dir, &session.thread, session.anchor_state) {
        warn!(session = %session.id, thread = %session.thread, %error, "the branch of a failed reserve stays");
    }
}
