//! Why the registry says no, with the facts. A correct answer, not a failure: nothing has changed.

use std::sync::Arc;

use proto_schema::{ObjectId, RequestId, ThreadName};

use super::record::SessionRecord;

/// A no of the registry.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// A live session holds the thread at the anchor asked for.
    LiveOwner {
        /// Who.
        owner: Arc<SessionRecord>,
        /// Whether the owner's request_id is the caller's.
        same_request: bool,
    },
    /// The thread stands, or is held, at another state than the one asked for.
    AnchorDrift {
        /// Who holds it, if anybody does.
        owner: Option<Arc<SessionRecord>>,
        /// The owner's anchor, or the tip.
        reserved: ObjectId,
        /// The anchor asked for.
        requested: ObjectId,
    },
    /// A branch that is being made stands in the way of this one: `a` beside `a/b`.
    NameConflict {
        /// The other thread.
        existing: ThreadName,
    },
    /// The branch was read before the thread last changed, or the repository marked before the era did: look and ask again.
    Outdated,
    /// The request_id was used for something else.
    IdempotencyConflict {
        /// The request.
        request: RequestId,
        /// The parameters that differ, by name.
        differing: Vec<String>,
    },
    /// There is no such session.
    NotFound,
    /// The token is not the session's.
    TokenMismatch,
    /// The session has ended.
    Inactive(Arc<SessionRecord>),
    /// The session has another change of Git under way: ask again when it is settled.
    Busy,
    /// There are as many active sessions as there may be.
    TooManySessions {
        /// How many there are.
        value: usize,
        /// How many there may be.
        max: usize,
    },
}
