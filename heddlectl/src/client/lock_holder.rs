//! The process that holds the lock of the state directory: which it is, and how it is signalled.
//!
//! The daemon of a state directory is the process that holds its lock, also where its socket cannot be reached. Trying the
//! lock would take it, and a daemon that starts at that moment would find it taken. So the kernel's list is read, which
//! has the locks of processes of our pid namespace and of those within. Other systems than Linux have no such list.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::Error;
use crate::files;

/// The daemon's process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LockHolder {
    /// Its pid in our pid namespace.
    pub(crate) pid: i32,
}

impl LockHolder {
    /// The holder of this lock file, if the file's own record names the same pid and that process is a `heddled`.
    pub(crate) fn of(lock_file: &Path, recorded_pid: u32) -> Option<Self> {
        let recorded = i32::try_from(recorded_pid).ok()?;
        let inode = fs::symlink_metadata(lock_file).ok().filter(fs::Metadata::is_file)?.ino();
        let pid = listed(inode, Some(recorded))?;
        (pid == recorded && is_heddled(pid)).then_some(Self { pid })
    }

    /// Whether the process is suspended (SIGSTOP, Ctrl-Z or a debugger), so that it does nothing until it is continued.
    pub(crate) fn is_suspended(self) -> bool {
        matches!(process_state(self.pid), Some('T' | 't'))
    }

    /// Says that the process is suspended, and how it goes on.
    pub(crate) fn tell_suspended(self, error: Error) -> Error {
        let pid = self.pid;
        error
            .fact(format!("its process is suspended: pid {pid} got SIGSTOP, or a debugger holds it"))
            .hint("let it go on")
            .command(format!("kill -CONT {pid}"))
    }

    /// Tells the process to stop in order, as a service manager does. Returns false if it is not the holder any more.
    pub(crate) fn terminate(self, lock_file: &Path) -> std::io::Result<bool> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(false) };
        // The descriptor keeps naming the process that is verified after it was opened, also if the pid is given to another.
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(false),
            process => process?,
        };
        if Self::of(lock_file, self.pid.unsigned_abs()) != Some(self) {
            return Ok(false);
        }
        match pidfd_send_signal(&process, Signal::TERM) {
            Err(rustix::io::Errno::SRCH) => Ok(false),
            sent => Ok(sent.map(|()| true)?),
        }
    }
}

/// The pid that the kernel lists as holder of the exclusive `flock` of a file. Where several match, `expected` goes first:
/// devices are not compared, for some file systems list others than `stat` returns.
pub(crate) fn listed(inode: u64, expected: Option<i32>) -> Option<i32> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let end = format!(":{inode}");
    let holders = locks.lines().filter_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF`
        let mut words = line.split_whitespace().skip(1);
        let (kind, mode) = (words.next()?, words.nth(1)?);
        let (pid, file) = (words.next()?, words.next()?);
        (kind == "FLOCK" && mode == "WRITE" && file.ends_with(&end)).then(|| pid.parse::<i32>().ok())?
    });
    let holders: Vec<i32> = holders.collect();
    expected.filter(|pid| holders.contains(pid)).or(holders.first().copied())
}

/// The state of a process, as `/proc` names it.
pub(crate) fn process_state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

fn is_heddled(pid: i32) -> bool {
    let name = files::read_text(Path::new(&format!("/proc/{pid}/comm"))).unwrap_or_default();
    name.trim_end() == "heddled" && process_state(pid) != Some('Z')
}
