//! Applies what happened. Total: it cannot fail, and it never refuses what was once decided.

use std::sync::Arc;

use proto_schema::{EndReason, FencingToken, SessionStatus, ThreadState, Timestamp};

use super::change::{Change, Ending, Entry};
use super::record::{Intent, RepoKey, RepoRecord, SessionRecord, ThreadKey, ThreadRecord};
use super::state::Registry;

/// How long ended sessions are kept at least, unless there are more than [`ENDED_KEPT`].
pub const ENDED_KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// How many ended sessions are kept at most; the oldest go first.
pub const ENDED_KEPT: usize = 100_000;

impl Registry {
    /// Gives a change its place in the order. The entry is not applied yet.
    #[must_use]
    pub fn entry(&self, at: Timestamp, change: Change) -> Entry {
        Entry { revision: self.counters.revision + u64::from(change.is_operation()), at, change }
    }

    /// Applies one entry.
    pub fn apply(&mut self, entry: &Entry) {
        self.counters.revision = self.counters.revision.max(entry.revision);
        match &entry.change {
            Change::Reserved { session, repo } => self.reserve(session, repo.as_ref(), entry),
            Change::Settled { session, created, path } => {
                let settled = self.change_session(*session, |session| {
                    session.intent = None;
                    session.thread_created |= *created;
                    session.path = path.clone().or(session.path.take());
                });
                if let Some(session) = settled {
                    self.reserve_thread(&session, entry, *created);
                }
            }
            Change::Ended(ending) => self.end(ending, entry),
            Change::MoveIntended { session, intent } => {
                self.change_session(*session, |session| session.intent = Some(intent.clone()));
            }
            Change::MoveDropped { session } => {
                self.change_session(*session, |session| session.intent = None);
            }
            Change::Moved { session, after, .. } | Change::Captured { session, after, .. } => {
                let moved = self.change_session(*session, |session| {
                    session.intent = None;
                    session.recorded_state = *after;
                });
                if let Some(session) = moved {
                    self.change_thread(session.thread_key(), entry, |thread| {
                        thread.current_state = Some(*after);
                        thread.state = ThreadState::Active;
                    });
                }
            }
            Change::Checked { session, ready, checked } => {
                if let Some(thread) = self.session(*session).map(|session| session.thread_key()) {
                    self.change_thread(thread, entry, |thread| {
                        thread.checked = Some(*checked);
                        thread.state = if *ready { ThreadState::Ready } else { ThreadState::Blocked };
                    });
                }
            }
            Change::Merged { repo, thread, tip, merged_state, through } => {
                let key = (*repo, thread.clone());
                self.merge_sessions(&key, *through);
                self.change_thread(key, entry, |thread| {
                    thread.current_state = Some(*tip);
                    thread.merged_state = Some(*merged_state);
                    thread.state = ThreadState::Merged;
                });
            }
            Change::Observed { repo, thread, after, state, .. } => {
                self.change_thread((*repo, thread.clone()), entry, |thread| {
                    thread.current_state = *after;
                    thread.state = *state;
                });
            }
            Change::Held { session, hold } => {
                self.change_session(*session, |session| session.hold = hold.clone());
            }
            Change::Pulses(pulses) => {
                for (session, pulse) in pulses {
                    self.change_session(*session, |session| session.pulse = *pulse);
                }
            }
            Change::RepoSeen(repo) => self.see(repo),
            Change::MarkKeyDrawn(key) => self.counters.mark_key = self.counters.mark_key.or(Some(*key)),
            Change::FencingRaised { to } => self.counters.fencing = self.counters.fencing.max(to.0),
            Change::Pruned { as_of } => {
                self.counters.pruned = Some(*as_of);
                self.forget_before(as_of.plus_ms(-ENDED_KEPT_MS));
            }
            Change::Waiting { .. }
            | Change::WaitEnded { .. }
            | Change::DaemonStarted { .. }
            | Change::DaemonStopped { .. } => {}
        }
    }

    fn reserve(&mut self, session: &Arc<SessionRecord>, repo: Option<&Arc<RepoRecord>>, entry: &Entry) {
        if let Some(repo) = repo {
            self.see(repo);
        }
        self.counters.fencing = self.counters.fencing.max(session.fencing_token.0);
        self.counters.thread = self.counters.thread.max(session.thread_id);
        self.put(session);
        if session.intent.is_none() || self.threads.contains_key(&session.thread_key()) {
            self.reserve_thread(session, entry, false);
        }
    }

