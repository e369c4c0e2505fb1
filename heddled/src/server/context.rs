//! What the handlers of methods work with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use proto_schema::Timestamp;
use tokio::sync::mpsc;

use super::terms::{Count, InForce};
use crate::coordinator::Coordinator;
use crate::registry::Actor;

/// What the daemon says about itself.
#[derive(Clone, Debug)]
pub struct Identity {
    /// When it started.
    pub started_at: Timestamp,
    /// Where it listens.
    pub socket: Arc<str>,
    /// Where it keeps its registry.
    pub state_dir: Arc<str>,
    /// Its registry's id.
    pub registry: Arc<str>,
    /// The boot it runs in.
    pub boot_id: Arc<str>,
    /// Stored records that could not be read and were set aside, each with why.
    pub quarantined: Vec<String>,
}

/// A request to stop the daemon.
#[derive(Clone, Debug)]
pub struct StopRequest {
    /// How long calls under way get to finish, in milliseconds; `None` for the default.
    pub drain_ms: Option<u64>,
    /// Who asks, if a call did.
    pub by: Option<Actor>,
}

/// What handlers work with.
pub(crate) struct Context {
    pub(crate) coordinator: Coordinator,
    pub(crate) identity: Identity,
    pub(crate) terms: InForce,
    pub(crate) connections: Arc<AtomicUsize>,
    /// How many subscriptions there are.
    pub(crate) subscriptions: Count,
    /// How many were granted so far.
    pub(crate) subscribed: AtomicU64,
    pub(crate) stop: mpsc::Sender<StopRequest>,
}
