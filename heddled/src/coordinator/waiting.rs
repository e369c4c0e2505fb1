//! The writer's part of waiting: a reserve joins the queue of its thread, is called, granted, or gives its place up.
//!
//! One decision point sees both the end of a session and who waits for its thread. Nobody polls, and only the first place
//! of a queue looks at the branch again. See [`super::queue`] for Q1 to Q4; here it is added:
//!
//! - Q5: a thread that nobody holds and somebody waits for has its first place called; what is asked of it meanwhile by
//!   others is answered once that place has been served or given up.
//! - Q6: a place is over, granted or not, in the batch that says so; a seat that is given up is never granted after it.

use proto_schema::{SessionId, WaitOutcome};
use tokio::sync::mpsc::UnboundedSender;

use super::effect::Effect;
use super::failure::Failure;
use super::message::{Leave, Message, Reply};
use super::queue::Left;
use super::writer::Writer;
use crate::registry::{
    Change, Command, Decision, HolderProcess, Observation, Refusal, RequestRecord, Reserve, ThreadKey, TokenHash,
    decide, repeats,
};

/// What somebody who waits is told.
#[derive(Debug)]
pub(super) enum Word {
    /// It is its turn: look at the branch, and ask again.
    Turn,
    /// All waits are over.
    Over(Failure),
}

/// A caller that waits, or would.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    /// The id of the session that it asks for.
    pub(super) id: SessionId,
    /// Whether it wants the thread at one state only.
    pub(super) is_anchored: bool,
    /// How it is told, once it has taken its seat; none when it has, so that it hears when the writer is gone.
    pub(super) words: Option<UnboundedSender<Word>>,
}

impl Seat {
    /// Whether it has taken its seat.
    pub(super) fn is_taken(&self) -> bool {
        self.words.is_none()
    }

    /// Whether waiting may bring it the thread: one that has left the state asked for is not waited for.
    fn may_wait(&self, reserve: &Reserve) -> bool {
        !self.is_anchored || reserve.tip.is_none_or(|tip| tip == reserve.anchor)
    }
}

/// Whether a refusal is that somebody holds the thread.
fn is_held(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::LiveOwner { .. } | Refusal::AnchorDrift { owner: Some(_), .. })
}

impl Writer {
    /// Decides a reserve: grants it, refuses it, or has it wait.
    pub(super) fn reserve(&mut self, mut reserve: Box<Reserve>, seat: Option<Seat>, reply: Reply) {
        if let Some(until) = self.shared.removals.before(&self.candidate.registry, &reserve) {
            self.replies.push((reply, Err(Failure::BeingRemoved(until))));
            return;
        }
        self.observe_for(&mut reserve);
        self.end_dead_holder(&mut reserve);
        let registry = &self.candidate.registry;
        let named = reserve.request.clone().map(|request| (request, reserve.token_hash));
        let is_known = named.as_ref().is_some_and(|(request, _)| registry.request(&request.id).is_some());
        if let (false, Some(conflict)) = (is_known, self.conflict(named.as_ref())) {
            self.replies.push((reply, Err(conflict.into())));
            return;
        }
        let thread = registry.repo_at(reserve.repo.key).map(|repo| (repo.id, reserve.thread.clone()));
        let position = seat.as_ref().and_then(|seat| self.queue.position(seat.id));
        let command = Command::Reserve(reserve);
        let decided = decide(registry, &command);
        let (Some(thread), false) = (thread, is_known) else {
            return self.decided(command, decided, reply);
        };
        match (&decided, position, seat) {
            // Its wait is over, and whoever asked knows (Q6).
            (_, None, Some(seat)) if seat.is_taken() => {}
            (Ok(Decision::Change(_)), Some(1), Some(seat)) => {
                self.serve(&thread, seat.id);
                self.decided(command, decided, reply);
                self.settled(&thread);
            }
            // Somebody else's turn came first.
            (Ok(_), Some(_), _) => self.replies.push((reply, Err(Failure::Queued))),
            (Ok(_), None, Some(seat)) if self.queue.places(&thread) > 0 => self.seat(thread, seat, named, reply),
            (Ok(_), None, None) if self.queue.places(&thread) > 0 => {
                let Command::Reserve(reserve) = command else { return };
                self.set_aside(thread, Message::Reserve { reserve, seat: None, reply });
            }
            (Err(refusal), Some(position), Some(_)) if is_held(refusal) => {
                if position == 1 {
                    // It was called for nothing: the holder lives.
                    self.queue.uncall(&thread);
                }
                self.replies.push((reply, Err(Failure::Queued)));
                self.settled(&thread);
            }
            (Err(Refusal::Outdated), ..) => self.decided(command, decided, reply),
            (Err(_), Some(_), Some(seat)) => {
                self.decided(command, decided, reply);
                self.give_up(seat.id, WaitOutcome::Refused);
            }
            (Err(refusal), None, Some(seat)) if is_held(refusal) && self.may_wait(&seat, &command) => {
                self.seat(thread, seat, named, reply);
            }
            _ => self.decided(command, decided, reply),
        }
    }

