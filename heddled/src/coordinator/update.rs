//! Moving a thread's branch, by its holder.

use std::sync::Arc;

use proto_schema::{ObjectId, SessionId};

use super::Coordinator;
use super::failure::Failure;
use super::pool::{self, PATIENCE};
use super::threads::{ThreadView, compared};
use crate::registry::{Command, Intent, Refusal, RepoRecord, TokenHash, active, authorized};
use crate::repo::{Error, Expected};

impl Coordinator {
    /// Moves the session's branch from `expected` to `new`. To the state it has already: a success that changes nothing.
    ///
    /// From the recording of the intent to the outcome the session cannot end, and the thread is not granted.
    ///
    /// # Errors
    /// `Refused`: not found, token, inactive. `Repo`: the branch is elsewhere, is checked out, or `new` is no commit.
    pub async fn update(
        &self,
        id: SessionId,
        token: TokenHash,
        expected: Option<ObjectId>,
        new: ObjectId,
    ) -> Result<ThreadView, Failure> {
        let committed = self.snapshot();
        let session = Arc::clone(active(authorized(&committed.registry, id, token)?)?);
        let repo =
            committed.registry.repo(session.repo).cloned().ok_or(Failure::Broken("a session without repository"))?;
        let key = session.thread_key();
        self.progressed(&committed, &session);
        self.shared.recovery.wait_for(repo.id).await?;
        let (shared, git_dir, thread) = (Arc::clone(&self.shared), Arc::clone(&repo.git_dir), session.thread.clone());
        let (settings, known) = (self.settings(), Arc::clone(&repo));
        let stands = self
            .shared
            .read_repo(&repo.git_dir, "read the branch", move || {
                shared.check_known(&settings, &known)?;
                let tip = shared.repo.tip(&git_dir, &thread)?;
                if tip == Some(new) {
                    // Whoever moved it there may not have waited for the disk.
                    let log = format!("heddle: moved by {id}");
                    shared.repo.compare_and_swap(&git_dir, &thread, Expected::At(new), new, &log)?;
                    return Ok(true);
                }
                if tip != expected {
                    return Err(Error::Conflict { expected, actual: tip }.into());
                }
                shared.repo.commit_root(&git_dir, new)?;
                match shared.repo.checked_out_at(&git_dir, &thread)? {
                    Some(worktree) => Err(Error::CheckedOut { worktree }.into()),
                    None => Ok(false),
                }
            })
            .await?;
        if !stands {
            // A task of its own, as in `reserve`: from its first step to its last nobody can end the session.
            let (coordinator, known) = (self.clone(), Arc::clone(&repo));
            let swap = tokio::spawn(async move { coordinator.swap(id, token, &known, expected, new).await });
            let swapped = tokio::time::timeout(PATIENCE, swap).await;
            let swapped = swapped.map_err(|_| pool::no_answer(&repo.git_dir, "move the branch"))?;
            swapped.unwrap_or(Err(Failure::Broken("moving the branch")))?;
        }
        let committed = self.snapshot();
        let record = committed.registry.thread(&key).cloned().ok_or(Failure::ThreadNotFound)?;
        let holder = committed.registry.holder(&key).map(|session| committed.view(session));
        let (shared, git_dir) = (Arc::clone(&self.shared), Arc::clone(&repo.git_dir));
        self.shared
            .read_repo(&git_dir, "compare the branch", move || {
                let (target, comparison) = compared(&shared, &repo, &record, Some(new));
                let has_target = target.is_some();
                Ok(ThreadView { record, tip: Some(new), holder, repo: Some(repo), has_target, comparison })
            })
            .await
    }

    async fn swap(
        &self,
        id: SessionId,
        token: TokenHash,
        repo: &Arc<RepoRecord>,
        expected: Option<ObjectId>,
        new: ObjectId,
    ) -> Result<(), Failure> {
        let intent = Intent::Move { expected, new };
        let begun = self.shared.done(Command::BeginMove { session: id, token_hash: token, intent }).await;
        let session = match begun {
            Ok(done) => done.session,
            // It was active when the call came in: it lost its right on the way.
            Err(Failure::Refused(Refusal::Inactive(session))) => return Err(Failure::Stale(session)),
            Err(failure) => return Err(failure),
        };
        let (shared, repo, thread) = (Arc::clone(&self.shared), Arc::clone(repo), session.thread.clone());
        let (from, settings) = (expected.map_or(Expected::Absent, Expected::At), self.settings());
        let (at, git_dir) = (Arc::clone(&repo.git_dir), Arc::clone(&repo.git_dir));
        let swapped = self
            .shared
            .change_repo(&at, "move the branch", move || {
                let log = format!("heddle: moved by {id}");
                // Another registry may have granted the thread to somebody else.
                let owned = shared.claim_known(&settings, &repo);
                let swapped = owned.and_then(|()| shared.repo.compare_and_swap(&git_dir, &thread, from, new, &log));
                let moved = match &swapped {
                    Ok(()) => true,
                    // It may have been moved all the same.
                    Err(Error::Unavailable { .. }) => {
                        shared.repo.tip(&git_dir, &thread).is_ok_and(|tip| tip == Some(new))
                    }
                    Err(_) => false,
                };
                Ok((moved, swapped))
            })
            .await;
        let moved = swapped.as_ref().is_ok_and(|(moved, _)| *moved);
        let finished = self.shared.finish(Command::FinishMove { session: id, moved }).await;
        swapped?.1?;
        finished.map(drop).map_err(Failure::after_git)
    }
}
