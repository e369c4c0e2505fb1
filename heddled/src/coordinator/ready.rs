//! Checking a thread for integration, and marking it ready or blocked.
//!
//! What is checked is one state: the thread's tip as it was read, against its target's. The writer marks the thread only if
//! nothing has moved it since; else it is read and checked anew.

use std::path::PathBuf;
use std::sync::Arc;

use proto_schema::{ObjectId, SessionId, ThreadName, VerificationSummary};

use super::captures::Cancellable;
use super::failure::Failure;
use super::message::Message;
use super::observer::observation;
use super::patience::Waited;
use super::snapshot::View;
use super::threads::ThreadView;
use super::{CaptureCall, Captured, Coordinator};
use crate::registry::{
    Checked, Command, Refusal, RepoRecord, SessionRecord, ThreadRecord, TokenHash, active, authorized, find,
};
use crate::repo::{
    CaptureRefused, Comparison, Conflicts, Error, GitOperation, MergeRequest, Pair, StatusRequest, WorktreeStatus,
};

/// How often a thread is checked that moves each time before it can be marked.
const CHECKS: usize = 5;

/// What is to be checked, as the server took it from the wire.
#[derive(Clone, Debug, Default)]
pub struct ReadyCall {
    /// One of the repository's worktrees; the session's own where none is named.
    pub worktree: Option<PathBuf>,
    /// Captures what the worktree has first, with this message.
    pub message: Option<String>,
    /// How sure the agent is, 0 to 1.
    pub confidence: Option<f64>,
    /// What the agent's own checks said.
    pub verification: Option<VerificationSummary>,
}

/// What stands in the way of integrating a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocker {
    /// The worktree is in the middle of an operation.
    OperationInProgress(GitOperation),
    /// The worktree's index has conflicts at these paths.
    IndexConflicted(Vec<PathBuf>),
    /// The worktree has changes that are not captured: the first paths, and how many.
    WorktreeDirty(Vec<Arc<str>>, u64),
    /// The target has no branch.
    TargetMissing,
    /// Thread and target have no commit in common.
    UnrelatedHistories,
    /// Merging the thread into its target conflicts.
    Conflicts(Conflicts),
}

/// What a check came to.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// The session.
    pub view: View,
    /// The thread, marked.
    pub thread: ThreadView,
    /// The commit that the check began with, where it was asked to capture and there was something to.
    pub captured: Option<ObjectId>,
    /// The worktree that was looked at; none for a session that has none.
    pub worktree: Option<PathBuf>,
    /// How the thread stands to its target.
    pub comparison: Arc<Comparison>,
    /// Where the target is checked out.
    pub target_at: Option<PathBuf>,
    /// What stands in the way; nothing when the thread is ready.
    pub blockers: Vec<Blocker>,
}

/// A check that has begun.
struct Begun {
    session: SessionId,
    token: TokenHash,
    repo: Arc<RepoRecord>,
    cancellable: Arc<Cancellable>,
}

/// What Git says of a thread's tip.
struct Found {
    tip: ObjectId,
    /// The registry's revision before the tip was read.
    seen: u64,
    has_target: bool,
    target_at: Option<PathBuf>,
    comparison: Arc<Comparison>,
    blocker: Option<Blocker>,
}

impl Coordinator {
    /// Checks the session's thread and marks it ready or blocked. With a message, what the worktree has is captured first.
    ///
    /// # Errors
    /// `Refused`: not found, token, inactive. `Stale`: the session ended meanwhile, and the thread is not marked. `Repo`: as
    /// at a capture, but for what is a blocker here.
    pub async fn ready(&self, id: SessionId, token: TokenHash, call: ReadyCall) -> Result<Readiness, Failure> {
        let committed = self.snapshot();
        let session = active(authorized(&committed.registry, id, token)?)?;
        let repo =
            committed.registry.repo(session.repo).cloned().ok_or(Failure::Broken("a session without repository"))?;
        self.progressed(&committed, session);
        self.shared.recovery.wait_for(repo.id).await?;
        let cancellable = Arc::new(Cancellable::new(&self.shared, id));
        let begun = Begun { session: id, token, repo, cancellable };
        let coordinator = self.clone();
        // A task of its own, as a capture has: it is ended by the session's end, not by a caller that is gone.
        tokio::spawn(async move { coordinator.check(begun, call).await })
            .await
            .unwrap_or(Err(Failure::Broken("checking the thread")))
    }

