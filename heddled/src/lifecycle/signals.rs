//! Signals, turned into one value that everything can wait for.
//!
//! It may not stop anything itself. Invariant G1: the wish to stop only ever grows (run, drain, hurry), and is never lost,
//! however late somebody begins to look.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How urgently the daemon is to stop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stop {
    /// Not at all.
    No,
    /// Finish what runs, then stop.
    Drain,
    /// Stop waiting for what runs.
    Hurry,
}

/// The wish to stop. Clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<watch::Sender<Stop>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Stop::No)))
    }
}

impl Shutdown {
    /// Makes one that wishes nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a stop. Less than was asked for already changes nothing (G1).
    pub fn request(&self, stop: Stop) {
        self.0.send_if_modified(|now| {
            let grows = stop > *now;
            *now = stop.max(*now);
            grows
        });
    }

    /// Asks for one degree more than before: the first signal drains, the second hurries.
    pub fn escalate(&self) {
        self.0.send_modify(|now| *now = if *now == Stop::No { Stop::Drain } else { Stop::Hurry });
    }

    /// What is asked for now.
    #[must_use]
    pub fn wish(&self) -> Stop {
        *self.0.borrow()
    }

    /// Something to wait with for changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Stop> {
        self.0.subscribe()
    }

    /// Waits until at least this much is asked for.
    pub async fn reached(&self, stop: Stop) {
        // Fails only when no sender is left, and this is one.
        if self.subscribe().wait_for(|now| *now >= stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Takes over the process's signals, before it returns: SIGTERM and SIGINT escalate, SIGPIPE does nothing, and SIGHUP
    /// nothing but what [`Hangups`] tell.
    /// To be called within a tokio runtime; the handlers stay when the task is aborted, so that no signal kills any more.
    ///
    /// # Errors
    ///
    /// If a handler cannot be installed.
    pub fn on_signals(&self) -> io::Result<JoinHandle<()>> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        // A handler that does nothing, not SIG_IGN: programs that the daemon starts must not inherit it.
        let ignored: [Signal; 2] = [signal(SignalKind::hangup())?, signal(SignalKind::pipe())?];
        let shutdown = self.clone();
        Ok(tokio::spawn(async move {
            let _ignored = ignored;
            loop {
                let (name, received) = tokio::select! {
                    received = terminate.recv() => ("SIGTERM", received),
                    received = interrupt.recv() => ("SIGINT", received),
                };
                if received.is_none() {
                    return;
                }
                shutdown.escalate();
                tracing::info!(signal = name, wish = ?shutdown.wish(), "a signal asks to stop");
            }
        }))
    }
}

/// SIGHUP, which asks that the configuration be read again. None is lost that comes after this was made; several are one.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// Listens. To be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the handler cannot be installed.
    pub fn new() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Comes back when there was one; false when there will be none.
    pub async fn next(&mut self) -> bool {
        self.0.recv().await.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wish_only_grows() {
        let shutdown = Shutdown::new();
        let late = shutdown.subscribe();
        assert_eq!(shutdown.wish(), Stop::No);
        shutdown.request(Stop::Drain);
        shutdown.request(Stop::No);
        assert_eq!(shutdown.wish(), Stop::Drain, "G1");
        shutdown.escalate();
        assert_eq!(shutdown.clone().wish(), Stop::Hurry);
        shutdown.escalate();
        shutdown.request(Stop::Drain);
        assert_eq!((shutdown.wish(), *late.borrow()), (Stop::Hurry, Stop::Hurry), "G1");
    }

    #[tokio::test]
    async fn waiting_ends_at_the_degree_that_was_waited_for() {
        let shutdown = Shutdown::new();
        let (drain, hurry) = (shutdown.clone(), shutdown.clone());
        let draining = tokio::spawn(async move { drain.reached(Stop::Drain).await });
        let hurrying = tokio::spawn(async move { hurry.reached(Stop::Hurry).await });
        shutdown.escalate();
        draining.await.unwrap();
        assert!(!hurrying.is_finished());
        shutdown.request(Stop::Hurry);
        hurrying.await.unwrap();
        shutdown.reached(Stop::No).await;
    }
}
