//! Signals that are meant for CMD and reach us.
//!
//! They are blocked in every thread and read one by one, so nothing runs in a signal handler. A Ctrl-C of the terminal
//! goes to the whole foreground process group by itself; it is not delivered a second time.

use std::io;
use std::path::Path;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getpgid, getpgrp};

use crate::files;

/// The signals that are passed on.
const PASSED_ON: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// The signals of a `SigIgn` line in `/proc/self/status`: those that this process was started with as ignored. As in a shell,
/// what is ignored at the start stays ignored: a script's `&` and `nohup` mean CMD, too.
fn ignored(status: &str) -> SigSet {
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    let is_ignored = |signal: &Signal| mask.unwrap_or_default() >> (*signal as i32 - 1) & 1 == 1;
    PASSED_ON.into_iter().filter(is_ignored).collect()
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// Which.
    pub(crate) signal: Signal,
    /// Whether the terminal sent it, to the whole process group.
    pub(crate) from_terminal: bool,
}

/// The signals, blocked from now on.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(target_os = "linux")]
    descriptor: nix::sys::signalfd::SignalFd,
    #[cfg(not(target_os = "linux"))]
    set: SigSet,
}

impl Signals {
    /// Blocks them in this thread and those that it starts later. Processes started from now on inherit that:
    /// CMD's is there before, and a daemon is freed of it by `hidden`.
    pub(crate) fn block() -> io::Result<Self> {
        // A blocked signal is delivered to the descriptor even if it is ignored, so these must not be blocked.
        let ignored = ignored(&files::read_text(Path::new("/proc/self/status")).unwrap_or_default());
        let set: SigSet = PASSED_ON.into_iter().filter(|signal| !ignored.contains(*signal)).collect();
        set.thread_block()?;
        #[cfg(target_os = "linux")]
        let signals = {
            use nix::sys::signalfd::{SfdFlags, SignalFd};
            Self { descriptor: SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)? }
        };
        #[cfg(not(target_os = "linux"))]
        let signals = Self { set };
        Ok(signals)
    }

    /// Waits for the next one.
    #[cfg(target_os = "linux")]
    pub(crate) fn next(&mut self) -> io::Result<Arrived> {
        /// `si_code` of signals that the kernel sent, as it does for the keys of a terminal.
        const SI_KERNEL: i32 = 0x80;
        loop {
            match self.descriptor.read_signal() {
                Ok(Some(info)) => {
                    let number = i32::try_from(info.ssi_signo).unwrap_or_default();
                    let Ok(signal) = Signal::try_from(number) else { continue };
                    return Ok(Arrived { signal, from_terminal: info.ssi_code == SI_KERNEL });
                }
                Ok(None) | Err(nix::errno::Errno::EINTR) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
    }

    /// Waits for the next one. Who sent it is not told here: the keys of a terminal in whose foreground we are count as
    /// its own.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn next(&mut self) -> io::Result<Arrived> {
        let signal = self.set.wait()?;
        let key = matches!(signal, Signal::SIGINT | Signal::SIGQUIT);
        let foreground = rustix::termios::tcgetpgrp(io::stdin()).is_ok_and(|group| {
            i32::try_from(group.as_raw_nonzero().get()).is_ok_and(|group| group == getpgrp().as_raw())
        });
        Ok(Arrived { signal, from_terminal: key && foreground })
    }
}

/// Passes a signal on to CMD, unless it has got it already. CMD must not have been reaped yet.
pub(crate) fn pass_on(arrived: Arrived, pid: i32) {
    let child = Pid::from_raw(pid);
    if arrived.from_terminal && getpgid(Some(child)) == Ok(getpgrp()) {
        return;
    }
    send(pid, arrived.signal);
}

/// Sends a signal to CMD.
pub(crate) fn send(pid: i32, signal: Signal) {
    // It may have ended a moment ago.
    kill(Pid::from_raw(pid), signal).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        let ignored = ignored("SigBlk:\t0000000000000003\nSigIgn:\t0000000000001003\n");
        let found: Vec<Signal> = ignored.into_iter().collect();
        assert_eq!(found, [Signal::SIGHUP, Signal::SIGINT], "SIGPIPE is not passed on");
        assert_eq!(super::ignored("").into_iter().count(), 0);
    }
}