    fn may_wait(&self, seat: &Seat, command: &Command) -> bool {
        if let Command::Reserve(reserve) = command { seat.may_wait(reserve) } else { false }
    }

    /// What tells a request from the one of its id that waits.
    fn conflict(&self, named: Option<&(RequestRecord, TokenHash)>) -> Option<Refusal> {
        let (request, token_hash) = named?;
        let (before, secret) = self.queue.request(&request.id)?;
        repeats((&before.params, *secret), request, *token_hash).err()
    }

    /// Takes a seat.
    fn seat(&mut self, thread: ThreadKey, seat: Seat, named: Option<(RequestRecord, TokenHash)>, reply: Reply) {
        let (value, max) = (self.queue.len(), self.shared.settings.load().max_waiters);
        if value >= max {
            self.replies.push((reply, Err(Failure::TooManyWaiters { value, max })));
            return;
        }
        let Seat { id: waiter, words: Some(words), .. } = seat else { return };
        if let Some(position) = self.queue.join(thread.clone(), waiter, named, words) {
            let (repo, name) = thread.clone();
            self.change(Change::Waiting { repo, thread: name, waiter, position: position as u64 });
            self.count(&thread);
        }
        self.replies.push((reply, Err(Failure::Queued)));
    }

    /// Serves a place: whoever else waits in it finds what was made.
    fn serve(&mut self, thread: &ThreadKey, seat: SessionId) {
        let Some((place, others)) = self.queue.serve(seat) else { return };
        self.wait_ended(thread, place, WaitOutcome::Granted);
        self.effects.extend(others.into_iter().map(Effect::Call));
    }

    /// Gives a seat up for its caller, who is told once that is durable.
    pub(super) fn leave(&mut self, leave: Leave) {
        let Leave { seat, outcome, reply } = leave;
        let waits = self.queue.position(seat).zip(self.queue.thread_of(seat).cloned());
        // Without a seat: it was served or given up, and its caller has that answer, or the store has failed.
        let Some((position, thread)) = waits else { return };
        let failure = match (outcome, self.candidate.registry.holder(&thread).cloned()) {
            (WaitOutcome::TimedOut, Some(owner)) => Failure::WaitTimeout { owner, position },
            // Who has the thread instead is about to be decided.
            (WaitOutcome::TimedOut, None) => {
                return self.set_aside(thread, Message::Leave(Leave { seat, outcome, reply }));
            }
            _ => Failure::ShuttingDown,
        };
        self.give_up(seat, outcome);
        self.replies.extend(reply.map(|reply| (reply, Err(failure))));
    }

    fn give_up(&mut self, seat: SessionId, outcome: WaitOutcome) {
        let Some(thread) = self.queue.thread_of(seat).cloned() else { return };
        let Some(Left { place, was_called }) = self.queue.leave(seat) else { return };
        if let Some(place) = place {
            self.wait_ended(&thread, place, outcome);
        }
        if was_called {
            self.call(&thread);
        }
        self.settled(&thread);
    }

