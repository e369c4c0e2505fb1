//! Who goes first, where several threads of this program and the Git that they start want one processor: the worker that
//! serves callers, and then work that takes long.
//!
//! None of it needs a right, and none of it is needed: what cannot be had is logged and done without.

#[cfg(target_os = "linux")]
pub use linux::{give_way, go_first};

/// Not where a priority is that of the whole process, or cannot be told.
#[cfg(not(target_os = "linux"))]
pub fn give_way() {}

/// Not where nothing short of a right does it.
#[cfg(not(target_os = "linux"))]
pub fn go_first() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::mem::size_of;

    use nix::libc;

    /// How much long work yields, and every program that it starts with it.
    const NICE: i32 = 10;

    /// The shortest slice that the kernel gives, in nanoseconds.
    const SHORT_SLICE_NS: u64 = 100_000;

    /// Lowers the priority of this thread, for good: it cannot be raised again.
    pub fn give_way() {
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::debug!(%error, "long work keeps its priority");
        }
    }

    /// Asks for short slices of processor time for this thread, and not for those that it starts: no more time, but sooner.
    /// When it wakes up it takes the processor from whoever has longer slices, as Linux has it from 6.12 on.
    pub fn go_first() {
        if let Err(error) = shorten_slice() {
            tracing::debug!(%error, "this thread waits its turn for a processor");
        }
    }

    #[expect(unsafe_code, reason = "no library has these two calls; each is given a local of the size that it is told")]
    fn shorten_slice() -> io::Result<()> {
        // SAFETY: a structure of integers, for which zeros are values.
        let mut wanted: libc::sched_attr = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::sched_attr>();
        // SAFETY: `wanted` is writable and has the size that is told; 0 is this thread.
        let asked = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut wanted, size, 0) };
        if asked != 0 {
            return Err(io::Error::last_os_error());
        }
        wanted.sched_runtime = SHORT_SLICE_NS;
        wanted.sched_flags |= u64::from(libc::SCHED_FLAG_RESET_ON_FORK.unsigned_abs());
        // SAFETY: `wanted` is readable and says its own size, which was filled in above; 0 is this thread.
        let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
