//! From one daemon to the next: the lock, where the one before still has it.
//!
//! Whoever was handed its socket by a service manager waits for the lock, for the connections wait with it; whoever makes its
//! own refuses at once, for that it is another's is what its caller must know. F1 holds either way: nothing is accepted
//! without the lock.

use std::path::Path;
use std::time::Duration;

use proto_schema::Timestamp;
use tracing::info;

use super::{Lock, LockError, Shutdown, Stop};

/// How long the daemon before may take to end: its drain, its last events, its store, and some more.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether it has ended: nothing tells, for a lock of `flock` cannot be waited for with a bound.
const LOOK: Duration = Duration::from_millis(10);

/// Takes the lock, and waits for it at most this long. A wish to stop ends the wait.
///
/// # Errors
///
/// See [`Lock::acquire`].
pub async fn acquire(
    state_dir: &Path,
    socket: &Path,
    started_at: Timestamp,
    patience: Duration,
    shutdown: &Shutdown,
) -> Result<Lock, LockError> {
    let mut looks_left = patience.as_millis() / LOOK.as_millis();
    let mut is_told = false;
    loop {
        match Lock::acquire(state_dir, socket, started_at) {
            Err(LockError::Held(holder)) if looks_left > 0 && shutdown.wish() == Stop::No => {
                if !std::mem::replace(&mut is_told, true) {
                    let pid = holder.map(|holder| holder.pid);
                    info!(?pid, ?patience, "the daemon before has not ended yet, and is waited for");
                }
            }
            taken => return taken,
        }
        looks_left -= 1;
        let _stopping = tokio::time::timeout(LOOK, shutdown.reached(Stop::Drain)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        Timestamp::from_unix_ms(0)
    }

    #[tokio::test]
    async fn the_next_daemon_waits_for_the_one_before() {
        let state = tempfile::tempdir().unwrap();
        let socket = Path::new("/s");
        let before = Lock::acquire(state.path(), socket, at()).unwrap();
        let shutdown = Shutdown::new();
        let next = acquire(state.path(), socket, at(), PATIENCE, &shutdown);
        let mut next = std::pin::pin!(next);
        let early = tokio::time::timeout(LOOK * 3, &mut next).await;
        assert!(early.is_err(), "F1: it has not got it while the other one has");
        drop(before);
        next.await.unwrap();
    }

    #[tokio::test]
    async fn it_does_not_wait_for_ever_and_not_when_it_is_to_stop() {
        let state = tempfile::tempdir().unwrap();
        let socket = Path::new("/s");
        let _before = Lock::acquire(state.path(), socket, at()).unwrap();
        let shutdown = Shutdown::new();
        for patience in [Duration::ZERO, LOOK * 2] {
            let refused = acquire(state.path(), socket, at(), patience, &shutdown).await;
            assert!(matches!(refused, Err(LockError::Held(Some(_)))), "{refused:?}");
        }
        shutdown.escalate();
        let refused = acquire(state.path(), socket, at(), PATIENCE * 1_000, &shutdown).await;
        assert!(matches!(refused, Err(LockError::Held(_))));
    }
}
