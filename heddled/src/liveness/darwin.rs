//! What the kernel says about a process (macOS): kqueue for its exit, its start time, the boot.
//!
//! It may not block, wait, or remember anything about a process. See V1-V3 in [`crate::liveness`]: a kqueue that watches for
//! the exit plays the part of a pidfd, and a start time counts only when it shows that the process lived after it was read.
//!
//! It has been type-checked and never been run: no test machine has macOS.

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc::{self, proc_bsdinfo};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
use proto_schema::HolderProblem;

use super::{Unidentified, Verdict};
use crate::registry::HolderProcess;

/// The id of the boot. Not `kern.boottime`: that one is another when somebody sets the clock.
const BOOT: &CStr = c"kern.bootsessionuuid";

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

/// What there is to know of a process.
struct Process {
    start_time: u64,
    uid: u32,
    is_zombie: bool,
}

/// The daemon's own place in the machine, which every answer is relative to.
#[derive(Debug)]
pub(super) struct Kernel {
    boot_id: Arc<str>,
    uid: u32,
}

impl Kernel {
    /// See [`super::Liveness::descends`]. The ancestors of a process are not looked at here.
    #[expect(clippy::unused_self, reason = "where the ancestors are known, so is the daemon's own place")]
    pub(super) fn descends(&self, _: i32, _: u64, _: &HolderProcess) -> bool {
        false
    }

    /// Reads the daemon's boot id and user.
    pub(super) fn read() -> io::Result<Self> {
        Ok(Self { boot_id: boot_id()?.into(), uid: nix::unistd::Uid::current().as_raw() })
    }

    pub(super) fn boot_id(&self) -> &Arc<str> {
        &self.boot_id
    }

    /// See [`super::Liveness::identify`]. There are no pid namespaces here, so every peer's pids are ours.
    pub(super) fn identify(&self, _peer: Option<i32>, pid: i32) -> Result<HolderProcess, Unidentified> {
        match process(pid) {
            Ok(process) if process.is_zombie => Err(HolderProblem::NoSuchProcess.into()),
            Ok(process) if process.uid != self.uid => Err(HolderProblem::OtherUser.into()),
            Ok(Process { start_time, .. }) => Ok(HolderProcess {
                pid,
                start_time,
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
        match process(holder.pid) {
            Ok(process) if process.is_zombie || process.start_time != holder.start_time => Verdict::Exited,
            Ok(_) => Verdict::Alive,
            Err(Errno::ESRCH) => Verdict::Exited,
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

    /// Opens the handle of a process, having made sure that it is this process's and that it lived at that moment.
    pub(super) fn open(&self, holder: &HolderProcess) -> Opened {
        if holder.boot_id != self.boot_id {
            return Opened::Settled(Verdict::BootChanged);
        }
        let handle = match watch(holder.pid) {
            Ok(handle) => handle,
            Err(Errno::ESRCH) => return Opened::Settled(Verdict::Exited),
            Err(_) => return Opened::NoHandle,
        };
        // After the watch began: had the holder ended before, the pid is another's or nobody's now (V2).
        match self.check(holder) {
            Verdict::Alive => Opened::Handle(handle),
            verdict => Opened::Settled(verdict),
        }
    }
}

/// A queue that has an event once the process has exited.
fn watch(pid: i32) -> Result<OwnedFd, Errno> {
    let pid = usize::try_from(pid).ok().filter(|pid| *pid > 0).ok_or(Errno::ESRCH)?;
    let queue = Kqueue::new()?;
    let flags = EvFlags::EV_ADD | EvFlags::EV_ONESHOT;
    let exit = KEvent::new(pid, EventFilter::EVFILT_PROC, flags, FilterFlag::NOTE_EXIT, 0, 0);
    let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // No room for events: it only begins to watch.
    queue.kevent(&[exit], &mut [], Some(none))?;
    Ok(queue.into())
}

/// Whether the process of a handle has exited: the event stays in the queue, for nobody takes it.
pub(super) fn is_readable(handle: &OwnedFd) -> bool {
    let mut poll = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    // An error says nothing, so it is no death (V1).
    let polled = nix::poll::poll(&mut poll, PollTimeout::ZERO);
    polled.is_ok() && poll[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN))
}

#[expect(unsafe_code, reason = "there is no other interface to this than a C function that fills in a struct")]
fn process(pid: i32) -> Result<Process, Errno> {
    if pid <= 0 {
        return Err(Errno::ESRCH);
    }
    let mut info = MaybeUninit::<proc_bsdinfo>::zeroed();
    let size = c_int::try_from(size_of::<proc_bsdinfo>()).map_err(|_| Errno::EINVAL)?;
    // The argument 1 asks for processes that have exited, too.
    // SAFETY: the buffer is as large as is said, and outlives the call.
    let filled =
        unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDTBSDINFO, 1, info.as_mut_ptr().cast::<c_void>(), size) };
    if filled != size {
        return Err(if filled > 0 { Errno::EINVAL } else { Errno::last() });
    }
    // SAFETY: it was filled in whole; it is numbers only, for which zeros are valid as well.
    let info = unsafe { info.assume_init() };
    Ok(Process {
        start_time: info.pbi_start_tvsec.saturating_mul(1_000_000).saturating_add(info.pbi_start_tvusec),
        uid: info.pbi_ruid,
        is_zombie: info.pbi_status == libc::SZOMB,
    })
}

#[expect(unsafe_code, reason = "there is no other interface to this than a C function that fills in a buffer")]
fn boot_id() -> io::Result<String> {
    let mut text = [0_u8; 64];
    let mut length = text.len();
    // SAFETY: the name is a C string; the buffer is as long as is said, and both outlive the call.
    let code = unsafe {
        libc::sysctlbyname(BOOT.as_ptr(), text.as_mut_ptr().cast::<c_void>(), &raw mut length, ptr::null_mut(), 0)
    };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    let text = CStr::from_bytes_until_nul(&text).map_err(io::Error::other)?;
    Ok(text.to_string_lossy().into_owned())
}
