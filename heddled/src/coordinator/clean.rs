//! Removing the worktrees of merged threads that hold no work, and saying why the others stay. Branches stay in any case.

use std::path::PathBuf;
use std::sync::Arc;

use proto_schema::{ObjectId, SessionId, ThreadName};
use tracing::info;

use super::captures::Cancellable;
use super::failure::Failure;
use super::merged::merged_state;
use super::removals::Announced;
use super::shared::Shared;
use super::worktrees::locker;
use super::{Coordinator, Settings};
use crate::registry::{Registry, RepoRecord, SessionRecord, ThreadKey, ThreadRecord};
use crate::repo::{CaptureRefused, Error, Kept, LinkedWorktree, Pair, Removal, RemoveRequest, shown};

/// What was cleaned.
#[derive(Clone, Debug, Default)]
pub struct Cleaned {
    /// The worktrees that were removed, or would be.
    pub removed: Vec<LinkedWorktree>,
    /// Those that stay, and why.
    pub kept: Vec<(LinkedWorktree, Stays)>,
}

/// Why a thread's worktree stays.
#[derive(Clone, Debug)]
pub enum Stays {
    /// A session holds the thread.
    Held(SessionId),
    /// A session on another thread works in it.
    InUse {
        /// The session.
        session: SessionId,
        /// Its thread.
        thread: ThreadName,
    },
    /// It is where the call was made from.
    AskedFrom,
    /// There is no such branch any more.
    BranchGone,
    /// Nobody said what the thread is meant for.
    NoTarget,
    /// The branch that the thread is meant for is not there.
    TargetGone(ThreadName),
    /// The thread is where it was when it was first reserved.
    Unchanged,
    /// Its target lacks its work.
    NotMerged {
        /// The target.
        target: ThreadName,
        /// How many commits the target lacks.
        ahead: u64,
    },
    /// The worktree is not as it should be.
    Git(Kept),
    /// It cannot be looked at, or not be removed.
    Unreadable(Arc<Error>),
}

/// One worktree, and all that it takes to look at it.
#[derive(Clone)]
struct Job {
    shared: Arc<Shared>,
    settings: Arc<Settings>,
    repo: Arc<RepoRecord>,
    worktree: Arc<LinkedWorktree>,
    path: Arc<str>,
    cancellable: Arc<Cancellable>,
}

impl Coordinator {
    /// Removes the linked worktrees of a repository whose threads are merged and that hold no work; with `dry_run` says which.
    ///
    /// # Errors
    /// `Repo`: there is no repository, another registry decides about it, or its worktrees cannot be listed. What becomes of
    /// one worktree is no error of the call.
    pub async fn clean(&self, path: PathBuf, dry_run: bool) -> Result<Cleaned, Failure> {
        let coordinator = self.clone();
        // A task of its own: a caller that is dropped half way must not leave a worktree half removed.
        let cleaned = tokio::spawn(async move { coordinator.clean_all(path, dry_run).await });
        cleaned.await.unwrap_or(Err(Failure::Broken("cleaning")))
    }

    async fn clean_all(&self, path: PathBuf, dry_run: bool) -> Result<Cleaned, Failure> {
        let mut cleaned = Cleaned::default();
        let Some(id) = self.repo_id(path.clone()).await? else { return Ok(cleaned) };
        self.end_dead(Some(id)).await?;
        let repo = self.snapshot().registry.repo(id).cloned().ok_or(Failure::Broken("a repository without record"))?;
        let (shared, settings, looked_at) = (Arc::clone(&self.shared), self.settings(), Arc::clone(&repo));
        let (linked, here) = self
            .shared
            .read_repo(&repo.git_dir, "look for worktrees", move || {
                refuse_taken_over(&shared, &settings, &looked_at)?;
                let here = shared.repo.locate(&path)?.worktree;
                Ok((shared.repo.linked_worktrees(&looked_at.git_dir)?, here))
            })
            .await?;
        let threads = linked.iter().map(|worktree| (id, worktree.thread.clone())).collect();
        // Those that are merged are so from now on, whatever becomes of their worktrees.
        let _seen = self.look_at(threads).await;
        let cancellable = Arc::new(Cancellable::of_nobody(&self.shared));
        for worktree in linked {
            if self.snapshot().registry.thread(&(id, worktree.thread.clone())).is_none() {
                continue;
            }
            if here.as_deref() == Some(&worktree.path) {
                cleaned.kept.push((worktree, Stays::AskedFrom));
                continue;
            }
            let job = Job {
                shared: Arc::clone(&self.shared),
                settings: self.settings(),
                repo: Arc::clone(&repo),
                path: shown(&worktree.path),
                worktree: Arc::new(worktree.clone()),
                cancellable: Arc::clone(&cancellable),
            };
            match self.clean_one(job, dry_run).await? {
                None => cleaned.removed.push(worktree),
                Some(stays) => cleaned.kept.push((worktree, stays)),
            }
        }
        Ok(cleaned)
    }

