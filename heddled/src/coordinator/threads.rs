//! Threads as they are shown: the record says what is known, Git says where the branch is, how far it is from its target, and
//! whether its work has reached it. What is news to the registry is recorded on the way.

use std::path::PathBuf;
use std::sync::Arc;

use proto_schema::{ObjectId, ThreadName, ThreadState};

use super::Coordinator;
use super::failure::Failure;
use super::merged::merged_state;
use super::message::Message;
use super::observer::observation;
use super::shared::Shared;
use super::snapshot::{Snapshot, View};
use crate::registry::{Merging, Observation, RepoId, RepoRecord, ThreadKey, ThreadRecord};
use crate::repo::{Comparison, Pair};

/// For how long the threads of one list are compared with their targets, in milliseconds. What was compared is remembered, so
/// that the next list goes on where this one stopped.
const COMPARED_FOR_MS: u64 = 1000;

/// How often branches are looked at for one answer: what is news at the first look is known at the second, and may lead on.
const LOOKS: usize = 2;

/// A thread as it is listed: its record, its branch as it is now, and who holds it.
#[derive(Clone, Debug)]
pub struct ThreadView {
    /// What is known of it.
    pub record: Arc<ThreadRecord>,
    /// Its branch's tip.
    pub tip: Option<ObjectId>,
    /// Who holds it.
    pub holder: Option<View>,
    /// Its repository.
    pub repo: Option<Arc<RepoRecord>>,
    /// Whether there is a target to compare it with.
    pub has_target: bool,
    /// How it stands to its target; none where it could not be told, or not in time.
    pub comparison: Option<Arc<Comparison>>,
}

/// What a look at some threads found.
struct Look {
    views: Vec<ThreadView>,
    moved: Vec<Observation>,
    merged: Vec<Merging>,
}

impl Coordinator {
    /// Lists the threads of a repository by name, with the revision that this shows and whether there are more.
    ///
    /// # Errors
    /// `Repo`: there is no repository, or its branches cannot be read.
    pub async fn threads(
        &self,
        path: PathBuf,
        state: Option<ThreadState>,
        after: Option<ThreadName>,
        limit: usize,
    ) -> Result<(Vec<ThreadView>, u64, bool), Failure> {
        let Some(repo) = self.repo_id(path).await? else {
            return Ok((Vec::new(), self.snapshot().registry.revision(), false));
        };
        let committed = self.snapshot();
        let is_asked_for = |record: &ThreadRecord| state.is_none_or(|state| record.state == state);
        // A thread with commits of its own that nobody holds may turn out to be merged, or to have been moved by plain Git.
        let may_change = |record: &ThreadRecord| {
            record.current_state != Some(record.base_state) && committed.registry.holder(&record.key()).is_none()
        };
        let (mut views, mut after) = (Vec::new(), after);
        while views.len() <= limit {
            // Only branches of threads that may be shown are read. What is in another state once it was looked at is left out.
            let is_candidate = |record: &&Arc<ThreadRecord>| is_asked_for(record) || may_change(record);
            let of_repo = committed.registry.threads_of(repo, after.as_ref()).filter(is_candidate);
            let threads: Vec<ThreadKey> = of_repo.take(limit + 1 - views.len()).map(|thread| thread.key()).collect();
            let Some((_, last)) = threads.last().cloned() else { break };
            views.extend(self.look_at(threads).await?.into_iter().filter(|view| is_asked_for(&view.record)));
            after = Some(last);
        }
        let more = views.len() > limit;
        views.truncate(limit);
        Ok((views, self.snapshot().registry.revision(), more))
    }

    /// Shows one thread.
    ///
    /// # Errors
    /// `Repo`, `ThreadNotFound`.
    pub async fn thread(&self, path: PathBuf, thread: ThreadName) -> Result<ThreadView, Failure> {
        let repo = self.repo_id(path).await?.ok_or(Failure::ThreadNotFound)?;
        self.thread_of(repo, thread).await
    }

