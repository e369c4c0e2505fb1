//! What any Unix says about a process: whether its pid is in use. For systems with neither pidfd nor the kqueue of macOS.
//!
//! It may not claim more than it knows. Limitation: without a start time a pid that was given to another process keeps
//! its holder alive (V2 does not hold here), and every watch is a poll.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use proto_schema::HolderProblem;

use super::{Unidentified, Verdict};
use crate::registry::HolderProcess;

/// What became of the attempt to get a handle that tells of a process's end. Never a handle here.
#[derive(Debug)]
pub(super) enum Opened {
    /// The process lives, and this becomes readable when it exits.
    Handle(OwnedFd),
    /// There is nothing to wait for.
    Settled(Verdict),
    /// It must be polled.
    NoHandle,
}

/// The daemon's own place in the machine.
#[derive(Debug)]
pub(super) struct Kernel {
    boot_id: Arc<str>,
}

impl Kernel {
    /// See [`super::Liveness::descends`]. The ancestors of a process are not looked at here.
    #[expect(clippy::unused_self, reason = "where the ancestors are known, so is the daemon's own place")]
    pub(super) fn descends(&self, _: i32, _: u64, _: &HolderProcess) -> bool {
        false
    }

    /// There is no boot id to be had without a call of the system's own: holders of an earlier boot are told by their
    /// pids only.
    pub(super) fn read() -> io::Result<Self> {
        Ok(Self { boot_id: "unknown".into() })
    }

    pub(super) fn boot_id(&self) -> &Arc<str> {
        &self.boot_id
    }

    /// See [`super::Liveness::identify`]. These systems have no pid namespaces, so every peer's pids are ours.
    pub(super) fn identify(&self, _peer: Option<i32>, pid: i32) -> Result<HolderProcess, Unidentified> {
        if pid <= 0 {
            return Err(HolderProblem::NoSuchProcess.into());
        }
        match kill(Pid::from_raw(pid), None) {
            Ok(()) => Ok(HolderProcess {
                pid,
                start_time: 0,
                boot_id: Arc::clone(&self.boot_id),
                pid_namespace: 0,
                namespace_id: 0,
            }),
            Err(Errno::EPERM) => Err(HolderProblem::OtherUser.into()),
            Err(Errno::ESRCH) => Err(HolderProblem::NoSuchProcess.into()),
            Err(error) => Err(Unidentified::unreadable(error)),
        }
    }

    /// See [`super::Liveness::check`].
    pub(super) fn check(&self, holder: &HolderProcess) -> Verdict {
        if holder.boot_id != self.boot_id {
            return Verdict::BootChanged;
        }
        if holder.pid <= 0 {
            return Verdict::Exited;
        }
        match kill(Pid::from_raw(holder.pid), None) {
            Err(Errno::ESRCH) => Verdict::Exited,
            Ok(()) | Err(Errno::EPERM) => Verdict::Alive,
            Err(_) => Verdict::Unknown,
        }
    }

    /// It cannot be told here.
    pub(super) fn is_being_reaped(&self, _: &HolderProcess) -> bool {
        false
    }

    /// It cannot be told here.
    pub(super) fn may_have_succeeded(&self, _: &HolderProcess) -> bool {
        true
    }

    /// There are no handles here.
    pub(super) fn open(&self, holder: &HolderProcess) -> Opened {
        let verdict = self.check(holder);
        if verdict.is_dead() { Opened::Settled(verdict) } else { Opened::NoHandle }
    }
}

/// Whether the process of a handle has exited. There are no handles here, so it cannot be told (V1).
pub(super) fn is_readable(_handle: &OwnedFd) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_in_use_is_alive_and_a_reaped_one_is_not() {
        let kernel = Kernel::read().unwrap();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let holder = kernel.identify(None, i32::try_from(child.id()).unwrap()).unwrap();
        assert_eq!(kernel.check(&holder), Verdict::Alive);
        assert!(matches!(kernel.open(&holder), Opened::NoHandle));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(kernel.check(&holder), Verdict::Exited);
        assert!(matches!(kernel.open(&holder), Opened::Settled(Verdict::Exited)));
        assert_eq!(kernel.identify(None, 0), Err(HolderProblem::NoSuchProcess.into()));
        assert_eq!(kernel.check(&HolderProcess { boot_id: "other".into(), ..holder }), Verdict::BootChanged);
    }
}
