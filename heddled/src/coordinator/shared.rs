//! What the writer, the timekeeper and the callers share.

use std::sync::Arc;
use std::sync::mpsc::TrySendError;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use proto_schema::FencingToken;
use tokio::sync::{Notify, oneshot, watch};

use super::Settings;
use super::captures::Captures;
use super::connections::Connections;
use super::failure::Failure;
use super::inbox::{INBOX, Inbox};
use super::message::{Done, Message, Reply};
use super::observer::Left;
use super::pool::Pool;
use super::recover::Recovery;
use super::removals::Removals;
use super::snapshot::Snapshot;
use super::verify::Looks;
use super::waiting::Seat;
use super::worktrees::Worktrees;
use crate::clock::{Clock, LeaseClock};
use crate::liveness::Liveness;
use crate::metrics::Metrics;
use crate::registry::{Command, Deadlines, HolderProcess, Reserve, SessionRecord};
use crate::repo::Repo;
use crate::store::{Condition, OperationLog};

/// What everybody around the writer needs.
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lease_clock: LeaseClock,
    pub(super) liveness: Arc<dyn Liveness>,
    pub(super) repo: Arc<dyn Repo>,
    pub(super) log: Arc<dyn OperationLog>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) committed: ArcSwap<Snapshot>,
    pub(super) inbox: Inbox,
    /// The threads for work on repositories that callers wait for.
    pub(super) work: Pool,
    /// Those for work on worktrees, which takes long.
    pub(super) long_work: Pool,
    /// Sessions with signs of life that are not written yet.
    pub(super) unsaved: Mutex<Vec<FencingToken>>,
    pub(super) deadlines: Mutex<Deadlines>,
    /// Told when an earlier deadline than all before has come in.
    pub(super) rearmed: Notify,
    /// Linked worktrees that are made, unlocked and removed.
    pub(super) worktrees: Worktrees,
    /// Sessions that have ended and whose branches have not been looked at since.
    pub(super) left: Left,
    /// The connections that are open.
    pub(super) connections: Connections,
    /// Captures under way.
    pub(super) captures: Captures,
    /// Worktrees that are being removed.
    pub(super) removals: Removals,
    /// The repositories in which what a crash left open is not settled yet.
    pub(super) recovery: Recovery,
    /// Looks at repositories under way.
    pub(super) looks: Looks,
    /// What is configured: it may change while the daemon runs, but for whose registry this is.
    pub(super) settings: ArcSwap<Settings>,
    /// Why the store failed, once it has.
    pub(super) failed: ArcSwapOption<String>,
    /// How the store says that it is.
    pub(super) condition: Arc<Condition>,
    /// The newest revision, for those who follow the log. It ends with the writer.
    pub(super) published: watch::Receiver<u64>,
}

impl Shared {
    /// Lease time now, in milliseconds.
    pub(super) fn lease_now(&self) -> u64 {
        self.lease_clock.now(self.clock.monotonic_ms())
    }

    /// Has a session looked at when its lease may run out.
    pub(super) fn look_at(&self, deadline: u64, session: FencingToken) {
        let mut deadlines = self.deadlines.lock();
        let earlier = deadlines.next().is_none_or(|next| deadline < next);
        deadlines.insert(deadline, session);
        if earlier {
            self.rearmed.notify_one();
        }
    }

    /// Does what follows the end of a session: nobody waits for it.
    pub(super) fn ended(&self, session: Arc<SessionRecord>) {
        self.captures.cancel(session.id);
        self.connections.ended(session.fencing_token);
        self.left.add(&session);
        self.worktrees.ended(session);
    }

    /// Whether somebody waits for a thread that a process holds.
    pub(super) fn is_waited_for(&self, process: &HolderProcess) -> bool {
        let committed = self.committed.load();
        committed.registry.held_by(process).any(|session| committed.waiters(session) > 0)
    }

    pub(super) fn set_failed(&self, why: String) {
        self.failed.store(Some(Arc::new(why)));
        self.recovery.end_all();
    }

    /// Hands a message to the writer. Never waits: a full inbox is an answer.
    pub(super) fn post(&self, message: Message) -> Result<(), Failure> {
        self.inbox.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => Failure::Overloaded { max: INBOX },
            TrySendError::Disconnected(_) => Failure::ShuttingDown,
        })
    }

    /// Asks for a change; the receiver gets the answer once it is durable.
    pub(super) fn ask(&self, command: Command) -> Result<oneshot::Receiver<Result<Done, Failure>>, Failure> {
        let (reply, answer) = oneshot::channel();
        self.post(Message::Command { command, reply })?;
        Ok(answer)
    }

    /// Asks for a thread in somebody's name: a full inbox is their answer.
    pub(super) fn reserve_for(&self, reserve: Reserve, seat: Option<Seat>, reply: Reply) {
        let refused = match self.inbox.try_send(Message::Reserve { reserve: Box::new(reserve), seat, reply }) {
            Ok(()) => return,
            Err(TrySendError::Full(message)) => (message, Failure::Overloaded { max: INBOX }),
            Err(TrySendError::Disconnected(message)) => (message, Failure::ShuttingDown),
        };
        if let (Message::Reserve { reply, .. }, failure) = refused {
            // Nobody is told who does not wait any more.
            drop(reply.send(Err(failure)));
        }
    }

    /// Asks for a change and waits until it is durable.
    pub(super) async fn done(&self, command: Command) -> Result<Done, Failure> {
        self.ask(command)?.await.unwrap_or(Err(Failure::ShuttingDown))
    }

    /// Asks for what nobody else would ask for again: the outcome of Git work, the end of a session that has no owner. It
    /// is not lost when the writer is behind.
    pub(super) async fn finish(&self, command: Command) -> Result<Done, Failure> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Message::Command { command, reply }).map_err(|_| Failure::ShuttingDown)?;
        answer.await.unwrap_or(Err(Failure::ShuttingDown))
    }
}
