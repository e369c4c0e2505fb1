//! The one table of methods.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::{
    AdoptParams, CaptureParams, CaptureResult, Chain, CleanParams, CleanResult, Empty, EventParams, EvictParams,
    Health, HeartbeatParams, HelloParams, HelloResult, Info, Kind, ListParams, ListResult, Metrics, NoParams,
    OplogListParams, OplogListResult, ReadyParams, ReadyResult, ReleaseParams, RepoParams, ReservationResult,
    ReserveParams, ReserveResult, ResumeParams, ShowParams, ShutdownParams, SubscribeParams, SubscriptionId,
    ThreadListParams, ThreadListResult, ThreadParams, ThreadResult, ThreadUpdateParams, UnsubscribeParams,
    ValidateParams, ValidateResult, Verification,
};

/// The schemas of a method's parameters and of its result.
pub type Schemas = fn(&mut SchemaGenerator) -> (Schema, Schema);

/// One method.
#[derive(Clone, Copy, Debug)]
pub struct MethodSpec {
    /// `noun.verb`.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Whether it changes something; a notification of such a method is not executed.
    pub changes: bool,
    /// The schemas of its parameters and result.
    pub schemas: Schemas,
    /// The kinds of errors of its own, beside those that every call can get ([`MethodSpec::COMMON_ERRORS`]).
    pub errors: &'static [Kind],
}

impl MethodSpec {
    /// What every call can be answered.
    pub const COMMON_ERRORS: &'static [Kind] =
        &[Kind::InvalidParams, Kind::InvalidRequest, Kind::LimitExceeded, Kind::ShuttingDown, Kind::Internal];

    /// Whether the same call again, after a lost answer, changes nothing more and is answered alike: what only reads, and
    /// what renews or ends a session. A reserve is repeatable by its `request_id` alone, so it is none of these.
    #[must_use]
    pub fn repeatable(&self) -> bool {
        !self.changes || matches!(self.name, "agent.heartbeat" | "agent.release" | "agent.resume")
    }

    /// The method of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.name == name)
    }
}

