//! The one place that reads the time. Everything else is handed a time, or a [`Clock`] by the composition root.
//!
//! It may not decide anything. Invariant C1: monotonic time never goes backwards, does not count what the machine slept,
//! and has nothing to do with wall time; wall time is for records only.

mod lease;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proto_schema::Timestamp;

pub use lease::{LeaseClock, MAX_STEP_MS, TICK_MS};

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Wall time, for records. It may jump either way.
    fn wall(&self) -> Timestamp;

    /// Milliseconds of monotonic time since some fixed moment. They stop while the machine is suspended
    /// (`CLOCK_MONOTONIC` on Linux, `CLOCK_UPTIME_RAW` on macOS).
    fn monotonic_ms(&self) -> u64;

    /// The same time as exactly as the clock has it, to measure what something took.
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms())
    }
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// Makes a clock whose monotonic time starts at 0 now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the file that reads the time")]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the file that reads the time")]
    fn wall(&self) -> Timestamp {
        let now = SystemTime::now();
        // A clock set before 1970 is a negative number, not an error.
        let ms = match now.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        Timestamp::from_unix_ms(ms)
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// Microseconds of the machine's own monotonic clock, as a service manager on the same machine reads it.
#[must_use]
pub fn manager_usec() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or_default() * 1_000_000 + nanoseconds.unwrap_or_default() / 1_000
}

/// A clock that moves only when it is told to, so that tests need no sleeping.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_ms: AtomicI64,
    monotonic_ms: AtomicU64,
}

impl ManualClock {
    /// Makes a clock that stands at these moments.
    #[must_use]
    pub fn new(wall: Timestamp, monotonic_ms: u64) -> Self {
        Self { wall_ms: AtomicI64::new(wall.unix_ms()), monotonic_ms: AtomicU64::new(monotonic_ms) }
    }

    /// Moves both times forward, as when time passes.
    pub fn advance_ms(&self, ms: u32) {
        self.wall_ms.fetch_add(i64::from(ms), Ordering::SeqCst);
        self.monotonic_ms.fetch_add(u64::from(ms), Ordering::SeqCst);
    }

    /// Sets wall time alone, in either direction, as when somebody sets the machine's clock.
    pub fn set_wall(&self, wall: Timestamp) {
        self.wall_ms.store(wall.unix_ms(), Ordering::SeqCst);
    }

    /// Sets monotonic time alone; an earlier moment than the present one is ignored (C1).
    pub fn set_monotonic_ms(&self, ms: u64) {
        self.monotonic_ms.fetch_max(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.wall_ms.load(Ordering::SeqCst))
    }

    fn monotonic_ms(&self) -> u64 {
        self.monotonic_ms.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_time_is_plausible_and_monotonic() {
        let clock = SystemClock::new();
        let first = clock.monotonic_ms();
        assert!(first < 60_000, "monotonic time starts at 0 with the clock");
        while clock.monotonic_ms() == first {
            std::thread::yield_now();
        }
        assert!(clock.monotonic_ms() > first, "C1: it moves forward");
        assert!(clock.wall().unix_ms() > 1_700_000_000_000, "wall time is in milliseconds since 1970");
    }

    #[test]
    fn manual_times_move_apart() {
        let clock = ManualClock::new(Timestamp::from_unix_ms(1_000), 5);
        clock.advance_ms(250);
        assert_eq!((clock.wall().unix_ms(), clock.monotonic_ms()), (1_250, 255));
        clock.set_wall(Timestamp::from_unix_ms(-7));
        assert_eq!((clock.wall().unix_ms(), clock.monotonic_ms()), (-7, 255), "wall time alone");
        clock.set_monotonic_ms(100);
        assert_eq!(clock.monotonic_ms(), 255, "C1: never backwards");
        clock.set_monotonic_ms(300);
        assert_eq!(clock.monotonic_ms(), 300);
    }
}
