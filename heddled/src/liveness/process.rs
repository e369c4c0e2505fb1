//! What the kernel says about a process (Linux): pidfd, start time, boot id, pid namespace.
//!
//! It may not block, wait, or remember anything about a process. See V1-V3 in [`crate::liveness`]: the pidfd is what
//! counts, and a start time counts only when the pidfd shows that the process lived after it was read.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use proto_schema::HolderProblem;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::namespace;
use super::stat::{Stat, real_uid};
use super::{Unidentified, Verdict};
use crate::registry::HolderProcess;

/// What became of the attempt to get a handle that tells of a process's end.
#[derive(Debug)]
pub(super) enum Opened {
    /// The process lives, and this becomes readable when it exits.
    Handle(OwnedFd),
    /// There is nothing to wait for.
    Settled(Verdict),
    /// It lives or cannot be told, and no handle is to be had: it must be polled.
    NoHandle,
}

/// More ancestors than any process has that runs an agent's commands.
const MAX_ANCESTORS: usize = 256;

/// How exactly the start of a process is known, in milliseconds, and some more.
const CLOCK_SLACK_MS: u64 = 100;

/// How many milliseconds a clock tick of `/proc` has.
const TICK_MS: u64 = 10;

/// A process and its ancestors up to a certain one: the pid and the start time of each.
#[derive(PartialEq, Eq, Debug)]
struct Chain(Vec<(i32, u64)>);

impl Chain {
    /// Reads the processes from `pid` up to `top`. `None` if that is no ancestor of it.
    fn read(pid: i32, top: i32) -> Option<Self> {
        let mut chain = Vec::new();
        let mut next = pid;
        while next > 0 && chain.len() < MAX_ANCESTORS {
            let stat = Stat::read(next).ok()??;
            chain.push((next, stat.start_time));
            if next == top {
                return Some(Self(chain));
            }
            next = stat.parent;
        }
        None
    }

    /// When its last process started, in clock ticks since boot.
    fn top_started_at(&self) -> u64 {
        self.0.last().map_or(0, |(_, start_time)| *start_time)
    }

    /// For how long its first process has lived.
    fn age_ms(&self) -> Option<u64> {
        let (_, start_time) = self.0.first()?;
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let (seconds, hundredths) = uptime.split_whitespace().next()?.split_once('.')?;
        let ticks = seconds.parse::<u64>().ok()? * 100 + hundredths.parse::<u64>().ok()?;
        Some(ticks.saturating_sub(*start_time) * TICK_MS)
    }
}

/// The daemon's own place in the machine, which every answer is relative to.
#[derive(Debug)]
pub(super) struct Kernel {
    boot_id: Arc<str>,
    pid_namespace: u64,
    namespace_id: u64,
    uid: u32,
}

impl Kernel {
    /// Reads the daemon's boot id, pid namespace and user.
    pub(super) fn read() -> io::Result<Self> {
        // In a foreign /proc every pid would name another process than the one that a pidfd gives.
        let own = std::fs::read_link("/proc/self")?;
        if own.to_str() != Some(std::process::id().to_string().as_str()) {
            return Err(io::Error::other("/proc belongs to another pid namespace"));
        }
        Ok(Self {
            boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().into(),
            pid_namespace: std::fs::metadata("/proc/self/ns/pid")?.ino(),
            namespace_id: namespace::own_id().unwrap_or_default(),
            uid: nix::unistd::Uid::current().as_raw(),
        })
    }

    pub(super) fn boot_id(&self) -> &Arc<str> {
        &self.boot_id
    }

