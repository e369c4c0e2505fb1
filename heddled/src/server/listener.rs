//! Accepts connections: of this user only, and not more than may be.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jsonrpsee::types::Id;
use proto_schema::Kind;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, warn};

use super::connection;
use super::dispatch::{self, Admission};
use super::error::{self, WireError};
use super::http;
use super::peer::Peer;
use super::protocol::is_http;
use super::service::{Service, Stopping};

/// How long a failing accept is given to mend itself, as when descriptors have run out.
const BACK_OFF: Duration = Duration::from_millis(50);

/// How long after it was told that connections cannot be accepted it is told again, in milliseconds.
const TOLD_AGAIN_MS: u64 = 60_000;

/// How long somebody who is not let in is listened to, to be answered in the protocol that it speaks.
const FIRST_WORD: Duration = Duration::from_millis(100);

/// How many of those are listened to at once. Beside the limit of connections, so many are kept for the operator.
const MOST_LISTENED_TO: usize = 64;

/// How long a connection that is kept for the operator may stay. Where there are too many, the oldest one makes room.
const OPERATOR_TIME: Duration = Duration::from_secs(30);

/// How much of the first message is looked at. A `daemon.hello` and the call behind it have some 200 bytes.
const FIRST_MESSAGE: usize = 4096;

/// Serves until the daemon stops, and then until every call under way has ended. Answers the connections that stay: their
/// subscribers are still to be told of the stop. Dropping it, or them, cuts off what has not ended.
///
/// A listener that comes by `rebound` takes the place of the one before.
pub async fn serve(
    service: Arc<Service>,
    mut listener: UnixListener,
    mut rebound: mpsc::Receiver<UnixListener>,
    mut stopping: Stopping,
) -> JoinSet<()> {
    let (mut connections, mut turned_away) = (JoinSet::new(), TurnedAway::default());
    let our_uid = nix::unistd::geteuid().as_raw();
    let mut failures = Failures::default();
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
            Some(_) = turned_away.tasks.join_next(), if !turned_away.tasks.is_empty() => continue,
            accepted = listener.accept() => accepted,
            // After `accept`: what waits in the queue of the old listener is accepted first.
            Some(next) = rebound.recv() => {
                listener = next;
                continue;
            }
        };
        match accepted {
            Ok((stream, _)) => admit(&service, stream, our_uid, &stopping, &mut connections, &mut turned_away),
            Err(problem) => {
                failures.note(&problem, service.monotonic_ms());
                // Whoever connects waits in the listener's queue meanwhile. The time is what is waited for.
                let _elapsed = tokio::time::timeout(BACK_OFF, std::future::pending::<()>()).await;
            }
        }
    }
    drop(listener);
    // The answer to a `daemon.shutdown` may be among these; each ends by itself.
    let _elapsed =
        tokio::time::timeout(FIRST_WORD * 2, async { while turned_away.tasks.join_next().await.is_some() {} }).await;
    let mut lingering = service.lingering.subscribe();
    while connections.len() > *lingering.borrow_and_update() {
        tokio::select! {
            Some(_ended) = connections.join_next() => {}
            // It is the service that tells, and it is here.
            _ = lingering.changed() => {}
        }
    }
    connections
}

/// Failures to accept. There may be twenty a second: an operator is told of them once a minute.
#[derive(Default)]
struct Failures {
    count: u64,
    told_at: Option<u64>,
}

impl Failures {
    fn note(&mut self, problem: &std::io::Error, now_ms: u64) {
        self.count += 1;
        debug!(%problem, "an accept failed");
        if self.told_at.is_none_or(|told_at| now_ms.saturating_sub(told_at) >= TOLD_AGAIN_MS) {
            warn!(%problem, failures = self.count, "connections cannot be accepted; they wait until they can");
            self.told_at = Some(now_ms);
        }
    }
}

/// The connections over the limit that are listened to, the oldest first.
#[derive(Default)]
struct TurnedAway {
    tasks: JoinSet<()>,
    open: VecDeque<Open>,
}

struct Open {
    task: AbortHandle,
    /// Whether it is served, as one that asks about the daemon.
    is_served: Arc<AtomicBool>,
}

impl TurnedAway {
    /// Makes room for one more, and returns whether there is any. The oldest one that is served is closed for it: one that
    /// stays must not keep the next operator out. The others end by themselves within [`FIRST_WORD`].
    fn make_room(&mut self) -> bool {
        self.open.retain(|open| !open.task.is_finished());
        if self.open.len() < MOST_LISTENED_TO {
            return true;
        }
        let oldest = self.open.iter().position(|open| open.is_served.load(Ordering::Relaxed));
        let oldest = oldest.and_then(|oldest| self.open.remove(oldest));
        oldest.map(|oldest| oldest.task.abort()).is_some()
    }

