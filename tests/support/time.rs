//! Waiting for conditions.

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Far beyond what is expected: the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(30);

/// Measures.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "the time that passes is what is measured")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Looks again and again until there is something.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, what, look)
}

/// The same with another deadline.
#[track_caller]
pub(crate) fn within<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(watch.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
