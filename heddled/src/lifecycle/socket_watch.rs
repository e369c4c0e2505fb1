//! Checks once a second that the socket's path names the daemon's socket, and binds it again if it does not.
//!
//! A socket that was handed over by a service manager is the manager's, and has no such watch.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::{SocketError, SocketGuard};

/// How often the path is checked.
const INTERVAL: Duration = Duration::from_secs(1);

/// The task that watches the socket. The socket is removed when this is dropped.
#[derive(Debug)]
pub struct SocketWatch {
    task: JoinHandle<()>,
    /// Keeps the socket until this is dropped, also after the task has ended.
    _guard: Arc<Mutex<SocketGuard>>,
}

impl SocketWatch {
    /// Starts the watch. Each listener that is bound again goes to `rebound`.
    #[must_use = "the socket is removed as soon as this is dropped"]
    pub fn start(guard: SocketGuard, rebound: mpsc::Sender<UnixListener>) -> Self {
        let guard = Arc::new(Mutex::new(guard));
        Self { task: tokio::spawn(watch(Arc::clone(&guard), rebound)), _guard: guard }
    }
}

impl Drop for SocketWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(guard: Arc<Mutex<SocketGuard>>, rebound: mpsc::Sender<UnixListener>) {
    // Logs a failure once, not once a second.
    let mut last_failure = None;
    while !rebound.is_closed() {
        let _elapsed = tokio::time::timeout(INTERVAL, rebound.closed()).await;
        let guard = Arc::clone(&guard);
        // The directory may lie on a disk that does not answer.
        let restored = tokio::task::spawn_blocking(move || guard.lock().restore()).await;
        let listener = match restored {
            Ok(Ok(None)) => {
                last_failure = None;
                continue;
            }
            Ok(Ok(Some(listener))) => UnixListener::from_std(listener).map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(describe(&error)),
            Err(stopped) => Err(stopped.to_string()),
        };
        match listener {
            Ok(listener) => {
                info!("the socket was gone from its path, and is bound again");
                // An error means that the daemon is stopping.
                let _is_sent = rebound.send(listener).await;
            }
            Err(error) if last_failure.as_ref() != Some(&error) => {
                warn!(%error, "the socket is gone from its path and cannot be bound again; trying once a second");
                last_failure = Some(error);
            }
            Err(_) => {}
        }
    }
}

fn describe(error: &SocketError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