    /// Puts a repository at its place. A place has one repository, the one seen there last; the one that was there before is
    /// nowhere from then on, so that the records alone say who is where (R5).
    pub(super) fn see(&mut self, repo: &Arc<RepoRecord>) {
        let before = self.repos.insert(repo.id, Arc::clone(repo));
        if let Some(before) = before.filter(|before| self.index.repos.get(&before.key) == Some(&before.id)) {
            self.index.repos.remove(&before.key);
        }
        let displaced = self.index.repos.get(&repo.key).filter(|id| **id != repo.id).and_then(|id| self.repos.get(id));
        if let Some(displaced) = displaced.cloned() {
            let nowhere = RepoKey::nowhere(displaced.id);
            self.index.repos.insert(nowhere, displaced.id);
            self.repos.insert(displaced.id, Arc::new(RepoRecord { key: nowhere, ..RepoRecord::clone(&displaced) }));
        }
        self.index.repos.insert(repo.key, repo.id);
        if let Some(mark) = repo.mark {
            self.index.marks.insert(mark, repo.id);
        }
        self.counters.repo = self.counters.repo.max(repo.id.0);
    }

    /// Puts a session in place of what stood under its fencing token, and keeps every index true.
    pub(super) fn put(&mut self, session: &Arc<SessionRecord>) {
        let token = session.fencing_token;
        if let Some(before) = self.sessions.insert(token, Arc::clone(session)) {
            self.unindex(&before, session);
        } else {
            self.index.ids.insert(session.id, token);
            self.index.by_thread.insert((session.repo, session.thread.clone(), token));
            if let Some(request) = &session.request {
                // A replay may bring back a forgotten session after the later one that its request_id made.
                if self.index.requests.get(&request.id).is_none_or(|known| *known < token) {
                    self.index.requests.insert(request.id.clone(), token);
                }
            }
        }
        if session.is_active() {
            self.index.holders.insert(session.thread_key(), token);
            self.index.active.insert(token);
            if let Some(process) = &session.hold.process {
                self.index.by_process.insert((process.clone(), token));
            }
        } else if let Some(at) = session.completed_at {
            self.index.ended.insert((at, token));
        }
    }

    /// Takes out of the indexes what was true of `before` and is not of `after`.
    fn unindex(&mut self, before: &SessionRecord, after: &SessionRecord) {
        let token = before.fencing_token;
        if before.is_active() && !after.is_active() {
            self.index.active.remove(&token);
            let thread = before.thread_key();
            if self.index.holders.get(&thread) == Some(&token) {
                self.index.holders.remove(&thread);
            }
        }
        let process = before.hold.process.as_ref();
        if let Some(process) =
            process.filter(|process| !after.is_active() || after.hold.process.as_ref() != Some(process))
        {
            self.index.by_process.remove(&(process.clone(), token));
        }
        if let (Some(at), true) = (before.completed_at, before.completed_at != after.completed_at) {
            self.index.ended.remove(&(at, token));
        }
    }

    /// Changes a session that is still active; an ended one stays as it is (R4). Answers the session as it is then: a replay
    /// may find it ended already, and still has its thread to change.
    fn change_session(
        &mut self,
        id: proto_schema::SessionId,
        change: impl FnOnce(&mut SessionRecord),
    ) -> Option<Arc<SessionRecord>> {
        let session = self.session(id)?;
        if !session.is_active() {
            return Some(Arc::clone(session));
        }
        let mut session = SessionRecord::clone(session);
        change(&mut session);
        let session = Arc::new(session);
        self.put(&session);
        Some(session)
    }

    /// Makes the complete sessions of a thread merged ones: the one thing that happens to a session after its end.
    fn merge_sessions(&mut self, thread: &ThreadKey, through: FencingToken) {
        let is_meant = |session: &&Arc<SessionRecord>| {
            session.status == SessionStatus::Complete && session.fencing_token <= through
        };
        let complete: Vec<_> = self.sessions_of(thread.clone(), None).filter(is_meant).cloned().collect();
        for session in complete {
            let (status, end_reason) = (SessionStatus::Merged, Some(EndReason::Merged));
            self.put(&Arc::new(SessionRecord { status, end_reason, ..SessionRecord::clone(&session) }));
        }
    }

