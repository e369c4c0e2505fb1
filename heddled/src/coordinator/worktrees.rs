//! Takes the locks off the worktrees of sessions that have ended. Behind everything else: nobody waits for it, and a lock
//! that stays after a crash only keeps a worktree from being pruned.

use std::path::Path;
use std::sync::Arc;

use proto_schema::SessionId;
use tokio::sync::mpsc;
use tracing::debug;

use super::shared::Shared;
use crate::registry::SessionRecord;

/// What a worktree's lock says while the session lasts.
pub(super) fn lock_reason(session: SessionId) -> String {
    format!("reserved by {session}")
}

/// The session whose lock says that, if it is one of ours.
pub(super) fn locker(reason: &str) -> Option<SessionId> {
    let session = reason.strip_prefix("reserved by ")?.parse().ok()?;
    (lock_reason(session) == reason).then_some(session)
}

/// Runs for as long as the daemon does.
pub(super) async fn run(shared: Arc<Shared>, mut ended: mpsc::UnboundedReceiver<Arc<SessionRecord>>) {
    while let Some(session) = ended.recv().await {
        let shared = Arc::clone(&shared);
        // A failure has been told in the log; the next one is not kept waiting for it.
        let _unlocked = super::blocking("unlocking a worktree", move || {
            unlock(&shared, &session);
            Ok(())
        })
        .await;
    }
}

fn unlock(shared: &Shared, session: &SessionRecord) {
    let Some(repo) = shared.committed.load().registry.repo(session.repo).cloned() else { return };
    let Some(path) = &session.path else { return };
    let unlocked = shared
        .repo
        .locate(&repo.git_dir)
        .and_then(|repo| shared.repo.unlock_worktree(&repo, Path::new(&**path), &lock_reason(session.id)));
    if let Err(error) = unlocked {
        debug!(session = %session.id, %error, "its worktree stays locked");
    }
}