    /// Calls the first place of a thread's queue (Q5), passing over those whose callers are gone without a word.
    pub(super) fn call(&mut self, thread: &ThreadKey) {
        while let Some((seat, words)) = self.queue.call(thread) {
            if !words.is_closed() {
                self.effects.push(Effect::Call(words.clone()));
                return;
            }
            if let Some(Left { place: Some(place), .. }) = self.queue.leave(seat) {
                self.wait_ended(thread, place, WaitOutcome::Left);
            }
        }
    }

    /// Calls whoever waits for a thread that this process holds: it is gone, and whoever looks finds that out. The end of its
    /// session and the next grant are then one batch.
    pub(super) fn gone(&mut self, process: &HolderProcess) {
        let held = self.candidate.registry.held_by(process);
        let waited_for = held.filter(|session| self.queue.places(&session.thread_key()) > 0);
        let lost: Vec<ThreadKey> =
            waited_for.filter(|session| self.dead(session).is_some()).map(|session| session.thread_key()).collect();
        lost.iter().for_each(|thread| self.call(thread));
    }

    /// Answers what was set aside, once nobody is called.
    fn settled(&mut self, thread: &ThreadKey) {
        if !self.queue.is_called(thread) {
            self.requeued.extend(self.aside.remove(thread).unwrap_or_default());
        }
    }

    /// Keeps a message until whoever is called has been served or has given up.
    fn set_aside(&mut self, thread: ThreadKey, message: Message) {
        if !self.queue.is_called(&thread) {
            self.call(&thread);
        }
        self.aside.entry(thread).or_default().push(message);
    }

    fn wait_ended(&mut self, thread: &ThreadKey, waiter: SessionId, outcome: WaitOutcome) {
        let (repo, name) = thread.clone();
        self.change(Change::WaitEnded { repo, thread: name, waiter, outcome });
        self.count(thread);
    }

    /// Has everybody see how many wait.
    fn count(&mut self, thread: &ThreadKey) {
        match self.queue.places(thread) {
            0 => self.candidate.waiters.remove(thread),
            places => self.candidate.waiters.insert(thread.clone(), places),
        };
    }

    /// Ends all waits: nothing can be granted any more.
    pub(super) fn end_waits(&mut self, failure: &Failure) {
        for words in self.queue.clear() {
            // Nobody is told who is gone.
            drop(words.send(Word::Over(failure.clone())));
        }
        self.candidate.waiters.clear();
        for message in std::mem::take(&mut self.aside).into_values().flatten() {
            if let Message::Reserve { reply, .. } = message {
                self.replies.push((reply, Err(failure.clone())));
            }
        }
    }

    /// Records what a reserve read of its branch: whatever becomes of the reserve, plain Git's moves are in the log before it.
    fn observe_for(&mut self, reserve: &mut Reserve) {
        let Some(repo) = self.candidate.registry.repo_at(reserve.repo.key) else { return };
        let (thread, revision) = ((repo.id, reserve.thread.clone()), self.candidate.registry.revision());
        self.observed(&Observation { thread, tip: reserve.tip, seen: reserve.seen, ended: None });
        if self.candidate.registry.revision() > revision {
            // What was recorded just now is what was read: that read is not outdated by it.
            reserve.seen = self.candidate.registry.revision();
        }
    }

    /// Ends the session that holds the thread asked for, if its process is dead: the caller must not wait for the watcher.
    fn end_dead_holder(&mut self, reserve: &mut Reserve) {
        let registry = &self.candidate.registry;
        let Some(repo) = registry.repo_at(reserve.repo.key) else { return };
        let thread = (repo.id, reserve.thread.clone());
        let Some(owner) = registry.holder(&thread).cloned() else { return };
        let is_latest = registry.thread(&thread).is_some_and(|thread| thread.revision <= reserve.seen);
        if let Some(reason) = self.dead(&owner) {
            self.end(owner.id, reason);
            if is_latest && self.candidate.registry.holder(&thread).is_none() {
                // An end moves no branch: what was read before it is what is there.
                reserve.seen = self.candidate.registry.revision();
            }
        }
    }
}