    fn end(&mut self, ending: &Ending, entry: &Entry) {
        let ended = self.change_session(ending.session, |session| {
            session.status = ending.status;
            session.end_reason = Some(ending.reason);
            session.intent = None;
            session.completed_at = Some(entry.at);
        });
        let Some(session) = ended else { return };
        self.change_thread(session.thread_key(), entry, |thread| {
            thread.state = match (thread.state, session.status) {
                // What was checked stays checked; only a move makes it active again.
                (ThreadState::Ready | ThreadState::Blocked, SessionStatus::Complete) => thread.state,
                (_, SessionStatus::Abandoned) if session.has_changes(thread.current_state) => ThreadState::Abandoned,
                _ => ThreadState::Draft,
            };
        });
        self.forget_beyond(ENDED_KEPT);
    }

    fn forget_beyond(&mut self, kept: usize) {
        while self.index.ended.len() > kept {
            if !self.forget_oldest() {
                break;
            }
        }
    }

    /// Changes a thread's record. One that is of a later revision has this change already: a replay upon a checkpoint that was
    /// cut off finds such records, and must not mix what was before into them (R5).
    fn change_thread(&mut self, key: ThreadKey, entry: &Entry, change: impl FnOnce(&mut ThreadRecord)) {
        let Some(thread) = self.threads.get(&key).filter(|thread| thread.revision <= entry.revision) else { return };
        let mut thread = ThreadRecord::clone(thread);
        change(&mut thread);
        thread.updated_at = entry.at;
        thread.revision = entry.revision;
        self.threads.insert(key, Arc::new(thread));
    }

    /// Makes or renews the record of the thread that the session reserved.
    fn reserve_thread(&mut self, session: &SessionRecord, entry: &Entry, created: bool) {
        let key = session.thread_key();
        if self.threads.get(&key).is_some_and(|thread| thread.revision > entry.revision) {
            return;
        }
        let parent_thread = session
            .agent
            .parent_session_id
            .and_then(|parent| self.session(parent))
            .filter(|parent| parent.repo == session.repo && parent.thread != session.thread)
            .map(|parent| parent.thread.clone());
        let known = self.threads.get(&key).filter(|_| !created);
        let thread = ThreadRecord {
            id: session.thread_id,
            repo: session.repo,
            thread: session.thread.clone(),
            target_thread: session.target_thread.clone().or_else(|| known?.target_thread.clone()),
            parent_thread: parent_thread.or_else(|| known?.parent_thread.clone()),
            mode: session.mode,
            state: ThreadState::Active,
            base_state: known.map_or(session.anchor_state, |thread| thread.base_state),
            base_root: known.map_or(session.anchor_root, |thread| thread.base_root),
            current_state: match session.intent {
                Some(Intent::Create) => known.and_then(|thread| thread.current_state),
                _ => Some(session.recorded_state),
            },
            merged_state: None,
            checked: known.and_then(|thread| thread.checked),
            task: session.agent.task.clone().or_else(|| known?.task.clone()),
            execution_path: session.path.clone().or_else(|| known?.execution_path.clone()),
            created_at: known.map_or(entry.at, |thread| thread.created_at),
            updated_at: entry.at,
            revision: entry.revision,
        };
        self.threads.insert(key, Arc::new(thread));
    }

    fn forget_before(&mut self, limit: Timestamp) {
        while self.index.ended.get_min().is_some_and(|(at, _)| *at < limit) {
            if !self.forget_oldest() {
                break;
            }
        }
    }

    /// Forgets the session that ended first.
    fn forget_oldest(&mut self) -> bool {
        let Some((at, token)) = self.index.ended.get_min().copied() else { return false };
        self.index.ended.remove(&(at, token));
        if let Some(session) = self.sessions.remove(&token) {
            self.index.ids.remove(&session.id);
            self.index.by_thread.remove(&(session.repo, session.thread.clone(), token));
            let request = session.request.as_ref().map(|request| &request.id);
            if let Some(request) = request.filter(|id| self.index.requests.get(*id) == Some(&token)) {
                self.index.requests.remove(request);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