    fn listen_to(
        &mut self,
        service: &Arc<Service>,
        stream: UnixStream,
        peer: Peer,
        stopping: &Stopping,
        refusal: WireError,
    ) {
        let is_served = Arc::new(AtomicBool::new(false));
        let served = Arc::clone(&is_served);
        let task = turn_away(Arc::clone(service), stream, peer, stopping.clone(), refusal, served);
        self.open.push_back(Open { task: self.tasks.spawn(task), is_served });
    }
}

fn admit(
    service: &Arc<Service>,
    stream: UnixStream,
    our_uid: u32,
    stopping: &Stopping,
    connections: &mut JoinSet<()>,
    turned_away: &mut TurnedAway,
) {
    let peer = match Peer::of(&stream) {
        Ok(peer) => peer,
        Err(problem) => {
            warn!(%problem, "a peer's credentials could not be read");
            return;
        }
    };
    let max = service.terms.now().limits.connections;
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
        if peer.uid != our_uid || !turned_away.make_room() {
            let first = first_byte(&stream).ok().flatten();
            say_why(service, &stream, refusal, first);
        } else {
            turned_away.listen_to(service, stream, peer, stopping, refusal);
        }
        return;
    }
    service.connections.fetch_add(1, Ordering::Relaxed);
    let (service, stopping) = (Arc::clone(service), stopping.clone());
    connections.spawn(async move {
        let counted = Counted(&service.connections);
        connection::serve(Arc::clone(&service), stream, peer, Admission::Full, stopping).await;
        drop(counted);
    });
}

/// Tells a connection over the limit why it is refused: in HTTP, if it begins to speak that soon. One that asks about the
/// daemon itself is served: an operator must be able to look at a daemon that is full, and to stop it.
async fn turn_away(
    service: Arc<Service>,
    stream: UnixStream,
    peer: Peer,
    stopping: Stopping,
    refusal: WireError,
    is_served: Arc<AtomicBool>,
) {
    // It is answered whether it speaks or not.
    let first = tokio::time::timeout(FIRST_WORD, first_word(&stream)).await.ok().flatten();
    if asks_about_daemon(&stream) {
        is_served.store(true, Ordering::Relaxed);
        let max = service.terms.now().limits.connections;
        let served = connection::serve(service, stream, peer, Admission::DaemonOnly { max }, stopping);
        // Dropped when its time is up: nothing that its calls begin outlasts them.
        let _elapsed = tokio::time::timeout(OPERATOR_TIME, served).await;
    } else {
        say_why(&service, &stream, refusal, first);
    }
}

/// Whether the first message that has come in is a call of a method of the daemon itself. It stays where it is.
fn asks_about_daemon(stream: &UnixStream) -> bool {
    let mut message = [0; FIRST_MESSAGE];
    let Ok((count, _)) = recv(stream, &mut message, RecvFlags::PEEK | RecvFlags::DONTWAIT) else { return false };
    let line = message.get(..count).and_then(|message| message.split(|byte| *byte == b'\n').next());
    line.is_some_and(dispatch::calls_daemon)
}

fn say_why(service: &Service, stream: &UnixStream, refusal: WireError, first: Option<u8>) {
    let is_stranger = refusal.0.kind == Kind::UnauthorizedPeer;
    let line = dispatch::error_line(Id::Null, refusal);
    let answer = match first {
        Some(first) if is_http(first) => http::turned_away(is_stranger, &line, &*service.clock),
        _ => [&*line, b"\n"].concat(),
    };
    // It fits the socket's buffer; a peer that is gone already misses nothing.
    drop(stream.try_write(&answer));
}

/// Waits until somebody has sent something: its first byte, which stays where it is.
async fn first_word(stream: &UnixStream) -> Option<u8> {
    loop {
        stream.readable().await.ok()?;
        match stream.try_io(Interest::READABLE, || first_byte(stream)) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            looked => return looked.ok().flatten(),
        }
    }
}

/// The first byte that somebody has sent, if it has not ended before.
fn first_byte(stream: &UnixStream) -> std::io::Result<Option<u8>> {
    let mut first = [0];
    let (count, _) = recv(stream, &mut first, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok((count > 0).then_some(first[0]))
}

/// Counts a connection out, however it ends.
struct Counted<'a>(&'a std::sync::atomic::AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