    /// See [`super::Liveness::identify`].
    pub(super) fn identify(&self, peer: Option<i32>, pid: i32) -> Result<HolderProcess, Unidentified> {
        if !peer.is_some_and(|peer| self.shares_our_pids(peer)) {
            return Err(HolderProblem::OtherNamespace.into());
        }
        let Some(target) = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw) else {
            return Err(HolderProblem::NoSuchProcess.into());
        };
        let handle = pidfd_open(target, PidfdFlags::empty());
        if handle.as_ref().is_err_and(|error| names_no_process(*error)) {
            return Err(HolderProblem::NoSuchProcess.into());
        }
        // A process that lives but is hidden from us (hidepid) can only be another user's.
        let hidden = if handle.is_ok() { HolderProblem::OtherUser } else { HolderProblem::NoSuchProcess };
        let (stat, uid) = (Stat::read(pid), real_uid(pid));
        // Read after both: had the process of the pidfd ended, the pid could have been another's by then.
        let exited = match &handle {
            Ok(handle) => is_readable(handle),
            Err(_) => matches!(&stat, Ok(Some(stat)) if stat.is_dead()),
        };
        if exited {
            return Err(HolderProblem::NoSuchProcess.into());
        }
        // What could not be read, for want of descriptors perhaps, does not say that there is no such process.
        let (stat, uid) = (stat.map_err(Unidentified::unreadable)?, uid.map_err(Unidentified::unreadable)?);
        let (Some(stat), Some(uid)) = (stat, uid) else {
            return Err(hidden.into());
        };
        if uid != self.uid {
            return Err(HolderProblem::OtherUser.into());
        }
        Ok(HolderProcess {
            pid,
            start_time: stat.start_time,
            boot_id: Arc::clone(&self.boot_id),
            pid_namespace: self.pid_namespace,
            namespace_id: self.namespace_id,
        })
    }

    /// See [`super::Liveness::check`].
    pub(super) fn check(&self, holder: &HolderProcess) -> Verdict {
        match self.open(holder) {
            Opened::Handle(_) => Verdict::Alive,
            Opened::Settled(verdict) => verdict,
            Opened::NoHandle => without_handle(holder),
        }
    }

    /// See [`super::Liveness::descends`].
    pub(super) fn descends(&self, peer: i32, since_ms: u64, holder: &HolderProcess) -> bool {
        if !self.shares_our_pids(peer) || self.check(holder) != Verdict::Alive {
            return false;
        }
        let Some(chain) = Chain::read(peer, holder.pid) else { return false };
        let is_its_own = chain.age_ms().is_some_and(|age_ms| age_ms + CLOCK_SLACK_MS >= since_ms);
        // Twice the same: none of these pids was given to another process while the first was read, for the child of a process
        // that ends gets another parent at once.
        is_its_own && chain.top_started_at() == holder.start_time && Chain::read(peer, holder.pid) == Some(chain)
    }

    /// See [`super::Liveness::is_being_reaped`].
    pub(super) fn is_being_reaped(&self, holder: &HolderProcess) -> bool {
        if holder.boot_id != self.boot_id || holder.pid_namespace != self.pid_namespace {
            return false;
        }
        let stat = Stat::read(holder.pid).ok().flatten();
        stat.filter(|stat| stat.start_time == holder.start_time && stat.is_dead())
            .is_some_and(|stat| Stat::of_threads(stat.parent).any(Stat::is_on_its_way))
    }

    /// See [`super::Liveness::may_have_succeeded`].
    pub(super) fn may_have_succeeded(&self, holder: &HolderProcess) -> bool {
        if holder.boot_id != self.boot_id || holder.pid_namespace != self.pid_namespace {
            return true;
        }
        match Stat::read(holder.pid) {
            Ok(Some(stat)) if stat.start_time == holder.start_time => stat.exit_code == 0,
            // It was reaped: whoever did that has said what it had to say.
            Ok(Some(_) | None) => false,
            Err(_) => true,
        }
    }

    /// Opens the handle of a process, having made sure that it is this process's and that it lived at that moment.
    pub(super) fn open(&self, holder: &HolderProcess) -> Opened {
        if holder.boot_id != self.boot_id {
            return Opened::Settled(Verdict::BootChanged);
        }
        if holder.pid_namespace != self.pid_namespace {
            let gone = namespace::is_gone(holder.namespace_id, holder.pid_namespace);
            return Opened::Settled(if gone { Verdict::Exited } else { Verdict::OtherNamespace });
        }
        let Some(target) = Some(holder.pid).filter(|pid| *pid > 0).and_then(Pid::from_raw) else {
            return Opened::Settled(Verdict::Exited);
        };
        let handle = match pidfd_open(target, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(error) if names_no_process(error) => return Opened::Settled(Verdict::Exited),
            // Out of descriptors, an old kernel, a sandbox that forbids the call.
            Err(_) => return Opened::NoHandle,
        };
        let stat = Stat::read(holder.pid);
        // Whether it was the holder that ended just now or another one that had its pid: the holder is gone (V2).
        if is_readable(&handle) {
            return Opened::Settled(Verdict::Exited);
        }
        match stat {
            Ok(Some(stat)) if stat.start_time == holder.start_time => Opened::Handle(handle),
            Ok(Some(_)) => Opened::Settled(Verdict::Exited),
            // It lives and is hidden; the holder was ours and readable, but it may have changed its user.
            Ok(None) | Err(_) => Opened::Settled(Verdict::Unknown),
        }
    }

    /// Whether the pids that a process names are the daemon's: only then do both mean the same process.
    fn shares_our_pids(&self, peer: i32) -> bool {
        peer > 0 && std::fs::metadata(format!("/proc/{peer}/ns/pid")).is_ok_and(|link| link.ino() == self.pid_namespace)
    }
}

/// Whether the process of a pidfd has exited, be it reaped or not.
pub(super) fn is_readable(handle: &OwnedFd) -> bool {
    let mut poll = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    // An error (out of memory, a signal) says nothing, so it is no death (V1).
    let polled = nix::poll::poll(&mut poll, PollTimeout::ZERO);
    polled.is_ok() && poll[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN))
}

/// No process has this pid; or it is the id of a thread (`EINVAL`, newer kernels `ENOENT`), so its process is gone.
fn names_no_process(error: Errno) -> bool {
    error == Errno::SRCH || error == Errno::INVAL || error == Errno::NOENT
}

/// The verdict where the kernel gives no pidfd: less certain about the moment, never about the identity.
fn without_handle(holder: &HolderProcess) -> Verdict {
    match Stat::read(holder.pid) {
        Ok(Some(stat)) if stat.start_time != holder.start_time || stat.is_dead() => Verdict::Exited,
        Ok(Some(_)) => Verdict::Alive,
        Err(_) => Verdict::Unknown,
        // Nothing to be seen: gone, or hidden. Only ESRCH tells; EPERM is a process that lives.
        Ok(None) => match nix::sys::signal::kill(nix::unistd::Pid::from_raw(holder.pid), None) {
            Err(nix::errno::Errno::ESRCH) => Verdict::Exited,
            Ok(()) | Err(_) => Verdict::Unknown,
        },
    }
}

#[cfg(test)]
mod tests;