    async fn check(&self, begun: Begun, call: ReadyCall) -> Result<Readiness, Failure> {
        let (worktree, captured, mut blockers) = self.look_at_worktree(&begun, &call).await?;
        for _ in 0..CHECKS {
            let found = self.compare_with_target(&begun).await?;
            blockers.retain(|blocker| blocker.is_of_worktree());
            blockers.extend(found.blocker.clone());
            let checked = Checked { tip: found.tip, verification: call.verification, confidence: call.confidence };
            let command = Command::Check {
                session: begun.session,
                token_hash: begun.token,
                ready: blockers.is_empty(),
                checked,
                seen: found.seen,
            };
            let done = match self.shared.done(command).await {
                Err(Failure::Refused(Refusal::Outdated)) => continue,
                // It was active when the call came in: it lost its right on the way.
                Err(Failure::Refused(Refusal::Inactive(session))) => return Err(Failure::Stale(session)),
                done => done?,
            };
            let committed = self.snapshot();
            let session = &done.session;
            let record = committed.registry.thread(&session.thread_key()).cloned().ok_or(Failure::ThreadNotFound)?;
            let holder = committed.registry.holder(&session.thread_key()).map(|session| committed.view(session));
            let (comparison, repo) = (found.comparison, Some(Arc::clone(&begun.repo)));
            let thread = ThreadView {
                record,
                tip: Some(found.tip),
                holder,
                repo,
                has_target: found.has_target,
                comparison: Some(Arc::clone(&comparison)),
            };
            let view = committed.view(session);
            let target_at = found.target_at;
            return Ok(Readiness { view, thread, captured, worktree, comparison, target_at, blockers });
        }
        Err(Failure::Contended { reads: CHECKS })
    }

    /// Captures the worktree where that was asked for, else looks whether there is something to capture.
    async fn look_at_worktree(
        &self,
        begun: &Begun,
        call: &ReadyCall,
    ) -> Result<(Option<PathBuf>, Option<ObjectId>, Vec<Blocker>), Failure> {
        let own = find(&self.snapshot().registry, begun.session)?.path.is_some();
        if call.worktree.is_none() && !own {
            // It was reserved in a Git directory, and works without a worktree.
            return Ok((None, None, Vec::new()));
        }
        let worktree = self.worktree_of(begun.session, &begun.repo, call.worktree.clone()).await?;
        if let Some(message) = call.message.clone() {
            let capture =
                CaptureCall { worktree: Some(worktree.clone()), message: Some(message), confidence: call.confidence };
            match self.capture(begun.session, begun.token, capture).await {
                Ok(Captured { created, state, .. }) => {
                    return Ok((Some(worktree), created.then_some(state), Vec::new()));
                }
                // The look says all that is in the way.
                Err(failure) if is_in_the_way(&failure) => {}
                Err(failure) => return Err(failure),
            }
        }
        let status = self.status_of(begun, worktree.clone()).await?;
        Ok((Some(worktree), None, of_worktree(status)))
    }

    async fn status_of(&self, begun: &Begun, worktree: PathBuf) -> Result<WorktreeStatus, Failure> {
        let turn = tokio::select! {
            turn = self.shared.captures.turn(&worktree, &begun.repo.git_dir) => turn,
            () = begun.cancellable.cancelled() => return Err(self.lost(begun.session)),
        };
        let session = match active(find(&self.snapshot().registry, begun.session)?) {
            Ok(session) => Arc::clone(session),
            Err(_) => return Err(self.lost(begun.session)),
        };
        let (shared, settings) = (Arc::clone(&self.shared), self.settings());
        let (repo, cancellable) = (Arc::clone(&begun.repo), Arc::clone(&begun.cancellable));
        let (path, shared_too, git_dir) = (worktree.clone(), Arc::clone(&shared), Arc::clone(&repo.git_dir));
        let look = move || {
            Ok(shared.repo.status(&StatusRequest {
                git_dir: &repo.git_dir,
                worktree: &path,
                ignored: false,
                allowed_filters: &settings.allowed_filters,
                cancelled: cancellable.flag(),
            }))
        };
        let work =
            tokio::spawn(async move { shared_too.work_in_worktree(&git_dir, "look at the worktree", look).await });
        let operation = "look at the worktree in ten minutes";
        let (session_id, cancellable, git_dir) = (begun.session, &*begun.cancellable, Arc::clone(&begun.repo.git_dir));
        let waited = Waited { session: session_id, cancellable, worktree, git_dir, operation };
        let (status, _turn) = self.with_patience(waited, work, turn, drop).await?;
        // While an operation is under way, HEAD may be detached and the thread still be what it is about.
        if status.operation.is_none() && status.branch.as_deref() != Some(session.thread.as_str()) {
            return Err(Error::from(CaptureRefused::OtherThread { current: status.branch }).into());
        }
        Ok(status)
    }

