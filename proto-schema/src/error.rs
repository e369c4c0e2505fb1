//! Errors on the wire: the one table of kinds, and the facts that each kind carries.

use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{EndReason, FencingToken, ObjectId, RequestId, Reservation, SessionStatus, ThreadName, Timestamp};

/// One row of the table: kind, wire name, code, exit code of `heddlectl`, whether the same call may succeed later.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $name:literal, $code:literal, $exit:literal, $retryable:literal, $details:ty;)*) => {
        /// What went wrong, by its stable name.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            /// The number in `error.code`.
            #[must_use]
            pub const fn code(self) -> i32 {
                match self { $(Self::$kind => $code),* }
            }

            /// The exit code of `heddlectl` for it.
            #[must_use]
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$kind => $exit),* }
            }

            /// Whether the same call, unchanged, may succeed later.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self { $(Self::$kind => $retryable),* }
            }

            /// The schema of `error.data.details` for it.
            #[must_use]
            pub fn details_schema(self, generator: &mut SchemaGenerator) -> Schema {
                match self { $(Self::$kind => generator.subschema_for::<$details>()),* }
            }
        }
    };
}

kinds! {
    /// A live session holds the thread.
    LiveOwner, "live_owner", 1001, 3, true, LiveOwnerDetails;
    /// The thread stands at another state than the one asked for.
    AnchorDrift, "anchor_drift", 1002, 3, false, AnchorDriftDetails;
    /// A branch is not where the caller expected it.
    CasConflict, "cas_conflict", 1003, 4, false, CasConflictDetails;
    /// The time to wait for the thread is over.
    WaitTimeout, "wait_timeout", 1004, 75, true, WaitTimeoutDetails;
    /// The session has ended.
    AgentSessionInactive, "agent_session_inactive", 1005, 3, false, InactiveDetails;
    /// The worktree, or the thread named, is not the one that the session reserved.
    AgentSessionThreadMismatch, "agent_session_thread_mismatch", 1006, 3, false, ThreadMismatchDetails;
    /// The session lost its right between its check and its write.
    FencingTokenStale, "fencing_token_stale", 1007, 4, false, FencingDetails;
    /// The request_id was used for something else.
    IdempotencyConflict, "idempotency_conflict", 1008, 3, false, IdempotencyDetails;
    /// The worktree is in the middle of a merge, rebase, cherry-pick, revert or bisect.
    OperationInProgress, "operation_in_progress", 1009, 3, false, OperationDetails;
    /// Git knows no name or email address to commit with.
    GitIdentityMissing, "git_identity_missing", 1010, 3, false, NoDetails;
    /// A file's content is to go through a filter that may not run.
    FilterNotAllowed, "filter_not_allowed", 1011, 3, false, FilterDetails;
    /// Another process is writing the worktree's index.
    WorktreeBusy, "worktree_busy", 1012, 75, true, WorktreeBusyDetails;
    /// The index has conflicts.
    IndexConflicted, "index_conflicted", 1013, 3, false, IndexConflictedDetails;
    /// The commit is to be signed, and could not be.
    SigningRefused, "signing_refused", 1014, 3, false, SigningDetails;
    /// The path is not one that the daemon may make files at.
    PathNotAllowed, "path_not_allowed", 1015, 77, false, PathDetails;
    /// The branch is checked out in a worktree.
    ThreadCheckedOut, "thread_checked_out", 1016, 3, false, ThreadCheckedOutDetails;
    /// No such session is known.
    AgentSessionNotFound, "agent_session_not_found", 1101, 3, false, NoDetails;
    /// The anchor is no commit of the repository.
    AnchorNotFound, "anchor_not_found", 1102, 3, false, AnchorDetails;
    /// The worktree has no commit yet.
    NoHeadState, "no_head_state", 1103, 3, false, NoDetails;
    /// There is no repository that may be served there.
    RepositoryNotFound, "repository_not_found", 1104, 3, false, RepositoryNotFoundDetails;
    /// No such thread is known.
    ThreadNotFound, "thread_not_found", 1105, 3, false, NoDetails;
    /// The path is not one of the repository's worktrees.
    WorktreeNotFound, "worktree_not_found", 1106, 3, false, NoDetails;
    /// The process that should hold the session cannot.
    HolderNotFound, "holder_not_found", 1107, 3, false, HolderDetails;
    /// The name cannot be a thread's.
    ThreadNameInvalid, "thread_name_invalid", 1201, 2, false, NameDetails;
    /// No version of the protocol is spoken by both.
    ProtocolUnsupported, "protocol_unsupported", 1202, 69, false, ProtocolDetails;
    /// What happened after that revision is no longer kept.
    EventsCompacted, "events_compacted", 1203, 3, false, EventsCompactedDetails;
    /// Git cannot hold the name beside an existing branch.
    ThreadNameConflict, "thread_name_conflict", 1204, 2, false, NameConflictDetails;
    /// The token is not the session's.
    ReservationTokenMismatch, "reservation_token_mismatch", 1301, 77, false, NoDetails;
    /// The peer is another user.
    UnauthorizedPeer, "unauthorized_peer", 1302, 77, false, NoDetails;
    /// A limit is reached.
    LimitExceeded, "limit_exceeded", 1401, 75, true, LimitDetails;
    /// The daemon is stopping.
    ShuttingDown, "shutting_down", 1402, 75, true, NoDetails;
    /// The change could not be made durable.
    StoreUnavailable, "store_unavailable", 1501, 74, true, StoreDetails;
    /// Git, or the repository's files, could not do it.
    RepositoryUnavailable, "repository_unavailable", 1502, 74, true, RepositoryDetails;
    /// The line is not JSON.
    ParseError, "parse_error", -32700, 2, false, NoDetails;
    /// The JSON is not a call.
    InvalidRequest, "invalid_request", -32600, 2, false, NoDetails;
    /// There is no such method.
    MethodNotFound, "method_not_found", -32601, 2, false, NoDetails;
    /// The parameters are not the method's.
    InvalidParams, "invalid_params", -32602, 2, false, InvalidParamsDetails;
    /// A defect of the daemon; its log has the cause under `data.request`.
    Internal, "internal", -32603, 70, false, NoDetails;
}

