//! How a repository is: what Git, the registry and the processes say of it at one time. Nothing is changed by looking.
//!
//! A look may take as long as `git status` does. So few are taken at one time in a repository, at a low priority. One that takes
//! too long, or whose caller has gone, is given up, and its caller is answered with what it has found by then.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::failure::Failure;
use super::identity::Identified;
use super::pool::Job;
use super::shared::Shared;
use super::slots::Slots;
use super::{Coordinator, Settings};
use crate::registry::{HolderProcess, RepoId, SessionRecord};
use crate::repo::{Cause, Claim, Error, Inspection, Located, StatusRequest, ThreadToInspect, WorktreeStatus, shown};

/// How many looks are taken at one time in a repository.
const AT_ONCE: usize = 2;

/// How long a worktree is looked at: a file that is never read to its end must not keep its place forever.
const LONGEST: Duration = Duration::from_secs(10);

/// How long the end of a look is waited for after it was given up.
const GRACE: Duration = Duration::from_secs(5);

/// How long a look waits for its turn. With it, whoever asks has an answer within half a minute.
const TURN: Duration = Duration::from_secs(10);

const OPERATION: &str = "look at the repository";

/// The most threads whose branches are looked at; more are not told of.
const THREADS: usize = 10_000;

/// The turns of the looks.
pub(super) struct Looks(Slots);

impl Default for Looks {
    fn default() -> Self {
        Self(Slots::new(AT_ONCE))
    }
}

/// What was found in a repository.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The repository, and from which worktree it is seen.
    pub repo: Located,
    /// This registry.
    pub claim: Claim,
    /// What the repository says of itself.
    pub inspection: Result<Inspection, Arc<Error>>,
    /// How the worktree is; none for a Git directory.
    pub status: Option<Result<WorktreeStatus, Arc<Error>>>,
    /// The active sessions that nobody can be working in.
    pub orphans: Vec<Orphan>,
}

/// An active session that nobody can be working in.
#[derive(Clone, Debug)]
pub struct Orphan {
    /// The session.
    pub session: Arc<SessionRecord>,
    /// Why.
    pub reason: OrphanReason,
}

/// Why nobody can be working in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrphanReason {
    /// Its holder process is dead.
    Dead,
    /// Its worktree is gone.
    NoWorktree,
}

/// Tells a look to end when its caller goes.
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Coordinator {
    /// Looks at the repository at a path, from the worktree that the path lies in.
    ///
    /// # Errors
    /// `Repo`: there is no repository. `NotServed`. What is wrong with one that is there is no error.
    pub async fn verify(&self, path: PathBuf) -> Result<Verified, Failure> {
        let lane = self.shared.lane_of(&path).await?;
        let place = lane.path();
        let Ok(turn) = timeout(TURN, self.shared.looks.0.wait_for(place)).await else {
            // Looks that do not end have all turns in this repository.
            let repo = shown(place).to_string();
            return Err(Failure::RepositoryBusy { repo, value: AT_ONCE + 1, max: AT_ONCE });
        };
        let given_up = GivenUp(Arc::new(AtomicBool::new(false)));
        let (flag, shared, settings, place) =
            (Arc::clone(&given_up.0), Arc::clone(&self.shared), self.settings(), Arc::clone(place));
        let job = Job { lane, what: OPERATION, to_its_end: true };
        let mut look = std::pin::pin!(self.shared.long_work.run(job, move || {
            let _turn = turn;
            verify(&shared, &settings, &path, &flag)
        }));
        if let Ok(found) = timeout(LONGEST, &mut look).await {
            return found;
        }
        // It ends within a moment, with what it has found by then.
        drop(given_up);
        timeout(GRACE, &mut look).await.unwrap_or_else(|_| {
            let cause = Cause::NoAnswer { path: place.to_path_buf(), after_s: (LONGEST + GRACE).as_secs() };
            Err(Error::Unavailable { operation: OPERATION, cause }.into())
        })
    }
}

fn verify(shared: &Shared, settings: &Settings, path: &Path, given_up: &AtomicBool) -> Result<Verified, Failure> {
    let Identified { repo, known, .. } = shared.locate(path)?;
    settings.check_served(&repo)?;
    let committed = shared.committed.load_full();
    let known = known.map(|known| known.id);
    let (mut threads, mut orphans) = (Vec::new(), Vec::new());
    if let Some(id) = known {
        orphans = orphans_of(shared, &repo, committed.registry.active_in(id));
        threads = threads_of(&committed.registry, id);
    }
    let inspection = shared.repo.inspect(path, &threads).map_err(Arc::new);
    let status = repo.worktree.as_deref().map(|worktree| {
        let request = StatusRequest {
            git_dir: &repo.git_dir,
            worktree,
            ignored: false,
            allowed_filters: &settings.allowed_filters,
            cancelled: given_up,
        };
        shared.repo.status(&request).map_err(Arc::new)
    });
    Ok(Verified { claim: settings.claim.clone(), inspection, status, orphans, repo })
}

/// The threads of a repository, with what their holders recorded.
fn threads_of(registry: &crate::registry::Registry, repo: RepoId) -> Vec<ThreadToInspect> {
    let records = registry.threads_of(repo, None).take(THREADS);
    let inspected = records.map(|record| {
        let holder = registry.holder(&record.key());
        // While a change of Git is under way, its branch is on its way.
        let settled = holder.filter(|session| session.intent.is_none());
        ThreadToInspect { thread: record.thread.clone(), recorded: settled.map(|session| session.recorded_state) }
    });
    inspected.collect()
}

/// Those of a repository's active sessions that nobody can be working in. Each process and each worktree is looked at once.
fn orphans_of<'a>(
    shared: &Shared,
    repo: &Located,
    sessions: impl Iterator<Item = &'a Arc<SessionRecord>>,
) -> Vec<Orphan> {
    let (mut dead, mut gone): (HashMap<&HolderProcess, bool>, HashMap<&str, bool>) = Default::default();
    let mut orphans = Vec::new();
    for session in sessions.take(THREADS) {
        let is_dead =
            session.hold.process.as_ref().is_some_and(|process| {
                *dead.entry(process).or_insert_with(|| shared.liveness.check(process).is_dead())
            });
        let is_gone = |path| {
            let found = || shared.repo.registered_worktree(repo, Path::new(path));
            *gone.entry(path).or_insert_with(|| matches!(found(), Err(Error::WorktreeNotFound { .. })))
        };
        let reason = if is_dead {
            OrphanReason::Dead
        } else if session.path.as_deref().filter(|_| session.intent.is_none()).is_some_and(is_gone) {
            OrphanReason::NoWorktree
        } else {
            continue;
        };
        orphans.push(Orphan { session: Arc::clone(session), reason });
    }
    orphans
}
