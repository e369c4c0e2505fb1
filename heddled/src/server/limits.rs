//! The limits of what one client, and all of them together, can ask for.

/// The limits of the edge.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one message: a line, the body of an HTTP request, or a WebSocket message.
    pub line_bytes: usize,
    /// Open connections.
    pub connections: usize,
    /// Calls in flight on one connection.
    pub calls_in_flight: usize,
    /// Calls of one batch.
    pub batch: usize,
    /// Active sessions; kept by the coordinator, told here.
    pub active_sessions: usize,
    /// Callers that wait for a thread; kept by the coordinator, told here.
    pub waiters: usize,
    /// Subscriptions to events, all connections together.
    pub subscriptions: usize,
    /// How many revisions a subscriber whose connection takes no more may be behind.
    pub events_behind: u64,
    /// How long a request may be incomplete, in milliseconds.
    pub request_timeout_ms: u64,
}
