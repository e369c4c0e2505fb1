//! Waits for the exit of holder processes and reports it, within milliseconds where the kernel gives a handle.
//!
//! It may not decide anything: a report is a hint to look. Invariants: V4, the death of a watched process is reported at
//! least once, also if it came before the watch; W1, there is one handle for each process however often it is watched,
//! and never more than the limit; W2, after the last unwatch of a process nothing of it is left here.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::Verdict;
#[cfg(target_os = "macos")]
use super::darwin::{Kernel, Opened, is_readable};
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
use super::portable::{Kernel, Opened, is_readable};
#[cfg(target_os = "linux")]
use super::process::{Kernel, Opened, is_readable};
use crate::registry::HolderProcess;

/// The most handles that are open at a time; processes beyond that are polled.
pub(super) const MAX_HANDLES: usize = 8_192;

/// How often the processes without a handle are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How the end of one process will be noticed.
#[derive(Debug)]
enum Eye {
    /// A task waits for the handle to become readable.
    Handle(Arc<OwnedFd>, JoinHandle<()>),
    /// The polling task looks at it: no handle was to be had, or it cannot be told from here.
    Polled,
    /// Its death has been reported.
    Reported,
}

#[derive(Debug)]
struct Watched {
    watches: usize,
    eye: Eye,
}

#[derive(Debug, Default)]
struct Watches {
    by_process: BTreeMap<HolderProcess, Watched>,
    /// How many of them are [`Eye::Handle`].
    handles: usize,
}

#[derive(Debug)]
struct Shared {
    kernel: Arc<Kernel>,
    died: UnboundedSender<HolderProcess>,
    watches: Mutex<Watches>,
    polled: Notify,
    runtime: Handle,
    max_handles: usize,
}

/// All watches.
#[derive(Debug)]
pub(super) struct Watcher {
    shared: Arc<Shared>,
    polling: JoinHandle<()>,
}

impl Watcher {
    pub(super) fn new(
        kernel: Arc<Kernel>,
        died: UnboundedSender<HolderProcess>,
        runtime: Handle,
        max_handles: usize,
    ) -> Self {
        let (watches, polled) = (Mutex::default(), Notify::new());
        let shared = Arc::new(Shared { kernel, died, watches, polled, runtime, max_handles });
        let polling = shared.runtime.spawn(poll(Arc::downgrade(&shared)));
        Self { shared, polling }
    }

    /// See [`super::Liveness::watch`].
    pub(super) fn watch(&self, holder: &HolderProcess) {
        let mut watches = self.shared.watches.lock();
        if let Some(known) = watches.by_process.get_mut(holder) {
            known.watches += 1;
            // The one report may have come before this watch, which wants its own (V4).
            if matches!(known.eye, Eye::Reported) {
                self.shared.report(holder);
            }
            return;
        }
        let eye = self.shared.look(holder, watches.handles);
        watches.handles += usize::from(matches!(eye, Eye::Handle(..)));
        if matches!(eye, Eye::Polled) {
            self.shared.polled.notify_one();
        }
        watches.by_process.insert(holder.clone(), Watched { watches: 1, eye });
    }

    /// See [`super::Liveness::unwatch`].
    pub(super) fn unwatch(&self, holder: &HolderProcess) {
        let mut watches = self.shared.watches.lock();
        let Some(known) = watches.by_process.get_mut(holder) else { return };
        known.watches -= 1;
        if known.watches > 0 {
            return;
        }
        if let Some(Watched { eye: Eye::Handle(_, task), .. }) = watches.by_process.remove(holder) {
            // The task holds the handle open; it must not outlive the watch (W2).
            task.abort();
            watches.handles -= 1;
        }
    }

    /// What the handle of a watched process says; none without one.
    pub(super) fn verdict(&self, holder: &HolderProcess) -> Option<Verdict> {
        let handle = match &self.shared.watches.lock().by_process.get(holder)?.eye {
            Eye::Handle(handle, _) => Arc::clone(handle),
            Eye::Polled | Eye::Reported => return None,
        };
        Some(if is_readable(&handle) { Verdict::Exited } else { Verdict::Alive })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.polling.abort();
        for (_, watched) in std::mem::take(&mut *self.shared.watches.lock()).by_process {
            if let Eye::Handle(_, task) = watched.eye {
                task.abort();
            }
        }
    }
}

