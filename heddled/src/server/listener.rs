//! Accepts connections: of this user only, and not more than may be.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jsonrpsee::types::Id;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::connection;
use super::dispatch;
use super::error;
use super::peer::Peer;
use super::{Service, Stopping};

/// How long a failing accept is given to mend itself, as when descriptors have run out.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Serves until the daemon stops, and then until every connection has ended. Dropping it cuts off those that have not.
pub async fn serve(service: Arc<Service>, listener: UnixListener, mut stopping: Stopping) {
    let mut connections = JoinSet::new();
    let our_uid = nix::unistd::geteuid().as_raw();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping.stop() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(problem) = ended {
                    warn!(%problem, "a connection's task broke");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => admit(&service, stream, our_uid, &stopping, &mut connections),
            Err(problem) => {
                warn!(%problem, "a connection could not be accepted");
                // The time is what is waited for.
                let _elapsed = tokio::time::timeout(BACK_OFF, std::future::pending::<()>()).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn admit(service: &Arc<Service>, stream: UnixStream, our_uid: u32, stopping: &Stopping, connections: &mut JoinSet<()>) {
    let peer = match Peer::of(&stream) {
        Ok(peer) => peer,
        Err(problem) => {
            warn!(%problem, "a peer's credentials could not be read");
            return;
        }
    };
    let max = service.limits.connections;
    let refusal = if peer.uid != our_uid {
        warn!(uid = peer.uid, "another user's connection is refused");
        Some(error::unauthorized())
    } else if connections.len() >= max {
        debug!(max, "a connection is refused: there are too many");
        Some(error::limit("connections", connections.len() + 1, max))
    } else {
        None
    };
    if let Some(refusal) = refusal {
        // It fits the socket's buffer; a peer that is gone already misses nothing.
        let line = [&*dispatch::error_line(Id::Null, refusal), b"\n"].concat();
        drop(stream.try_write(&line));
        return;
    }
    service.connections.fetch_add(1, Ordering::Relaxed);
    let (service, stopping) = (Arc::clone(service), stopping.clone());
    connections.spawn(async move {
        let counted = Counted(&service.connections);
        connection::serve(Arc::clone(&service), stream, peer, stopping).await;
        drop(counted);
    });
}

/// Counts a connection out, however it ends.
struct Counted<'a>(&'a std::sync::atomic::AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
