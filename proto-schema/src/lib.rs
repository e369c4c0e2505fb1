//! The wire contract of `heddled`, version 1: newline-delimited JSON-RPC 2.0 over a Unix socket.
//!
//! Every type that crosses the socket is here, beside the one table of methods ([`METHODS`]) and the one table of errors
//! ([`Kind`]). The JSON Schemas and the OpenRPC document under `proto-schema/schema/` are generated from these types by
//! `cargo run -p proto-schema --bin generate` and checked for drift by a test.
//!
//! # Versions
//!
//! A client may open with `daemon.hello` and the range of versions it speaks; without it version 1 is spoken. Within a
//! version results may gain members, which clients must ignore, and parameters may gain optional members; unknown
//! parameters are errors, so a caller never believes that something was honoured that was not.
//!
//! # Absence
//!
//! Nothing here does I/O, reads a clock or knows an async runtime: these are values, and the daemon and the command line
//! convert at their edges.

mod error;
mod git;
mod ids;
mod message;
mod methods;
mod openrpc;
mod operation;
mod registry;
mod reservation;
mod rpc;
mod shown;
mod text;
mod thread;
mod time;
mod token;

pub use error::{
    ActiveOperation, AnchorDetails, AnchorDriftDetails, CasConflictDetails, ErrorData, EventsCompactedDetails,
    FencingDetails, FilterDetails, HolderDetails, HolderProblem, IdempotencyDetails, InactiveDetails,
    IndexConflictedDetails, InvalidParamsDetails, Kind, LimitDetails, LiveOwnerDetails, NameConflictDetails,
    NameDetails, NoDetails, OperationDetails, Outcome, PathDetails, ProtocolDetails, RepositoryDetails,
    RepositoryNotFoundDetails, RepositoryProblem, SigningDetails, StoreDetails, ThreadCheckedOutDetails,
    ThreadMismatchDetails, WaitTimeoutDetails, WorktreeBusyDetails,
};
pub use git::{ObjectId, ObjectIdError, ThreadName, ThreadNameError};
pub use ids::{IdError, RequestId, SessionId};
pub use message::Message;
pub use methods::Empty;
pub use methods::agent::{
    Chain, EvictParams, HeartbeatParams, ListParams, ListResult, Probe, ProbeProcess, ReleaseParams, ReleaseStatus,
    ReservationResult, ReserveParams, ReserveResult, ResumeParams, ShowParams, ValidateParams, ValidateResult,
    WorktreeRequest,
};
pub use methods::capture::{CaptureParams, CaptureResult, CaptureSummary};
pub use methods::daemon::{
    Counts, Health, HealthCheck, HelloParams, HelloResult, Info, Limits, Metrics, NoParams, ShutdownParams,
};
pub use methods::events::{
    Event, EventParams, Lagged, LaggedDetail, LaggedKind, SubscribeParams, SubscriptionId, UnsubscribeParams,
};
pub use methods::oplog::{OplogListParams, OplogListResult};
pub use methods::ready::{Finding, FindingKind, ReadyParams, ReadyReport, ReadyResult, ReadyStatus};
pub use methods::repo::{AdoptParams, RemoteDrift, RepoParams, Verification, VerificationCheck, VerificationStatus};
pub use methods::thread::{
    CleanParams, CleanResult, CleanedWorktree, KeptWorktree, ThreadListParams, ThreadListResult, ThreadParams,
    ThreadResult, ThreadUpdateParams,
};
pub use openrpc::{document, envelope_schemas};
pub use operation::{Operation, OperationKind, WaitOutcome};
pub use registry::{METHODS, MethodSpec, NOTIFICATIONS, NotificationSpec, Schemas};
pub use reservation::{
    Alive, EndReason, HeartbeatHold, Hold, ProbeSource, ProcessHold, Reservation, SessionStatus, Usage, UsageSummary,
};
pub use rpc::{ErrorObject, Request, Response};
pub use shown::Shown;
pub use text::{Attribution, ClientName, NativeKey, PathText, Reason, Revision, Task, Text};
pub use thread::{
    Band, ConfidenceSummary, Freshness, ImpactCategory, IntegrationPolicyResult, Thread, ThreadMode, ThreadState,
    VerificationSummary,
};
pub use time::Timestamp;
pub use token::{FencingToken, ReservationToken, TokenError};

/// The protocol versions that this build speaks, lowest and highest.
pub const PROTOCOL: [u32; 2] = [1, 1];

/// The most bytes one line (one message or batch) may have, its line ending not counted, unless configured otherwise.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;

/// The most calls one batch may have.
pub const MAX_BATCH: usize = 100;