impl Kind {
    /// The kind of an error code.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }
}

/// `error.data`: what is wrong, what to do, and the facts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ErrorData {
    /// The stable name.
    pub kind: Kind,
    /// What is wrong, in a sentence without a full stop.
    pub error: String,
    /// What to do.
    pub hint: String,
    /// The state of things that makes the call unsafe.
    pub unsafe_condition: Option<String>,
    /// What would have changed, had it been done.
    pub would_change: Option<String>,
    /// What was left untouched.
    pub preserved: Option<String>,
    /// The one command to run: exact, quoted for a shell.
    pub primary_command: Option<String>,
    /// All commands that help, the primary first.
    pub recovery_commands: Vec<String>,
    /// Whether the same call, unchanged, may succeed later.
    pub retryable: bool,
    /// When to try again, in milliseconds, where that can be said.
    pub retry_after_ms: Option<u64>,
    /// The facts, typed by kind; `{}` where a kind has none.
    pub details: Value,
    /// Names this answer in the daemon's log.
    pub request: Option<Arc<str>>,
}

/// No facts: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NoDetails {}

/// Details of `live_owner`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LiveOwnerDetails {
    /// Who holds the thread.
    pub owner: Reservation,
    /// How many callers wait for it.
    pub waiters: u64,
    /// Whether the owner's request_id is the caller's.
    pub same_request: bool,
}

/// Details of `anchor_drift`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnchorDriftDetails {
    /// Who holds the thread, if anybody does.
    pub owner: Option<Reservation>,
    /// The owner's anchor, or without an owner the thread's tip.
    pub reserved_anchor: ObjectId,
    /// The anchor asked for.
    pub requested_anchor: ObjectId,
    /// How many callers wait for the thread.
    #[serde(default)]
    pub waiters: u64,
}

/// Details of `wait_timeout`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WaitTimeoutDetails {
    /// Who holds the thread.
    pub owner: Reservation,
    /// The place that the caller had in the thread's queue; 1 is the next.
    pub position: u64,
}

/// Details of `cas_conflict`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CasConflictDetails {
    /// The state that the caller expected; null for no branch.
    pub expected: Option<ObjectId>,
    /// The state that the branch has; null for no branch.
    pub actual: Option<ObjectId>,
}

/// Details of `agent_session_inactive`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InactiveDetails {
    /// How it ended.
    pub status: SessionStatus,
    /// Why it ended.
    pub end_reason: Option<EndReason>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}

/// Details of `agent_session_thread_mismatch`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadMismatchDetails {
    /// The session's thread.
    pub reserved_thread: ThreadName,
    /// The other one; null when no branch is checked out.
    pub current_thread: Option<ThreadName>,
}

/// Details of `fencing_token_stale`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FencingDetails {
    /// The caller's.
    pub held: FencingToken,
    /// The one that counts now; null when nobody holds the thread.
    pub current: Option<FencingToken>,
}

