//! The registry's state and what can be asked of it.
//!
//! All maps are persistent (`imbl`): a clone costs a few reference counts and shares everything, so that the last
//! committed state can be read by anybody while the next one is being made, and dropped when its flush fails.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use proto_schema::{FencingToken, RequestId, SessionId, SessionStatus, ThreadName, Timestamp};

use super::HolderProcess;
use super::record::{
    Intent, MarkKey, RepoId, RepoKey, RepoRecord, RepositoryId, SessionRecord, ThreadKey, ThreadRecord,
};
use super::spelling::Folding;

/// Who holds what: every repository, session and thread, with the indexes that the decisions need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registry {
    pub(super) counters: Counters,
    pub(super) repos: OrdMap<RepoId, Arc<RepoRecord>>,
    /// By fencing token, which is the order of the grants.
    pub(super) sessions: OrdMap<FencingToken, Arc<SessionRecord>>,
    pub(super) threads: OrdMap<ThreadKey, Arc<ThreadRecord>>,
    pub(super) index: Index,
}

/// The numbers that only ever rise, what is drawn once, and the time of the last pruning.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// The revision of the last operation.
    pub revision: u64,
    /// The last fencing token granted.
    pub fencing: u64,
    /// The last repository's number.
    pub repo: u32,
    /// The last thread's number.
    pub thread: u64,
    /// What marks are signed with; none in a state of an older version until its next start.
    #[serde(default)]
    pub mark_key: Option<MarkKey>,
    /// The time as of which old records were last pruned; none before the first time.
    #[serde(default)]
    pub pruned: Option<Timestamp>,
}

impl Counters {
    /// The era of the next fencing token.
    #[must_use]
    pub fn era(&self) -> u64 {
        self.fencing / ERA
    }
}

/// How many fencing tokens an era has. A registry that takes a repository over goes on in a later era than the one before
/// it, so that its tokens are higher than all of that one's, however many those were: 2^13 eras of 2^40 make 2^53.
const ERA: u64 = 1 << 40;

/// The token after which an era begins.
#[must_use]
pub fn before_era(era: u64) -> FencingToken {
    FencingToken(era.saturating_mul(ERA))
}

/// What is derived from the records, so that no decision scans them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index {
    pub(super) repos: OrdMap<RepoKey, RepoId>,
    pub(super) marks: OrdMap<RepositoryId, RepoId>,
    pub(super) ids: OrdMap<SessionId, FencingToken>,
    /// R1: a map, so there is at most one active session for each thread.
    pub(super) holders: OrdMap<ThreadKey, FencingToken>,
    pub(super) active: OrdSet<FencingToken>,
    pub(super) by_thread: OrdSet<(RepoId, ThreadName, FencingToken)>,
    pub(super) by_process: OrdSet<(HolderProcess, FencingToken)>,
    pub(super) requests: OrdMap<RequestId, FencingToken>,
    pub(super) ended: OrdSet<(Timestamp, FencingToken)>,
}