/// What the daemon sends without being called.
#[derive(Clone, Copy, Debug)]
pub struct NotificationSpec {
    /// `noun.verb`, as the notification's `method`.
    pub name: &'static str,
    /// What it tells, in a sentence.
    pub summary: &'static str,
    /// The schema of its parameters.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

/// Every notification that the daemon sends.
pub const NOTIFICATIONS: &[NotificationSpec] = &[NotificationSpec {
    name: "events.event",
    summary: "Tells a subscriber what happened, one operation each, or that it fell behind.",
    schema: |generator| generator.subschema_for::<EventParams>(),
}];

fn schemas<P: JsonSchema, R: JsonSchema>(generator: &mut SchemaGenerator) -> (Schema, Schema) {
    (generator.subschema_for::<P>(), generator.subschema_for::<R>())
}

fn discovery(generator: &mut SchemaGenerator) -> (Schema, Schema) {
    (
        generator.subschema_for::<NoParams>(),
        schemars::json_schema!({"type": "object", "description": "An OpenRPC document."}),
    )
}

use Kind::{
    AgentSessionInactive, AgentSessionNotFound, AgentSessionThreadMismatch, AnchorDrift, AnchorNotFound, CasConflict,
    EventsCompacted, FencingTokenStale, FilterNotAllowed, GitIdentityMissing, HolderNotFound, IdempotencyConflict,
    IndexConflicted, LiveOwner, NoHeadState, OperationInProgress, PathNotAllowed, ProtocolUnsupported,
    RepositoryNotFound, RepositoryUnavailable, ReservationTokenMismatch, SigningRefused, StoreUnavailable,
    ThreadCheckedOut, ThreadNameConflict, ThreadNameInvalid, ThreadNotFound, WaitTimeout, WorktreeBusy,
    WorktreeNotFound,
};

/// Every method that the daemon serves.
pub const METHODS: &[MethodSpec] = &[
    MethodSpec {
        name: "agent.reserve",
        summary: "Reserves a thread for one agent and makes its branch where there is none.",
        changes: true,
        schemas: schemas::<ReserveParams, ReserveResult>,
        errors: &[
            LiveOwner,
            AnchorDrift,
            WaitTimeout,
            AnchorNotFound,
            NoHeadState,
            IdempotencyConflict,
            AgentSessionInactive,
            HolderNotFound,
            PathNotAllowed,
            RepositoryNotFound,
            RepositoryUnavailable,
            StoreUnavailable,
            ThreadCheckedOut,
            ThreadNameConflict,
            ThreadNameInvalid,
            WorktreeNotFound,
            CasConflict,
        ],
    },
    MethodSpec {
        name: "agent.heartbeat",
        summary: "Keeps an active session alive.",
        changes: true,
        schemas: schemas::<HeartbeatParams, ReservationResult>,
        errors: &[
            AgentSessionNotFound,
            ReservationTokenMismatch,
            AgentSessionInactive,
            HolderNotFound,
            StoreUnavailable,
        ],
    },
    MethodSpec {
        name: "agent.release",
        summary: "Gives a session back.",
        changes: true,
        schemas: schemas::<ReleaseParams, ReservationResult>,
        errors: &[AgentSessionNotFound, ReservationTokenMismatch, AgentSessionInactive, StoreUnavailable],
    },
    MethodSpec {
        name: "agent.resume",
        summary: "Renews a session; one that a connection holds is held by the caller's from now on: the latest wins.",
        changes: true,
        schemas: schemas::<ResumeParams, ReservationResult>,
        errors: &[AgentSessionNotFound, ReservationTokenMismatch, AgentSessionInactive],
    },
    MethodSpec {
        name: "agent.list",
        summary: "Lists sessions, newest first.",
        changes: false,
        schemas: schemas::<ListParams, ListResult>,
        errors: &[RepositoryNotFound, RepositoryUnavailable, ThreadNameInvalid, StoreUnavailable],
    },
    MethodSpec {
        name: "agent.show",
        summary: "Shows one session and the sessions that it was started from.",
        changes: false,
        schemas: schemas::<ShowParams, Chain>,
        errors: &[AgentSessionNotFound],
    },
    MethodSpec {
        name: "agent.validate",
        summary: "Tells whether a session still has the right to write; changes and renews nothing.",
        changes: false,
        schemas: schemas::<ValidateParams, ValidateResult>,
        errors: &[],
    },
    MethodSpec {
        name: "agent.capture",
        summary: "Commits everything that a worktree has onto the session's thread.",
        changes: true,
        schemas: schemas::<CaptureParams, CaptureResult>,
        errors: &[
            AgentSessionNotFound,
            ReservationTokenMismatch,
            AgentSessionInactive,
            AgentSessionThreadMismatch,
            CasConflict,
            FencingTokenStale,
            OperationInProgress,
            GitIdentityMissing,
            FilterNotAllowed,
            WorktreeBusy,
            IndexConflicted,
            SigningRefused,
            WorktreeNotFound,
            RepositoryNotFound,
            RepositoryUnavailable,
            StoreUnavailable,
        ],
    },
    MethodSpec {
        name: "agent.ready",
        summary: "Checks a thread against its target and marks it ready for integration, or blocked.",
        changes: true,
        schemas: schemas::<ReadyParams, ReadyResult>,
        errors: &[
            AgentSessionNotFound,
            ReservationTokenMismatch,
            AgentSessionInactive,
            AgentSessionThreadMismatch,
            CasConflict,
            FencingTokenStale,
            OperationInProgress,
            GitIdentityMissing,
            FilterNotAllowed,
            WorktreeBusy,
            IndexConflicted,
            SigningRefused,
            WorktreeNotFound,
            RepositoryNotFound,
            RepositoryUnavailable,
            StoreUnavailable,
        ],
    },
    MethodSpec {
        name: "agent.evict",
        summary: "Ends another's session, as the operator, with a reason.",
        changes: true,
        schemas: schemas::<EvictParams, ReservationResult>,
        errors: &[AgentSessionNotFound, AgentSessionInactive, StoreUnavailable],
    },
    MethodSpec {
        name: "thread.list",
        summary: "Lists the threads of a repository by name.",
        changes: false,
        schemas: schemas::<ThreadListParams, ThreadListResult>,
        errors: &[RepositoryNotFound, RepositoryUnavailable],
    },
    MethodSpec {
        name: "thread.show",
        summary: "Shows one thread and who holds it.",
        changes: false,
        schemas: schemas::<ThreadParams, ThreadResult>,
        errors: &[RepositoryNotFound, RepositoryUnavailable, ThreadNotFound, ThreadNameInvalid],
    },
    MethodSpec {
        name: "thread.update",
        summary: "Moves a thread's branch by compare-and-swap, as its holder.",
        changes: true,
        schemas: schemas::<ThreadUpdateParams, ThreadResult>,
        errors: &[
            AgentSessionNotFound,
            ReservationTokenMismatch,
            AgentSessionInactive,
            CasConflict,
            ThreadCheckedOut,
            AnchorNotFound,
            RepositoryNotFound,
            RepositoryUnavailable,
            StoreUnavailable,
            FencingTokenStale,
        ],
    },
    MethodSpec {
        name: "thread.clean",
        summary: "Removes the linked worktrees of merged threads that hold no work.",
        changes: true,
        schemas: schemas::<CleanParams, CleanResult>,
        errors: &[RepositoryNotFound, RepositoryUnavailable, StoreUnavailable],
    },
    MethodSpec {
        name: "oplog.list",
        summary: "Lists what happened, from the operation log.",
        changes: false,
        schemas: schemas::<OplogListParams, OplogListResult>,
        errors: &[RepositoryNotFound, RepositoryUnavailable, ThreadNameInvalid, StoreUnavailable],
    },
    MethodSpec {
        name: "events.subscribe",
        summary: "Sends what happens from now on, or after a revision, as notifications `events.event`.",
        changes: true,
        schemas: schemas::<SubscribeParams, SubscriptionId>,
        errors: &[EventsCompacted, RepositoryNotFound, RepositoryUnavailable, ThreadNameInvalid],
    },
    MethodSpec {
        name: "events.unsubscribe",
        summary: "Ends a subscription of this connection; false when there is none of that name.",
        changes: true,
        schemas: schemas::<UnsubscribeParams, bool>,
        errors: &[],
    },
    MethodSpec {
        name: "repo.verify",
        summary: "Tells how a repository is, and what to do next.",
        changes: false,
        schemas: schemas::<RepoParams, Verification>,
        errors: &[RepositoryNotFound, RepositoryUnavailable],
    },
    MethodSpec {
        name: "repo.adopt",
        summary: "Takes a repository over from another registry whose daemon is not running.",
        changes: true,
        schemas: schemas::<AdoptParams, Empty>,
        errors: &[RepositoryNotFound, RepositoryUnavailable, StoreUnavailable],
    },
    MethodSpec {
        name: "daemon.hello",
        summary: "Agrees on a version of the protocol.",
        changes: false,
        schemas: schemas::<HelloParams, HelloResult>,
        errors: &[ProtocolUnsupported],
    },
    MethodSpec {
        name: "daemon.info",
        summary: "Tells what daemon this is and what it holds.",
        changes: false,
        schemas: schemas::<NoParams, Info>,
        errors: &[],
    },
    MethodSpec {
        name: "daemon.health",
        summary: "Tells whether the daemon can do its work.",
        changes: false,
        schemas: schemas::<NoParams, Health>,
        errors: &[],
    },
    MethodSpec {
        name: "daemon.metrics",
        summary: "Tells what the daemon counts and measures.",
        changes: false,
        schemas: schemas::<NoParams, Metrics>,
        errors: &[],
    },
    MethodSpec {
        name: "daemon.shutdown",
        summary: "Stops the daemon once the calls under way have ended; sessions stay.",
        changes: true,
        schemas: schemas::<ShutdownParams, Empty>,
        errors: &[],
    },
    MethodSpec {
        name: "rpc.discover",
        summary: "Answers the OpenRPC document of this protocol.",
        changes: false,
        schemas: discovery,
        errors: &[],
    },
];
