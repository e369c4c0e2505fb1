//! The service that every connection serves with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use jsonrpsee::core::server::Methods;
use tokio::sync::{mpsc, watch};

use super::budget::Budget;
use super::context::{Context, Identity, StopRequest};
use super::request::Names;
use super::rpc;
use super::telling::Telling;
use super::terms::{Count, InForce};
use crate::clock::Clock;
use crate::coordinator::Coordinator;

/// What every connection serves with.
pub struct Service {
    pub(super) methods: Methods,
    pub(super) coordinator: Coordinator,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) terms: InForce,
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) names: Names,
    /// How many connections stay for the last events only, when the daemon stops.
    pub(super) lingering: watch::Sender<usize>,
    /// What all subscriptions share.
    pub(super) telling: Arc<Telling>,
    /// How much of the bound of answers that wait is taken.
    pub(super) budget: Budget,
}

impl Service {
    pub(super) fn monotonic_ms(&self) -> u64 {
        self.clock.monotonic_ms()
    }
}

/// How connections learn that the daemon is stopping.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// A stop is announced as `true`.
    #[must_use]
    pub fn new(announced: watch::Receiver<bool>) -> Self {
        Self(announced)
    }

    /// Returns when the daemon is stopping.
    pub(super) async fn stop(&mut self) {
        // The sender is gone only when the daemon is stopping, too.
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
    let budget = Budget::default();
    Ok(Arc::new(Service { methods, coordinator, clock, terms, connections, names, lingering, telling, budget }))
}