impl Registry {
    /// The revision of the last operation.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.counters.revision
    }

    /// The numbers that only ever rise.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The era of the next fencing token.
    #[must_use]
    pub fn era(&self) -> u64 {
        self.counters.era()
    }

    /// The repository of that number.
    #[must_use]
    pub fn repo(&self, id: RepoId) -> Option<&Arc<RepoRecord>> {
        self.repos.get(&id)
    }

    /// The repository at that place.
    #[must_use]
    pub fn repo_at(&self, key: RepoKey) -> Option<&Arc<RepoRecord>> {
        self.index.repos.get(&key).and_then(|id| self.repos.get(id))
    }

    /// The repository with this id in its mark.
    #[must_use]
    pub fn repo_marked(&self, mark: RepositoryId) -> Option<&Arc<RepoRecord>> {
        self.index.marks.get(&mark).and_then(|id| self.repos.get(id))
    }

    /// Every repository.
    pub fn repos(&self) -> impl Iterator<Item = &Arc<RepoRecord>> {
        self.repos.values()
    }

    /// The session of that id.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Arc<SessionRecord>> {
        self.index.ids.get(&id).and_then(|token| self.sessions.get(token))
    }

    /// The session that was granted with that fencing token.
    #[must_use]
    pub fn granted(&self, token: FencingToken) -> Option<&Arc<SessionRecord>> {
        self.sessions.get(&token)
    }

    /// The active session that holds the thread.
    #[must_use]
    pub fn holder(&self, thread: &ThreadKey) -> Option<&Arc<SessionRecord>> {
        self.index.holders.get(thread).and_then(|token| self.sessions.get(token))
    }

    /// The repositories with threads that are held.
    #[must_use]
    pub fn held_repositories(&self) -> BTreeSet<RepoId> {
        self.index.holders.keys().map(|(repo, _)| *repo).collect()
    }

    /// The threads of a repository that are held.
    pub fn held(&self, repo: RepoId) -> impl Iterator<Item = &ThreadName> {
        let held = self.index.holders.range((repo, ThreadName::least())..);
        held.take_while(move |((id, _), _)| *id == repo).map(|((_, thread), _)| thread)
    }

    /// A thread that an active session holds and that the ref store takes for this one, or cannot tell its folder from this
    /// one's. Looks at every holder of the repository, and only where names are folded.
    #[must_use]
    pub fn held_as(&self, thread: &ThreadKey, folding: Folding) -> Option<ThreadName> {
        if folding == Folding::None {
            return None;
        }
        let (repo, name) = thread;
        let mut held = self
            .index
            .holders
            .range((Bound::Included((*repo, ThreadName::least())), Bound::Unbounded))
            .take_while(|((id, _), _)| id == repo)
            .map(|((_, other), _)| other);
        held.find(|other| folding.confuses(other, name)).cloned()
    }

    /// A thread whose branch is being made and that Git cannot hold beside this one: a part of its path, or below it.
    #[must_use]
    pub fn beside(&self, thread: &ThreadKey) -> Option<ThreadName> {
        let (repo, name) = thread;
        let is_made = |session: &Arc<SessionRecord>| session.intent == Some(Intent::Create);
        let above = name.as_str().match_indices('/').filter_map(|(end, _)| name.as_str()[..end].parse().ok());
        let found = above.map(|above| (*repo, above)).find(|key| self.holder(key).is_some_and(is_made));
        if let Some((_, above)) = found {
            return Some(above);
        }
        let below = format!("{name}/");
        self.index
            .holders
            .range((Bound::Excluded((*repo, name.clone())), Bound::Unbounded))
            .take_while(|((id, other), _)| id == repo && other.as_str().starts_with(name.as_str()))
            .filter(|((_, other), _)| other.as_str().starts_with(&below))
            .find(|(key, _)| self.holder(key).is_some_and(is_made))
            .map(|((_, other), _)| other.clone())
    }

    /// The session that the request made.
    #[must_use]
    pub fn request(&self, id: &RequestId) -> Option<&Arc<SessionRecord>> {
        self.index.requests.get(id).and_then(|token| self.sessions.get(token))
    }

    /// The active sessions that the process holds.
    pub fn held_by<'a>(&'a self, process: &'a HolderProcess) -> impl Iterator<Item = &'a Arc<SessionRecord>> {
        let first = (process.clone(), FencingToken(0));
        self.index
            .by_process
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(move |(holder, _)| holder == process)
            .filter_map(|(_, token)| self.sessions.get(token))
    }

    /// Every session, newest first, from before `below` on.
    pub fn sessions(&self, below: Option<FencingToken>) -> impl Iterator<Item = &Arc<SessionRecord>> {
        self.sessions
            .range((Bound::Unbounded, below.map_or(Bound::Unbounded, Bound::Excluded)))
            .rev()
            .map(|(_, record)| record)
    }

    /// The active sessions, newest first, from before `below` on.
    pub fn active(&self, below: Option<FencingToken>) -> impl Iterator<Item = &Arc<SessionRecord>> {
        let range = (Bound::Unbounded, below.map_or(Bound::Unbounded, Bound::Excluded));
        self.index.active.range(range).rev().filter_map(|token| self.sessions.get(token))
    }

    /// The active sessions of one repository, by thread.
    pub fn active_in(&self, repo: RepoId) -> impl Iterator<Item = &Arc<SessionRecord>> {
        self.index
            .holders
            .range((Bound::Included((repo, ThreadName::least())), Bound::Unbounded))
            .take_while(move |((id, _), _)| *id == repo)
            .filter_map(|(_, token)| self.sessions.get(token))
    }

    /// The sessions of one thread, newest first, from before `below` on.
    pub fn sessions_of(
        &self,
        thread: ThreadKey,
        below: Option<FencingToken>,
    ) -> impl Iterator<Item = &Arc<SessionRecord>> {
        let (repo, name) = thread;
        let key = |token| (repo, name.clone(), token);
        let end = below.map_or(Bound::Included(key(FencingToken(u64::MAX))), |token| Bound::Excluded(key(token)));
        self.index
            .by_thread
            .range((Bound::Included(key(FencingToken(0))), end))
            .rev()
            .filter_map(|(_, _, token)| self.sessions.get(token))
    }

    /// The thread's record.
    #[must_use]
    pub fn thread(&self, thread: &ThreadKey) -> Option<&Arc<ThreadRecord>> {
        self.threads.get(thread)
    }

    /// The threads of one repository by name, after `after`.
    pub fn threads_of(&self, repo: RepoId, after: Option<&ThreadName>) -> impl Iterator<Item = &Arc<ThreadRecord>> {
        let start = match after {
            Some(name) => Bound::Excluded((repo, name.clone())),
            None => Bound::Included((repo, ThreadName::least())),
        };
        self.threads
            .range((start, Bound::Unbounded))
            .take_while(move |((id, _), _)| *id == repo)
            .map(|(_, record)| record)
    }

    /// How many sessions are active.
    #[must_use]
    pub fn active_count(&self) -> usize {
        self.index.active.len()
    }

    /// How many sessions are kept in each status. Looks at every one.
    #[must_use]
    pub fn count_by_status(&self) -> Vec<(SessionStatus, usize)> {
        use SessionStatus::{Abandoned, Active, Complete, Merged};
        let mut counts = [Active, Complete, Abandoned, Merged].map(|status| (status, 0));
        for session in self.sessions.values() {
            counts.iter_mut().filter(|(status, _)| *status == session.status).for_each(|(_, count)| *count += 1);
        }
        counts.to_vec()
    }

    /// How many sessions, threads and repositories are kept.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.sessions.len(), self.threads.len(), self.repos.len())
    }
}

#[cfg(test)]
mod tests;
