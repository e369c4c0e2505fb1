//! Everything that the writer can be told: one closed list.

use std::sync::Arc;

use proto_schema::{FencingToken, SessionId, Timestamp, WaitOutcome};
use tokio::sync::{mpsc, oneshot, watch};

use super::failure::Failure;
use super::recover::Recovered;
use super::waiting::Seat;
use crate::registry::{
    Actor, Command, HolderProcess, Merging, Observation, RepoId, RepoRecord, Reserve, SessionRecord,
};

/// A command that was done, and is durable.
#[derive(Clone, Debug)]
pub(super) struct Done {
    /// The session it is about, as it is now.
    pub(super) session: Arc<SessionRecord>,
    /// Whether this command changed anything; false when it was so already.
    pub(super) fresh: bool,
}

/// Where the answer goes.
pub(super) type Reply = oneshot::Sender<Result<Done, Failure>>;

/// The answers of one batch, on their way to whoever waits for them.
pub(super) type Answers = Vec<(Reply, Result<Done, Failure>)>;

/// A batch that is durable, as far as others wait for it.
pub(super) struct Committed {
    /// Its answers.
    pub(super) answers: Answers,
    /// The newest revision of the committed state.
    pub(super) revision: u64,
}

/// Hands out the answers that the writer sends, and tells those who follow the log how far it goes: all are woken by the
/// worker that serves them. Woken by the writer's thread, each of them would cost a call of the system.
pub(super) async fn hand_out(mut batches: mpsc::UnboundedReceiver<Committed>, publish: watch::Sender<u64>) {
    while let Some(Committed { answers, revision }) = batches.recv().await {
        for (reply, result) in answers {
            // A caller that is gone has no use for its answer.
            drop(reply.send(result));
        }
        publish.send_if_modified(|newest| std::mem::replace(newest, revision) != revision);
    }
}

/// A caller that waits gives its seat up.
pub(super) struct Leave {
    /// Which.
    pub(super) seat: SessionId,
    /// Why.
    pub(super) outcome: WaitOutcome,
    /// Where it waits to hear that it has none any more; dropped where it had none before.
    pub(super) reply: Option<Reply>,
}

/// Something for the writer.
pub(super) enum Message {
    /// Somebody asks for a thread.
    Reserve {
        /// What was seen of it, and what is asked.
        reserve: Box<Reserve>,
        /// Its seat in the thread's queue, where the caller would wait.
        seat: Option<Seat>,
        /// Who is answered.
        reply: Reply,
    },
    /// Somebody does not wait any more.
    Leave(Leave),
    /// Somebody asks for a change.
    Command {
        /// Which.
        command: Command,
        /// Who waits.
        reply: Reply,
    },
    /// Somebody repeats a request whose session was seen with its Git work under way.
    Join {
        /// The session.
        session: SessionId,
        /// Who waits.
        reply: Reply,
    },
    /// A process that holds sessions has ended, and cannot have succeeded: whoever waits for their threads need not wait for
    /// its parent's word.
    Gone(HolderProcess),
    /// A process that holds sessions is gone.
    Died(HolderProcess),
    /// The leases of these sessions seem to have run out, and all input that had arrived by then has been taken.
    Overdue(Vec<FencingToken>),
    /// These sessions have signs of life that are not written yet.
    Unsaved(Vec<FencingToken>),
    /// Branches that are not where the records of their threads say.
    Observed(Vec<Observation>),
    /// Threads whose work was found in their targets.
    Merged(Vec<Merging>),
    /// Repositories that another registry decides about now.
    TakenOver(Vec<RepoId>),
    /// Other repositories are at the places of these, which are gone.
    Replaced(Vec<RepoId>),
    /// A repository is at another place than its record says.
    RepoSeen(Arc<RepoRecord>),
    /// What was left open in a repository is settled.
    Recovered(Box<Recovered>),
    /// Fencing tokens must go on after this one.
    RaiseFencing(FencingToken),
    /// What is too old to be kept at this time may go.
    Prune(Timestamp),
    /// Answers once everything before it is committed.
    Barrier(oneshot::Sender<()>),
    /// Record the stop, close the store and end.
    Stop {
        /// Who asked for it, where that was a call.
        by: Option<Actor>,
        /// Told whether the store closed well.
        done: oneshot::Sender<bool>,
    },
}