    async fn clean_one(&self, job: Job, dry_run: bool) -> Result<Option<Stays>, Failure> {
        let first = job.clone();
        // Most stay, and nobody need wait for that.
        let look = move || match first.refuse() {
            Ok(tip) if dry_run => first.remove(tip, true),
            other => Ok(other.err()),
        };
        let stays = self.shared.work_in_worktree(&job.repo.git_dir, "look at a worktree", look).await?;
        if dry_run || stays.is_some() {
            return Ok(stays);
        }
        // A capture of a session that has ended by now is left to its end.
        let turn = tokio::select! {
            turn = self.shared.captures.turn(&job.worktree.path, &job.repo.git_dir) => turn,
            () = job.cancellable.cancelled() => return Err(Failure::ShuttingDown),
        };
        let announced = Announced::new(&self.shared, job.thread(), Arc::clone(&job.path));
        // All that was granted before is committed on return; all that comes later waits.
        self.barrier().await?;
        let alone = self.shared.worktrees.turn(job.repo.id).await;
        let git_dir = Arc::clone(&job.repo.git_dir);
        let remove = move || {
            let _until = (turn, announced, alone);
            match job.refuse() {
                Ok(tip) => job.remove(tip, false),
                Err(stays) => Ok(Some(stays)),
            }
        };
        self.shared.work_in_worktree(&git_dir, "remove a worktree", remove).await
    }
}

impl Job {
    fn thread(&self) -> ThreadKey {
        (self.repo.id, self.worktree.thread.clone())
    }

    /// The thread's tip, if it is merged and nobody works on it or in the worktree.
    fn refuse(&self) -> Result<ObjectId, Stays> {
        let committed = self.shared.committed.load_full();
        if let Some(session) = self.user(&committed.registry) {
            let (id, thread) = (session.id, session.thread.clone());
            let holds = session.thread_key() == self.thread();
            return Err(if holds { Stays::Held(id) } else { Stays::InUse { session: id, thread } });
        }
        // Threads are never forgotten.
        let record = committed.registry.thread(&self.thread()).ok_or(Stays::BranchGone)?;
        let tip = self.shared.repo.tip(&self.repo.git_dir, &record.thread).map_err(unreadable)?;
        let tip = tip.ok_or(Stays::BranchGone)?;
        let Some(target) = record.target_thread.clone() else { return Err(Stays::NoTarget) };
        let Some(at) = self.shared.repo.tip(&self.repo.git_dir, &target).map_err(unreadable)? else {
            return Err(Stays::TargetGone(target));
        };
        match merged_state(&*self.shared.repo, &self.repo.git_dir, record, tip, at) {
            Some(_) => Ok(tip),
            None => Err(self.not_merged(record, tip, (target, at))),
        }
    }

    /// The active session that would miss the worktree.
    fn user<'a>(&self, registry: &'a Registry) -> Option<&'a Arc<SessionRecord>> {
        let works_here = |session: &&Arc<SessionRecord>| session.path.as_ref() == Some(&self.path);
        registry.holder(&self.thread()).or_else(|| registry.active(None).find(works_here))
    }

    fn not_merged(&self, record: &ThreadRecord, tip: ObjectId, (target, at): (ThreadName, ObjectId)) -> Stays {
        if tip == record.base_state {
            return Stays::Unchanged;
        }
        let pair = Pair { tip, target: Some(at), base: record.base_state };
        match self.shared.repo.compare(&self.repo.git_dir, pair) {
            Ok(compared) => Stays::NotMerged { target, ahead: compared.ahead },
            Err(error) => unreadable(error),
        }
    }

    fn remove(&self, tip: ObjectId, dry_run: bool) -> Result<Option<Stays>, Failure> {
        // Another registry may have granted a thread in it.
        refuse_taken_over(&self.shared, &self.settings, &self.repo)?;
        let ended = |id: SessionId| {
            let committed = self.shared.committed.load();
            committed.registry.session(id).is_some_and(|session| !session.is_active())
        };
        let own_lock = self.worktree.locked.as_deref().filter(|reason| locker(reason).is_some_and(ended));
        let removed = self.shared.repo.remove_worktree(&RemoveRequest {
            git_dir: &self.repo.git_dir,
            worktree: &self.worktree.path,
            thread: &self.worktree.thread,
            tip,
            own_lock,
            dry_run,
            allowed_filters: &self.settings.allowed_filters,
            cancelled: self.cancellable.flag(),
        });
        match removed {
            Ok(Removal::Removed) => {
                if !dry_run {
                    info!(repo = %self.repo.shown, thread = %self.worktree.thread, path = %self.path, "a worktree was removed");
                }
                Ok(None)
            }
            Ok(Removal::Kept(kept)) => Ok(Some(Stays::Git(kept))),
            Err(Error::Capture(CaptureRefused::Cancelled)) => Err(Failure::ShuttingDown),
            Err(error) => Ok(Some(unreadable(error))),
        }
    }
}

fn unreadable(error: Error) -> Stays {
    Stays::Unreadable(Arc::new(error))
}

/// Lets only a repository pass that this registry decides about.
fn refuse_taken_over(shared: &Shared, settings: &Settings, repo: &RepoRecord) -> Result<(), Failure> {
    shared.check_known(settings, repo)
}
