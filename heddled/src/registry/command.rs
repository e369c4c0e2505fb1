//! Everything that can be asked of the registry. Ids, secrets, times and what was seen of Git are the caller's.

use std::path::Path;
use std::sync::Arc;

use proto_schema::{EndReason, ObjectId, Reason, SessionId, SessionStatus, ThreadName, Timestamp};

use super::change::Actor;
use super::holder::HolderProcess;
use super::lease::ConnectionId;
use super::record::{AgentRecord, Checked, HoldRecord, Intent, RepoKey, RepositoryId, RequestRecord, TokenHash};
use super::spelling::Folding;

/// A repository as it was just found.
#[derive(Clone, Debug, PartialEq)]
pub struct RepoSeen {
    /// Where it is.
    pub key: RepoKey,
    /// The canonical path of its common Git directory.
    pub git_dir: Arc<Path>,
    /// How it is called on the wire.
    pub shown: Arc<str>,
    /// Whether it was known at another path that is no longer it.
    pub moved: bool,
    /// What its ref store does not tell apart in the names of branches.
    pub folding: Folding,
    /// The id in its mark; none where it was not marked, for nothing would be granted.
    pub mark: Option<RepositoryId>,
    /// When its common Git directory was made, in nanoseconds, where that is known.
    pub born: Option<i64>,
}

/// Asks for a thread.
#[derive(Clone, Debug, PartialEq)]
pub struct Reserve {
    /// The new session's id, drawn at random.
    pub id: SessionId,
    /// The hash of its secret.
    pub token_hash: TokenHash,
    /// The request, where the caller named it.
    pub request: Option<RequestRecord>,
    /// The repository.
    pub repo: RepoSeen,
    /// The thread.
    pub thread: ThreadName,
    /// The state to reserve at.
    pub anchor: ObjectId,
    /// Its tree.
    pub root: ObjectId,
    /// The branch's tip; none where there is no branch.
    pub tip: Option<ObjectId>,
    /// The registry's revision before the branch was read.
    pub seen: u64,
    /// The era that the repository is marked with.
    pub era: u64,
    /// What keeps the session alive.
    pub hold: HoldRecord,
    /// The connection that holds it, where one does. It is not recorded: no connection outlives the daemon.
    pub connection: Option<ConnectionId>,
    /// Who the agent is.
    pub agent: Arc<AgentRecord>,
    /// The worktree it works in.
    pub path: Option<Arc<str>>,
    /// The thread that this one is meant for.
    pub target_thread: Option<ThreadName>,
    /// Whether it wants a linked worktree.
    pub worktree: bool,
    /// The wall time.
    pub at: Timestamp,
    /// How many active sessions there may be.
    pub max_active: usize,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Reserve a thread.
    Reserve(Box<Reserve>),
    /// The Git work of a reserve is done.
    Settle {
        /// The session.
        session: SessionId,
        /// Whether the branch was made.
        created: bool,
        /// The worktree, where one was asked for.
        path: Option<Arc<str>>,
    },
    /// The agent gives its session back.
    Release {
        /// The session.
        session: SessionId,
        /// The hash of the secret it showed.
        token_hash: TokenHash,
        /// `Complete` or `Abandoned`.
        status: SessionStatus,
    },
    /// An operator ends a session.
    Evict {
        /// The session.
        session: SessionId,
        /// Who.
        by: Actor,
        /// Why.
        note: Reason,
    },
    /// The session's holder was found dead, its time ran out, its reserve failed or its connection was lost.
    End {
        /// The session.
        session: SessionId,
        /// Which of these.
        reason: EndReason,
    },
    /// The agent is about to move its branch.
    BeginMove {
        /// The session.
        session: SessionId,
        /// The hash of the secret it showed.
        token_hash: TokenHash,
        /// How: [`Intent::Move`] or [`Intent::Capture`].
        intent: Intent,
    },
    /// The branch moved, or did not.
    FinishMove {
        /// The session.
        session: SessionId,
        /// Whether it did.
        moved: bool,
    },
    /// The agent had its thread checked.
    Check {
        /// The session.
        session: SessionId,
        /// The hash of the secret it showed.
        token_hash: TokenHash,
        /// Whether nothing stands in the way.
        ready: bool,
        /// Which state was checked, and what the agent said of it.
        checked: Checked,
        /// The registry's revision before the branch was read.
        seen: u64,
    },
    /// The agent is held by other means from now on.
    Hold {
        /// The session.
        session: SessionId,
        /// The hash of the secret it showed.
        token_hash: TokenHash,
        /// By these.
        hold: HoldRecord,
    },
    /// A caller that descends from the process that holds the session brings a further secret.
    AddToken {
        /// The session.
        session: SessionId,
        /// The process that it descends from.
        process: HolderProcess,
        /// The hash of the secret.
        token_hash: TokenHash,
    },
}

impl Command {
    /// Whether it begins something. The others end or complete what was begun, and must not be put off.
    #[must_use]
    pub fn can_wait(&self) -> bool {
        match self {
            Self::Reserve(_) | Self::BeginMove { .. } | Self::Check { .. } | Self::Hold { .. } => true,
            Self::Settle { .. }
            | Self::Release { .. }
            | Self::Evict { .. }
            | Self::End { .. }
            | Self::FinishMove { .. }
            | Self::AddToken { .. } => false,
        }
    }

    /// The session that it is about, and waits for when that session is busy.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Reserve(_) => None,
            Self::Settle { session, .. }
            | Self::Release { session, .. }
            | Self::Evict { session, .. }
            | Self::End { session, .. }
            | Self::BeginMove { session, .. }
            | Self::FinishMove { session, .. }
            | Self::Check { session, .. }
            | Self::Hold { session, .. }
            | Self::AddToken { session, .. } => Some(*session),
        }
    }
}
