//! The only file that reads the time or waits for it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall clock in milliseconds since 1970: for ages in tables, never for decisions.
#[expect(clippy::disallowed_methods, reason = "this is the file that reads the time")]
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The monotonic clock: for deadlines and for what the demo measures.
#[expect(clippy::disallowed_methods, reason = "this is the file that reads the time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits between two looks at something that cannot be waited for: a socket that is not there yet.
#[expect(clippy::disallowed_methods, reason = "nothing tells when another process has made its socket")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
