//! The clock of the load program: the only file of it that reads the time or sleeps.

use std::time::{Duration, Instant};

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "to measure is to read the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Lets time pass: between two looks at a counter of the kernel, or at a child that starts.
#[expect(clippy::disallowed_methods, reason = "idleness is seen over a span of time, there is no event to wait for")]
pub(crate) fn pause(span: Duration) {
    std::thread::sleep(span);
}