impl Shared {
    /// Finds the best way to notice the end of a process, or reports it if it has come already.
    fn look(self: &Arc<Self>, holder: &HolderProcess, handles: usize) -> Eye {
        match self.kernel.open(holder) {
            Opened::Handle(handle) if handles < self.max_handles => self.wait_for(handle, holder),
            Opened::Handle(_) => Eye::Polled,
            Opened::Settled(verdict) => self.settle(holder, verdict),
            Opened::NoHandle => self.settle(holder, self.kernel.check(holder)),
        }
    }

    fn settle(&self, holder: &HolderProcess, verdict: Verdict) -> Eye {
        if !verdict.is_dead() {
            return Eye::Polled;
        }
        self.report(holder);
        Eye::Reported
    }

    fn wait_for(self: &Arc<Self>, handle: OwnedFd, holder: &HolderProcess) -> Eye {
        let handle = Arc::new(handle);
        let _inside = self.runtime.enter();
        // The event queue has a limit of its own (`fs.epoll.max_user_watches`): then the process is polled.
        #[expect(deprecated, reason = "its successor is unsafe; an Arc of an owned descriptor keeps what it asks for")]
        let readiness = AsyncFd::with_interest(Arc::clone(&handle), Interest::READABLE);
        let Ok(readiness) = readiness else {
            return Eye::Polled;
        };
        let task = self.runtime.spawn(exit(Arc::downgrade(self), readiness, holder.clone()));
        Eye::Handle(handle, task)
    }

    fn report(&self, holder: &HolderProcess) {
        if self.died.send(holder.clone()).is_err() {
            // Nobody listens any more: the daemon is stopping.
            tracing::debug!(pid = holder.pid, "a holder process died after the last reader of deaths was gone");
        }
    }

    /// The handle became readable. It is given back at once, for nothing more can come of it.
    fn exited(&self, holder: &HolderProcess) {
        let mut watches = self.watches.lock();
        let Some(known) = watches.by_process.get_mut(holder) else { return };
        if matches!(std::mem::replace(&mut known.eye, Eye::Reported), Eye::Handle(..)) {
            watches.handles -= 1;
        }
        self.report(holder);
    }

    /// Looks at every process that has no handle, one at a time so that nobody waits long for the lock or the worker.
    /// Says whether there are any left.
    async fn look_at_polled(self: &Arc<Self>) -> bool {
        let is_polled = |watched: &Watched| matches!(watched.eye, Eye::Polled);
        let polled: Vec<HolderProcess> = {
            let watches = self.watches.lock();
            watches
                .by_process
                .iter()
                .filter(|(_, watched)| is_polled(watched))
                .map(|(holder, _)| holder.clone())
                .collect()
        };
        let mut left = false;
        for holder in polled {
            tokio::task::consume_budget().await;
            let mut watches = self.watches.lock();
            let handles = watches.handles;
            let Some(known) = watches.by_process.get_mut(&holder).filter(|known| is_polled(known)) else { continue };
            // It gets a handle as soon as one is free.
            known.eye = self.look(&holder, handles);
            left |= is_polled(known);
            watches.handles += usize::from(matches!(known.eye, Eye::Handle(..)));
        }
        left
    }
}

/// Waits for one process. It holds no strong reference, so that the watcher can end.
async fn exit(shared: Weak<Shared>, handle: AsyncFd<Arc<OwnedFd>>, holder: HolderProcess) {
    loop {
        // An error means that the runtime is stopping.
        let Ok(mut ready) = handle.readable().await else { return };
        if is_readable(handle.get_ref()) {
            break;
        }
        ready.clear_ready();
    }
    if let Some(shared) = shared.upgrade() {
        shared.exited(&holder);
    }
}

/// Polls the processes without a handle; sleeps while there are none.
async fn poll(shared: Weak<Shared>) {
    loop {
        let Some(strong) = shared.upgrade() else { return };
        strong.polled.notified().await;
        drop(strong);
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(strong) = shared.upgrade() else { return };
            if !strong.look_at_polled().await {
                break;
            }
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
