//! The linked worktrees of sessions. Those of one repository are made, unlocked and removed one at a time, for Git fails where
//! it meets a record of another worktree that is half written. Repositories do not wait for each other.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proto_schema::{SessionId, ThreadMode};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::failure::Failure;
use super::shared::Shared;
use super::turns::{Turn, Turns};
use crate::registry::{Refusal, RepoId, RepoRecord, SessionRecord};

/// How long the answer of a call that ends a session waits for its worktree to be unlocked. A disk that does not answer must
/// not keep a session from ending.
const UNLOCKED_WITHIN: Duration = Duration::from_secs(5);

/// The worktrees that are worked on, and the sessions whose worktrees are to be unlocked.
pub(super) struct Worktrees {
    turns: Turns<RepoId>,
    ended: mpsc::UnboundedSender<Arc<SessionRecord>>,
}

impl Worktrees {
    pub(super) fn new(ended: mpsc::UnboundedSender<Arc<SessionRecord>>) -> Self {
        Self { turns: Turns::default(), ended }
    }

    /// Waits until no other worktree of the repository is being made, unlocked or removed.
    pub(super) async fn turn(&self, repo: RepoId) -> Turn {
        self.turns.take(&repo).await
    }

    /// How many turns of the repository were taken: where this rises, its disk answers.
    pub(super) fn turns_taken(&self, repo: RepoId) -> u64 {
        self.turns.taken(&repo)
    }

    /// Has the worktree of a session that has ended unlocked. Does not wait for it.
    pub(super) fn ended(&self, session: Arc<SessionRecord>) {
        if session.mode == ThreadMode::Worktree {
            // Fails only when the daemon is stopping. The next session on that thread takes the lock over.
            drop(self.ended.send(session));
        }
    }
}

/// What a worktree's lock says while the session lasts.
pub(super) fn lock_reason(session: SessionId) -> String {
    format!("reserved by {session}")
}

/// The session whose lock says that, if it is one of ours.
pub(super) fn locker(reason: &str) -> Option<SessionId> {
    let session = reason.strip_prefix("reserved by ")?.parse().ok()?;
    (lock_reason(session) == reason).then_some(session)
}

/// Unlocks the worktrees of the sessions that end, those of each repository on their own. Runs for as long as the daemon does.
pub(super) async fn run(shared: Arc<Shared>, mut ended: mpsc::UnboundedReceiver<Arc<SessionRecord>>) {
    while let Some(session) = ended.recv().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move { unlock(&shared, &session).await });
    }
}

/// Unlocks the worktree of a session that a call has ended, or found ended, before that call is answered.
pub(super) async fn unlocked(shared: &Arc<Shared>, ended: &Result<Arc<SessionRecord>, Failure>) {
    let (Ok(session) | Err(Failure::Refused(Refusal::Inactive(session)))) = ended else { return };
    if session.is_active() || session.mode != ThreadMode::Worktree {
        return;
    }
    let (shared, session) = (Arc::clone(shared), Arc::clone(session));
    let id = session.id;
    // A task of its own: it goes on where it is not waited for any longer.
    let unlocking = tokio::spawn(async move { unlock(&shared, &session).await });
    if tokio::time::timeout(UNLOCKED_WITHIN, unlocking).await.is_err() {
        warn!(session = %id, "its worktree is not unlocked yet: the disk of its repository does not answer");
    }
}

async fn unlock(shared: &Arc<Shared>, session: &Arc<SessionRecord>) {
    let Some(repo) = shared.committed.load().registry.repo(session.repo).cloned() else { return };
    let turn = shared.worktrees.turn(session.repo).await;
    let (worker, session, git_dir) = (Arc::clone(shared), Arc::clone(session), Arc::clone(&repo.git_dir));
    // A failure was logged; the next one does not wait for it.
    let unlock = move || {
        let _turn = turn;
        unlock_now(&worker, &repo, &session);
        Ok(())
    };
    let _unlocked = shared.change_repo(&git_dir, "unlock a worktree", unlock).await;
}

fn unlock_now(shared: &Shared, repo: &RepoRecord, session: &SessionRecord) {
    let Some(path) = &session.path else { return };
    let unlocked = shared
        .repo
        .locate(&repo.git_dir)
        .and_then(|repo| shared.repo.unlock_worktree(&repo, Path::new(&**path), &lock_reason(session.id)));
    if let Err(error) = unlocked {
        debug!(session = %session.id, %error, "its worktree stays locked");
    }
}
