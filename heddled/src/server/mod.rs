//! The edge: the Unix socket, lines, HTTP and WebSocket, calls, answers and errors. It knows the coordinator and the wire's
//! types, and neither store nor Git nor processes.

mod advice;
mod connection;
mod dispatch;
mod error;
mod events;
mod framing;
mod handlers;
mod http;
mod incoming;
mod listener;
mod order;
mod params;
mod peer;
mod protocol;
mod request;
mod rpc;
mod shown;
mod telling;
mod terms;
mod verification;
mod websocket;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use jsonrpsee::core::server::Methods;
use proto_schema::Timestamp;
use tokio::sync::{mpsc, watch};

pub use framing::{Frame, Framer};
pub use listener::serve;
pub use peer::Peer;
pub use terms::{InForce, Terms};

use crate::clock::Clock;
use crate::coordinator::Coordinator;
use crate::registry::Actor;
use request::Names;
use terms::Count;

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

/// Somebody asks the daemon to stop.
#[derive(Clone, Debug)]
pub struct StopRequest {
    /// How long calls under way may still take, in milliseconds; none for the default.
    pub drain_ms: Option<u64>,
    /// Who asks, where that was a call.
    pub by: Option<Actor>,
}

/// What every connection serves with.
pub struct Service {
    methods: Methods,
    coordinator: Coordinator,
    clock: Arc<dyn Clock>,
    terms: InForce,
    connections: Arc<AtomicUsize>,
    names: Names,
    /// How many connections stay for the last events only, when the daemon stops.
    lingering: watch::Sender<usize>,
    /// What all subscriptions share.
    telling: Arc<telling::Telling>,
}

impl Service {
    fn monotonic_ms(&self) -> u64 {
        self.clock.monotonic_ms()
    }
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

/// Tells connections that the daemon is stopping.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Listens to a stop that is announced as `true`.
    #[must_use]
    pub fn new(announced: watch::Receiver<bool>) -> Self {
        Self(announced)
    }

    /// Comes back when the daemon is stopping.
    async fn stop(&mut self) {
        // An error means that whoever would announce it is gone, which is the same.
        let _stopping = self.0.wait_for(|stopping| *stopping).await;
    }
}

/// Makes the service from its parts.
///
/// # Errors
/// A method is registered twice, which is a mistake of the code.
pub fn service(
    coordinator: Coordinator,
    clock: Arc<dyn Clock>,
    identity: Identity,
    terms: InForce,
    stop: mpsc::Sender<StopRequest>,
) -> anyhow::Result<Arc<Service>> {
    let connections = Arc::new(AtomicUsize::new(0));
    let context = Context {
        coordinator: coordinator.clone(),
        identity,
        terms: terms.clone(),
        connections: Arc::clone(&connections),
        subscriptions: Count::default(),
        subscribed: AtomicU64::new(0),
        stop,
    };
    let methods = rpc::methods(context)?;
    let (names, lingering, telling) = (Names::default(), watch::Sender::new(0), Arc::default());
    Ok(Arc::new(Service { methods, coordinator, clock, terms, connections, names, lingering, telling }))
}