    pub(super) async fn thread_of(&self, repo: RepoId, thread: ThreadName) -> Result<ThreadView, Failure> {
        self.look_at(vec![(repo, thread)]).await?.pop().ok_or(Failure::ThreadNotFound)
    }

    /// Looks at threads, and records what is news. Those that are not known are left out.
    pub(super) async fn look_at(&self, threads: Vec<ThreadKey>) -> Result<Vec<ThreadView>, Failure> {
        let mut views = Vec::new();
        for _ in 0..LOOKS {
            let (shared, committed, threads) = (Arc::clone(&self.shared), self.snapshot(), threads.clone());
            // All of one call are of one repository.
            let repo = threads.first().and_then(|(repo, _)| committed.registry.repo(*repo)).cloned();
            let Some(repo) = repo else { break };
            let work = move || look(&shared, &committed, threads);
            let look = self.shared.read_repo(&repo.git_dir, "read the branches", work).await?;
            views = look.views;
            // A daemon that cannot record it now still says where the branches are.
            if !self.recorded(look.moved, look.merged).await {
                break;
            }
        }
        let committed = self.snapshot();
        for view in &mut views {
            view.record = committed.registry.thread(&view.record.key()).unwrap_or(&view.record).clone();
        }
        Ok(views)
    }

    /// Records what was found, and says whether there was anything to record and it is recorded.
    async fn recorded(&self, moved: Vec<Observation>, merged: Vec<Merging>) -> bool {
        if moved.is_empty() && merged.is_empty() {
            return false;
        }
        // What is in the target is told first: of a branch that was merged and deleted the record says where it was.
        let told = self.shared.post(Message::Merged(merged)).and_then(|()| self.shared.post(Message::Observed(moved)));
        told.is_ok() && self.barrier().await.is_ok()
    }
}

fn look(shared: &Shared, committed: &Snapshot, threads: Vec<ThreadKey>) -> Result<Look, Failure> {
    let registry = &committed.registry;
    let mut look = Look { views: Vec::new(), moved: Vec::new(), merged: Vec::new() };
    let until = shared.clock.monotonic_ms() + COMPARED_FOR_MS;
    for key in threads {
        let Some(record) = registry.thread(&key).cloned() else { continue };
        let repo = registry.repo(record.repo).cloned();
        let tip = match &repo {
            Some(repo) => shared.repo.tip(&repo.git_dir, &record.thread)?,
            None => None,
        };
        let holder = registry.holder(&key).map(|session| committed.view(session));
        let in_time = shared.clock.monotonic_ms() < until;
        let (target, comparison) = match repo.as_ref().filter(|_| in_time) {
            Some(repo) => compared(shared, repo, &record, tip),
            None => (None, None),
        };
        if let (Some(repo), None, Some(target)) = (&repo, &holder, target)
            && let Some(last) = tip.or(record.current_state)
            && let Some(merged_state) = merged_state(&*shared.repo, &repo.git_dir, &record, last, target)
        {
            look.merged.push(Merging { thread: key.clone(), tip: last, merged_state, seen: registry.revision() });
        }
        let ended = shared.left.session(&key);
        look.moved.extend(observation(registry, key, tip).map(|news| Observation { ended, ..news }));
        look.views.push(ThreadView { record, tip, holder, repo, has_target: target.is_some(), comparison });
    }
    Ok(look)
}

/// The target's tip, and how the thread stands to it. What cannot be told is none: it is no reason not to show the thread.
pub(super) fn compared(
    shared: &Shared,
    repo: &RepoRecord,
    record: &ThreadRecord,
    tip: Option<ObjectId>,
) -> (Option<ObjectId>, Option<Arc<Comparison>>) {
    let git_dir = &repo.git_dir;
    let target = record.target_thread.as_ref().and_then(|target| shared.repo.tip(git_dir, target).ok().flatten());
    let pair = tip.map(|tip| Pair { tip, target, base: record.base_state });
    let comparison = pair.and_then(|pair| shared.repo.compare(git_dir, pair).ok());
    (target, comparison)
}
