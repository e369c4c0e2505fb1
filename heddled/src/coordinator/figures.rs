//! The figures of the registry, for whoever watches the daemon.

use std::sync::Arc;

use super::{Coordinator, Failure, blocking};
use crate::metrics::{Figures, Metrics};

impl Coordinator {
    /// What is counted and measured.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// All of it as text: what the edge knows is in `edge`, and what the registry has is put beside it. Every session is
    /// looked at, so it is not done on the async worker.
    ///
    /// # Errors
    /// `Broken`: a defect.
    pub async fn figures(&self, edge: Figures) -> Result<String, Failure> {
        let (snapshot, metrics) = (self.snapshot(), Arc::clone(self.metrics()));
        blocking("counting", move || {
            let registry = &snapshot.registry;
            let (_, threads, repositories) = registry.sizes();
            let sessions = registry.count_by_status();
            let revision = registry.revision();
            let figures = Figures { sessions, threads, repositories, revision, ..edge };
            metrics.text(&figures).map_err(|_| Failure::Broken("the metrics"))
        })
        .await
    }
}
