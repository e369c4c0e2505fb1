//! The one writer: it owns registry and store, and nothing changes but through it.
//!
//! It takes what has arrived, decides each message on a candidate state, makes all of it durable with one flush, publishes
//! the candidate and only then replies (R3). A flush that fails throws the candidate away: the published state is what the
//! disk is known to have, and from then on every change is refused.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto_schema::{EndReason, Outcome, SessionId};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::effect::Effect;
use super::failure::Failure;
use super::inbox::Outbox;
use super::message::{Answers, Committed, Done, Message, Reply};
use super::queue::Queues;
use super::recover::{Recovered, TAKEN_OVER, ended_with_repository};
use super::shared::Shared;
use super::snapshot::Snapshot;
use super::waiting::Word;
use crate::liveness::Verdict;
use crate::registry::{
    Actor, Change, Command, Decision, Entry, HolderProcess, Lease, Merging, Observation, OperationRecord, Refusal,
    SessionRecord, ThreadKey, active, decide, merge, observe,
};
use crate::store::Store;

/// The most messages that one flush serves: no caller waits for an endless batch, and the largest fits a journal segment.
const MAX_BATCH: usize = 256;

/// The writer's own state.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    store: Box<dyn Store>,
    pub(super) candidate: Snapshot,
    entries: Vec<Entry>,
    operations: Vec<OperationRecord>,
    pub(super) effects: Vec<Effect>,
    pub(super) closed: Vec<Arc<Mutex<Lease>>>,
    pub(super) replies: Answers,
    /// Where the replies go once their batch is durable.
    answers: mpsc::UnboundedSender<Committed>,
    /// The newest revision that was told there.
    told: u64,
    barriers: Vec<oneshot::Sender<()>>,
    /// Messages that would end a session, or move its branch, while another change of its branch is under way.
    deferred: HashMap<SessionId, Vec<Message>>,
    /// Callers who repeated a request whose Git work is under way.
    joined: HashMap<SessionId, Vec<Reply>>,
    /// Who waits for which thread.
    pub(super) queue: Queues<mpsc::UnboundedSender<Word>>,
    /// What is answered once the first of a thread's queue has been served.
    pub(super) aside: HashMap<ThreadKey, Vec<Message>>,
    pub(super) requeued: VecDeque<Message>,
    pub(super) failed: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, store: Box<dyn Store>, answers: mpsc::UnboundedSender<Committed>) -> Self {
        let candidate = Snapshot::clone(&shared.committed.load());
        let told = candidate.registry.revision();
        Self {
            shared,
            store,
            candidate,
            entries: Vec::new(),
            operations: Vec::new(),
            effects: Vec::new(),
            closed: Vec::new(),
            replies: Vec::new(),
            answers,
            told,
            barriers: Vec::new(),
            deferred: HashMap::new(),
            joined: HashMap::new(),
            queue: Queues::default(),
            aside: HashMap::new(),
            requeued: VecDeque::new(),
            failed: false,
        }
    }

    /// Serves until it is told to stop. Runs on a thread of its own, for it waits for the disk.
    pub(super) fn run(mut self, inbox: &Outbox) {
        while let Ok(first) = inbox.recv() {
            let mut next = Some(first);
            while next.is_some() {
                for _ in 0..MAX_BATCH {
                    match next.take() {
                        Some(Message::Stop { by, done }) => return self.stop(by, done),
                        Some(message) => self.handle(message),
                        None => break,
                    }
                    next = self.requeued.pop_front().or_else(|| inbox.try_recv().ok());
                }
                self.commit();
                // What was taken and had no room is served first in the next batch.
                next = next.or_else(|| self.requeued.pop_front());
            }
        }
    }

    fn stop(mut self, by: Option<Actor>, done: oneshot::Sender<bool>) {
        self.end_waits(&Failure::ShuttingDown);
        self.change(Change::DaemonStopped { by });
        self.commit();
        let closed = self.store.close(&self.candidate.registry);
        if let Err(error) = &closed {
            error!(%error, "the store could not be closed; the next start replays its journal");
        }
        // Nobody waits any more when the daemon was told to hurry.
        let _told = done.send(closed.is_ok());
    }

    /// The next of the messages that waited for a change of a branch.
    #[cfg(test)]
    pub(super) fn requeued(&mut self) -> Option<Message> {
        self.requeued.pop_front()
    }

    /// Takes one message into the batch.
    pub(super) fn handle(&mut self, message: Message) {
        match message {
            Message::Reserve { reply, .. } | Message::Command { reply, .. } if self.failed => {
                self.replies.push((reply, Err(Failure::Store(Outcome::NotApplied))));
            }
            // While the journal fills up, what is left of it is for changes that end or complete what was begun.
            Message::Reserve { reply, .. } if !self.store.has_room() => {
                self.replies.push((reply, Err(Failure::Store(Outcome::NotApplied))));
            }
            Message::Command { command, reply } if command.can_wait() && !self.store.has_room() => {
                self.replies.push((reply, Err(Failure::Store(Outcome::NotApplied))));
            }
            Message::Reserve { reserve, seat, reply } => self.reserve(reserve, seat, reply),
            Message::Command { command, reply } => {
                let decided = decide(&self.candidate.registry, &command);
                self.decided(command, decided, reply);
            }
            Message::Leave(leave) => self.leave(leave),
            Message::Join { session, reply } => self.join(session, reply),
            Message::Gone(process) if !self.failed => self.gone(&process),
            Message::Died(process) if !self.failed => self.died(&process),
            Message::Gone(_) | Message::Died(_) => {}
            Message::Overdue(sessions) => self.overdue(&sessions),
            Message::Unsaved(sessions) => self.save(&sessions),
            Message::Observed(observations) => observations.iter().for_each(|observation| self.observed(observation)),
            Message::Merged(found) => found.iter().for_each(|merging| self.merged(merging)),
            Message::TakenOver(repos) => self.end_sessions_of(&repos, TAKEN_OVER),
            Message::Replaced(repos) => self.replaced(&repos),
            Message::RepoSeen(repo) => self.repo_seen(repo),
            Message::Recovered(recovered) => self.recovered(*recovered),
            Message::RaiseFencing(to) if !self.failed => self.change(Change::FencingRaised { to }),
            Message::Prune(as_of) if !self.failed && self.store.has_room() => self.change(Change::Pruned { as_of }),
            Message::RaiseFencing(_) | Message::Prune(_) => {}
            Message::Barrier(done) => self.barriers.push(done),
            Message::Stop { .. } => {}
        }
    }

    /// Does what was decided, and answers.
    pub(super) fn decided(&mut self, command: Command, decided: Result<Decision, Refusal>, reply: Reply) {
        match decided {
            Ok(Decision::Change(change)) => {
                let session = change.session();
                self.change(change);
                self.held_by_its_caller(&command);
                let done = session.and_then(|id| self.candidate.registry.session(id).cloned());
                let result = done.map(|session| Done { session, fresh: true }).ok_or(Failure::Broken("no session"));
                self.replies.push((reply, result));
                if let Some(session) = session {
                    self.continue_deferred(session);
                }
            }
            Ok(Decision::Stands(session)) => {
                if session.intent.is_some() && matches!(command, Command::Reserve(_)) {
                    self.joined.entry(session.id).or_default().push(reply);
                } else {
                    self.replies.push((reply, Ok(Done { session, fresh: false })));
                }
            }
            Err(Refusal::Busy) => {
                if let Some(session) = command.session() {
                    self.deferred.entry(session).or_default().push(Message::Command { command, reply });
                }
            }
            Err(refusal) => self.replies.push((reply, Err(refusal.into()))),
        }
    }

    fn join(&mut self, id: SessionId, reply: Reply) {
        match self.candidate.registry.session(id).cloned() {
            // Its outcome can no longer be recorded.
            Some(session) if session.intent.is_some() && self.failed => {
                self.replies.push((reply, Err(Failure::Store(Outcome::Unknown))));
            }
            Some(session) if session.intent.is_some() => self.joined.entry(id).or_default().push(reply),
            Some(session) => self.replies.push((reply, outcome(&session))),
            None => self.replies.push((reply, Err(Refusal::NotFound.into()))),
        }
    }

    /// Applies a change to the candidate and takes it into the batch.
    pub(super) fn change(&mut self, change: Change) {
        let ended = if let Change::Ended(ending) = &change {
            self.candidate.registry.session(ending.session).cloned()
        } else {
            None
        };
        if let Some(session) = &ended {
            self.close_lease(session);
        }
        let entry = self.candidate.registry.entry(self.shared.clock.wall(), change);
        let before = entry.change.session().and_then(|id| self.candidate.registry.session(id).cloned());
        self.candidate.registry.apply(&entry);
        self.operations.extend(self.candidate.registry.operation(&entry));
        match &entry.change {
            Change::Reserved { session, .. } => self.begin(session),
            Change::Held { session, hold } => {
                let before = before.map(|before| before.hold.clone()).unwrap_or_default();
                self.effects.extend(before.process.map(Effect::Unwatch));
                if before.ttl_ms == hold.ttl_ms && !self.has_unknown_holder(*session) {
                    // The lease goes on: a new one would forget the signs of life that are not written yet.
                    self.effects.extend(hold.process.clone().map(Effect::Watch));
                } else if let Some(session) = self.candidate.registry.session(*session).cloned() {
                    self.begin(&session);
                }
            }
            Change::Ended(_) => {
                if let Some(session) = &ended {
                    self.effects.extend(session.hold.process.clone().map(Effect::Unwatch));
                    // As it is now: how it ended decides what follows.
                    let session = self.candidate.registry.session(session.id).unwrap_or(session);
                    self.effects.push(Effect::Ended(Arc::clone(session)));
                }
            }
            Change::Settled { .. }
            | Change::MoveIntended { .. }
            | Change::MoveDropped { .. }
            | Change::Moved { .. }
            | Change::Captured { .. }
            | Change::Checked { .. }
            | Change::Merged { .. }
            | Change::Observed { .. }
            | Change::Waiting { .. }
            | Change::WaitEnded { .. }
            | Change::Pulses(_)
            | Change::RepoSeen(_)
            | Change::FencingRaised { .. }
            | Change::MarkKeyDrawn(_)
            | Change::Pruned { .. }
            | Change::DaemonStarted { .. }
            | Change::DaemonStopped { .. } => {}
        }
        self.entries.push(entry);
        if let Some(session) = ended {
            self.call(&session.thread_key());
        }
    }

    /// Records where a branch was found, if that is news.
    pub(super) fn observed(&mut self, observation: &Observation) {
        if !self.failed
            && let Some(change) = observe(&self.candidate.registry, observation)
        {
            self.change(change);
        }
    }

    /// Records that a thread's work was found in its target, if that is news.
    fn merged(&mut self, merging: &Merging) {
        if !self.failed
            && let Some(change) = merge(&self.candidate.registry, merging)
        {
            self.change(change);
        }
    }

    /// Records what became of what was left open in a repository, and serves what waited for it.
    pub(super) fn recovered(&mut self, recovered: Recovered) {
        let Recovered { repo, seen, lost, changes } = recovered;
        if self.failed {
            return;
        }
        if let Some(seen) = seen {
            self.change(Change::RepoSeen(Arc::new(seen)));
        }
        let of_repo = |session: &&Arc<SessionRecord>| session.repo == repo;
        let sessions: Vec<SessionId> =
            self.candidate.registry.active(None).filter(of_repo).map(|session| session.id).collect();
        changes.into_iter().for_each(|change| self.change(change));
        for session in sessions {
            if let Some(why) = lost {
                warn!(%session, why, "a session ended");
                self.change(ended_with_repository(session, why));
            }
            self.continue_deferred(session);
        }
        self.effects.push(Effect::Recovered(repo));
    }

    pub(super) fn dead(&self, session: &SessionRecord) -> Option<EndReason> {
        match self.shared.liveness.check(session.hold.process.as_ref()?) {
            Verdict::Exited => Some(EndReason::ProcessExited),
            Verdict::BootChanged => Some(EndReason::BootChanged),
            Verdict::Alive | Verdict::Unknown | Verdict::OtherNamespace => None,
        }
    }

    /// Ends a session for a reason that nobody asked for and nobody waits to hear of.
    pub(super) fn end(&mut self, session: SessionId, reason: EndReason) {
        match decide(&self.candidate.registry, &Command::End { session, reason }) {
            Ok(Decision::Change(change)) => {
                info!(%session, reason = reason.as_str(), "a session ended");
                self.change(change);
                self.continue_deferred(session);
            }
            Err(Refusal::Busy) => {
                let (reply, _) = oneshot::channel();
                let command = Command::End { session, reason };
                self.deferred.entry(session).or_default().push(Message::Command { command, reply });
            }
            Ok(Decision::Stands(_)) | Err(_) => {}
        }
    }

    fn died(&mut self, process: &HolderProcess) {
        let held: Vec<_> = self.candidate.registry.held_by(process).cloned().collect();
        for session in held {
            if let Some(reason) = self.dead(&session) {
                self.end(session.id, reason);
            }
        }
    }

    /// Once a session has no Git work under way: answers who repeated its request, and serves what waited.
    fn continue_deferred(&mut self, id: SessionId) {
        let Some(session) = self.candidate.registry.session(id).cloned() else { return };
        if session.intent.is_some() {
            return;
        }
        for reply in self.joined.remove(&id).unwrap_or_default() {
            self.replies.push((reply, outcome(&session)));
        }
        self.requeued.extend(self.deferred.remove(&id).unwrap_or_default());
    }

    /// Makes the batch durable, publishes it, and replies.
    pub(super) fn commit(&mut self) {
        let began = self.shared.clock.monotonic();
        let written = if self.entries.is_empty() {
            Ok(())
        } else {
            self.store.append(&self.entries, std::mem::take(&mut self.operations), &self.candidate.registry)
        };
        match written {
            Ok(()) => self.publish(began),
            Err(error) => self.fail(&error),
        }
        self.entries.clear();
        // After a failure the candidate is the committed state again.
        let revision = self.candidate.registry.revision();
        if !self.replies.is_empty() || revision > self.told {
            self.told = revision;
            // Fails only when the daemon has stopped serving.
            drop(self.answers.send(Committed { answers: std::mem::take(&mut self.replies), revision }));
        }
        for barrier in self.barriers.drain(..) {
            let _told = barrier.send(());
        }
    }

    fn publish(&mut self, began: Duration) {
        if !self.entries.is_empty() {
            let took = self.shared.clock.monotonic().saturating_sub(began);
            self.shared.metrics.flushed(self.entries.len(), took);
            for entry in &self.entries {
                if let Change::Ended(ending) = &entry.change {
                    self.shared.metrics.ended(ending.reason);
                }
            }
            self.shared.committed.store(Arc::new(self.candidate.clone()));
        }
        self.closed.clear();
        for effect in self.effects.drain(..) {
            effect.have(&self.shared);
        }
    }

    fn fail(&mut self, error: &crate::store::Error) {
        error!(%error, "the store failed: changes are refused until the daemon is started again");
        self.failed = true;
        self.shared.set_failed(error.to_string());
        self.candidate = Snapshot::clone(&self.shared.committed.load());
        for lease in self.closed.drain(..) {
            lease.lock().reopen();
        }
        self.effects.clear();
        self.operations.clear();
        for (_, result) in &mut self.replies {
            *result = Err(Failure::Store(Outcome::Unknown));
        }
        self.end_waits(&Failure::Store(Outcome::NotApplied));
        self.shared.committed.store(Arc::new(self.candidate.clone()));
        let waiting: usize = self.deferred.values().map(Vec::len).sum();
        if waiting > 0 {
            warn!(waiting, "calls that waited for a change under way are refused");
        }
        for message in self.deferred.drain().flat_map(|(_, messages)| messages) {
            if let Message::Command { reply, .. } = message {
                self.replies.push((reply, Err(Failure::Store(Outcome::NotApplied))));
            }
        }
        for reply in self.joined.drain().flat_map(|(_, replies)| replies) {
            self.replies.push((reply, Err(Failure::Store(Outcome::Unknown))));
        }
    }
}

/// What a repeated request is answered once its session's Git work is done.
fn outcome(session: &Arc<SessionRecord>) -> Result<Done, Failure> {
    let session = Arc::clone(active(session)?);
    Ok(Done { session, fresh: false })
}