/// Details of `idempotency_conflict`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IdempotencyDetails {
    /// The request_id.
    pub request_id: RequestId,
    /// The names of the parameters that differ; never a value.
    pub differing: Vec<String>,
}

/// What a worktree can be in the middle of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActiveOperation {
    /// `git merge`.
    Merge,
    /// `git rebase` or `git am`.
    Rebase,
    /// `git cherry-pick`.
    CherryPick,
    /// `git revert`.
    Revert,
    /// `git bisect`.
    Bisect,
}

/// Details of `operation_in_progress`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OperationDetails {
    /// Which one.
    pub operation: ActiveOperation,
}

/// Details of `filter_not_allowed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FilterDetails {
    /// The filter driver's name.
    pub filter: String,
    /// The first file that needs it, relative to the worktree.
    pub path: String,
}

/// Details of `worktree_busy`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorktreeBusyDetails {
    /// The lock file that stands in the way.
    pub lock: String,
}

/// Details of `index_conflicted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IndexConflictedDetails {
    /// The files with conflicts, relative to the worktree: the first 1,000.
    pub paths: Vec<String>,
}

/// Details of `signing_refused`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SigningDetails {
    /// What Git or the signing program said.
    pub reason: String,
}

/// Details of `path_not_allowed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PathDetails {
    /// The path asked for.
    pub path: String,
    /// Where paths are allowed.
    pub roots: Vec<String>,
}

/// Details of `thread_checked_out`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadCheckedOutDetails {
    /// The worktree that has it.
    pub worktree: String,
}

/// Details of `anchor_not_found`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnchorDetails {
    /// The revision as it was given.
    pub anchor: String,
}

/// Why a repository is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RepositoryProblem {
    /// There is none.
    NotARepository,
    /// Another user owns it, and `safe.directory` does not name it.
    NotTrusted,
    /// Its format is not supported.
    UnsupportedFormat,
    /// The configuration's `repos` does not have it.
    NotServed,
}

/// Details of `repository_not_found`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryNotFoundDetails {
    /// The path as it was given.
    pub path: String,
    /// Why.
    pub reason: RepositoryProblem,
}

/// Why a process cannot hold a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum HolderProblem {
    /// There is no such process, or it has exited.
    #[serde(rename = "no such process")]
    NoSuchProcess,
    /// The caller's pids are not the daemon's.
    #[serde(rename = "other namespace")]
    OtherNamespace,
    /// It runs as another user.
    #[serde(rename = "other user")]
    OtherUser,
}

/// Details of `holder_not_found`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HolderDetails {
    /// The process asked for.
    pub pid: i32,
    /// Why it cannot hold a session.
    pub reason: HolderProblem,
}

/// Details of `thread_name_invalid`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NameDetails {
    /// A name that is valid.
    pub suggestion: String,
}

/// Details of `protocol_unsupported`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProtocolDetails {
    /// The versions that the daemon speaks, lowest and highest.
    pub server: [u32; 2],
}

/// Details of `thread_name_conflict`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NameConflictDetails {
    /// The branch that stands in the way.
    pub existing: ThreadName,
}

/// Details of `events_compacted`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventsCompactedDetails {
    /// The oldest revision that is kept: subscribe with `after` of one less to miss nothing more.
    pub oldest: u64,
}

/// Details of `limit_exceeded`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LimitDetails {
    /// Which limit, by its name in the configuration.
    pub limit: String,
    /// What was reached.
    pub value: u64,
    /// What is allowed.
    pub max: u64,
}

/// What is known of a change that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did not happen.
    NotApplied,
    /// It may or may not have happened; look before you repeat.
    Unknown,
}

/// Details of `store_unavailable`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoreDetails {
    /// What is known of the change.
    pub outcome: Outcome,
}

/// Details of `repository_unavailable`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryDetails {
    /// What was being done.
    pub operation: String,
    /// What went wrong.
    pub cause: String,
    /// The state directory that owns the repository, when that is why.
    pub registry: Option<String>,
}

/// Details of `invalid_params`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InvalidParamsDetails {
    /// The parameter, as a path; `.` for the parameters as a whole.
    pub field: String,
    /// What it should have been.
    pub expected: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_the_same_both_ways() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_code(kind.code()), Some(*kind), "codes are unique");
            let name = serde_json::to_value(kind).expect("a kind is JSON");
            assert_eq!(name, kind.as_str());
            assert_eq!(serde_json::from_value::<Kind>(name).expect("and back"), *kind);
        }
        assert_eq!(Kind::from_code(1), None);
    }
}
