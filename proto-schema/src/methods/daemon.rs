//! `daemon.*`: the daemon about itself.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ClientName, Timestamp};

/// No parameters: absent, `{}` or `[]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// Parameters of `daemon.hello`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HelloParams {
    /// The lowest and the highest version that the client speaks.
    pub protocol: [u32; 2],
    /// `name/version` of the client.
    pub client: ClientName,
}

/// Result of `daemon.hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HelloResult {
    /// The highest version that both speak.
    pub protocol: u32,
    /// `heddled/<version>`.
    pub server: String,
    /// What this daemon can do beyond the bare version.
    pub capabilities: Vec<String>,
}

/// What the registry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Open connections.
    pub connections: u64,
    /// Subscriptions to events.
    #[serde(default)]
    pub subscriptions: u64,
    /// Sessions that hold a thread.
    pub active_sessions: u64,
    /// Callers that wait for a thread.
    #[serde(default)]
    pub waiters: u64,
    /// Sessions that are kept, ended ones included.
    pub sessions: u64,
    /// Threads that are known.
    pub threads: u64,
    /// Repositories that are known.
    pub repositories: u64,
    /// Stored records that could not be read and were set aside.
    pub quarantined: u64,
}

/// The limits in force; each has its error `limit_exceeded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Bytes of one message: a line, the body of an HTTP request, or a WebSocket message.
    pub line_bytes: u64,
    /// Open connections.
    pub connections: u64,
    /// Calls in flight on one connection.
    pub calls_in_flight: u64,
    /// Calls of one batch.
    pub batch: u64,
    /// Active sessions.
    pub active_sessions: u64,
    /// Callers that wait for a thread.
    #[serde(default)]
    pub waiters: u64,
    /// Subscriptions to events.
    #[serde(default)]
    pub subscriptions: u64,
    /// How many revisions a subscriber that takes no more may be behind.
    #[serde(default)]
    pub events_behind: u64,
    /// How long a request may be incomplete, in milliseconds.
    pub request_timeout_ms: u64,
}

/// Result of `daemon.info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Info {
    /// The daemon's version.
    pub version: String,
    /// The protocol versions it speaks, lowest and highest.
    pub protocol: [u32; 2],
    /// Its pid.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// Where it listens.
    pub socket: Arc<str>,
    /// Where it keeps its registry.
    pub state_dir: Arc<str>,
    /// The registry's id, as `heddle-registry` in each repository names it.
    pub registry: Arc<str>,
    /// The boot it runs in.
    pub boot_id: Arc<str>,
    /// What the registry holds.
    pub counts: Counts,
    /// The limits in force.
    pub limits: Limits,
    /// The newest revision.
    pub revision: u64,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthCheck {
    /// What was looked at.
    pub name: String,
    /// Whether it is well.
    pub clean: bool,
    /// In a sentence.
    pub summary: String,
}

/// Result of `daemon.health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Whether every check is clean.
    pub healthy: bool,
    /// The checks.
    pub checks: Vec<HealthCheck>,
}

/// Result of `daemon.metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metrics {
    /// What is counted and measured, in the text format 0.0.4 of Prometheus: what `GET /metrics` answers.
    pub text: String,
}

/// Parameters of `daemon.shutdown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShutdownParams {
    /// How long calls under way may still take, in milliseconds. Default 10,000, at most 600,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_ms: Option<u64>,
}