    /// Reads the tips, and compares and merges them.
    async fn compare_with_target(&self, begun: &Begun) -> Result<Found, Failure> {
        let (session, record) = self.observed(begun).await?;
        let seen = self.snapshot().registry.revision();
        let (shared, repo) = (Arc::clone(&self.shared), Arc::clone(&begun.repo));
        let cancellable = Arc::clone(&begun.cancellable);
        let git_dir = Arc::clone(&repo.git_dir);
        let found = self
            .shared
            .work_in_worktree(&git_dir, "compare the thread", move || {
                let (git_dir, base) = (&repo.git_dir, record.base_state);
                let tip = shared.repo.tip(git_dir, &session.thread)?;
                let tip = tip.ok_or(Error::Conflict { expected: Some(session.recorded_state), actual: None })?;
                let named = record.target_thread.as_ref();
                let target = named.map(|target| shared.repo.tip(git_dir, target)).transpose()?.flatten();
                let target_at = match named.filter(|_| target.is_some()) {
                    Some(target) => shared.repo.checked_out_at(git_dir, target)?,
                    None => None,
                };
                let comparison = shared.repo.compare(git_dir, Pair { tip, target, base })?;
                let blocker = match target {
                    None => named.map(|_| Ok(Blocker::TargetMissing)).transpose(),
                    Some(_) if comparison.merge_base.is_none() => Ok(Some(Blocker::UnrelatedHistories)),
                    // One of them contains the other: there is nothing to merge.
                    Some(_) if comparison.ahead == 0 || comparison.behind == 0 => Ok(None),
                    Some(target) => {
                        let cancelled = cancellable.flag();
                        let conflicts = shared.repo.conflicts(&MergeRequest { git_dir, target, tip, cancelled });
                        conflicts.map(|conflicts| (conflicts.count > 0).then_some(Blocker::Conflicts(conflicts)))
                    }
                };
                let has_target = target.is_some();
                Ok(blocker.map(|blocker| Found { tip, seen, has_target, target_at, comparison, blocker }))
            })
            .await?;
        self.unless_cancelled(begun, found)
    }

    /// The session and its thread's record, which knows what plain Git did up to now.
    async fn observed(&self, begun: &Begun) -> Result<(Arc<SessionRecord>, Arc<ThreadRecord>), Failure> {
        let committed = self.snapshot();
        let key = match active(find(&committed.registry, begun.session)?) {
            Ok(session) => session.thread_key(),
            Err(_) => return Err(self.lost(begun.session)),
        };
        let (shared, repo, thread) = (Arc::clone(&self.shared), Arc::clone(&begun.repo), key.1.clone());
        let read = move || Ok(shared.repo.tip(&repo.git_dir, &thread)?);
        let tip = self.shared.read_repo(&begun.repo.git_dir, "read the branch", read).await?;
        if let Some(news) = observation(&committed.registry, key.clone(), tip) {
            self.shared.post(Message::Observed(vec![news]))?;
            self.barrier().await?;
        }
        let committed = self.snapshot();
        let session = find(&committed.registry, begun.session)?;
        let record = committed.registry.thread(&key).ok_or(Failure::ThreadNotFound)?;
        Ok((Arc::clone(session), Arc::clone(record)))
    }

    fn unless_cancelled<T>(&self, begun: &Begun, result: Result<T, Error>) -> Result<T, Failure> {
        match result {
            Err(Error::Capture(CaptureRefused::Cancelled)) => Err(self.lost(begun.session)),
            other => Ok(other?),
        }
    }
}

impl Blocker {
    fn is_of_worktree(&self) -> bool {
        matches!(self, Self::OperationInProgress(_) | Self::IndexConflicted(_) | Self::WorktreeDirty(..))
    }
}

/// What of a capture's refusals is no error of a check, but its answer.
fn is_in_the_way(failure: &Failure) -> bool {
    let Failure::Repo(error) = failure else { return false };
    let Error::Capture(refused) = &**error else { return false };
    matches!(refused, CaptureRefused::OperationInProgress { .. } | CaptureRefused::IndexConflicted { .. })
}

fn of_worktree(status: WorktreeStatus) -> Vec<Blocker> {
    let WorktreeStatus { operation, conflicted, changed_paths, changed_count, .. } = status;
    let dirty = changed_count > 0 && conflicted.is_empty();
    operation
        .map(Blocker::OperationInProgress)
        .into_iter()
        .chain((!conflicted.is_empty()).then_some(Blocker::IndexConflicted(conflicted)))
        .chain(dirty.then_some(Blocker::WorktreeDirty(changed_paths, changed_count)))
        .collect()
}

impl Readiness {
    /// The thread that it is meant for.
    #[must_use]
    pub fn target(&self) -> Option<&ThreadName> {
        self.thread.record.target_thread.as_ref()
    }
}
