//! [`Liveness`] of the processes of this machine: the kernel's answers and the watcher, put together.
//!
//! It may not decide anything; see the invariants of [`crate::liveness`].

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

#[cfg(target_os = "macos")]
use super::darwin::Kernel;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
use super::portable::Kernel;
#[cfg(target_os = "linux")]
use super::process::Kernel;
use super::watcher::{MAX_HANDLES, Watcher};
use super::{Liveness, Unidentified, Verdict};
use crate::registry::HolderProcess;

/// The processes of this machine, as seen from the daemon's pid namespace.
#[derive(Debug)]
pub struct LocalLiveness {
    kernel: Arc<Kernel>,
    watcher: Watcher,
}

impl LocalLiveness {
    /// Reads who and where the daemon is, and begins to report deaths into `died`. To be called within a tokio runtime
    /// with its I/O and time drivers; the watching ends when this is dropped.
    ///
    /// # Errors
    ///
    /// If the daemon cannot find out its own boot id or pid namespace, or is not within a runtime.
    pub fn start(died: UnboundedSender<HolderProcess>) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let kernel = Arc::new(Kernel::read()?);
        let watcher = Watcher::new(Arc::clone(&kernel), died, runtime, MAX_HANDLES);
        Ok(Self { kernel, watcher })
    }

    /// The boot that the daemon runs in.
    #[must_use]
    pub fn boot_id(&self) -> &Arc<str> {
        self.kernel.boot_id()
    }
}

impl Liveness for LocalLiveness {
    fn identify(&self, peer: Option<i32>, pid: i32) -> Result<HolderProcess, Unidentified> {
        self.kernel.identify(peer, pid)
    }

    fn check(&self, holder: &HolderProcess) -> Verdict {
        // A watched process has its handle already, which answers without opening anything.
        self.watcher.verdict(holder).unwrap_or_else(|| self.kernel.check(holder))
    }

    fn descends(&self, peer: i32, since_ms: u64, holder: &HolderProcess) -> bool {
        self.kernel.descends(peer, since_ms, holder)
    }

    fn is_being_reaped(&self, holder: &HolderProcess) -> bool {
        self.kernel.is_being_reaped(holder)
    }

    fn may_have_succeeded(&self, holder: &HolderProcess) -> bool {
        self.kernel.may_have_succeeded(holder)
    }

    fn watch(&self, holder: &HolderProcess) {
        self.watcher.watch(holder);
    }

    fn unwatch(&self, holder: &HolderProcess) {
        self.watcher.unwatch(holder);
    }
}
