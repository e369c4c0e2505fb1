//! How long a command waits for the daemon.
//!
//! A command that only reads ends within 3 s whatever the daemon does: a hook, a prompt or an agent waits for it, and can do
//! nothing else meanwhile. A command that changes something waits longer, for what it started goes on, and says so after 2 s.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::seconds;

/// How long one answer may take, the time that the caller asked to wait not counted.
pub(crate) const ANSWER: Duration = Duration::from_secs(60);

/// The same for commands that only read. Less than 3 s, for the command has to start and to say what is wrong.
const ANSWER_OF_READS: Duration = Duration::from_millis(2_500);

/// What is answered from memory is answered soon or not at all.
const ANSWER_FROM_MEMORY: Duration = Duration::from_secs(5);

/// How long a command waits before it says what for.
pub(super) const SILENCE: Duration = Duration::from_secs(2);

/// Prints a sentence for people.
type Announce = Arc<dyn Fn(&str) + Send + Sync>;

/// How long the calls of a command may take.
#[derive(Clone, Default)]
pub(crate) struct Patience {
    /// The bound for every answer; `None` for that of the method.
    limit: Option<Duration>,
    announce: Option<Announce>,
    /// Once is enough for one command.
    is_announced: Arc<AtomicBool>,
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Patience {
    /// That of a command: `timeout` is what the user asked for.
    pub(crate) fn of_command(
        only_reads: bool,
        timeout: Option<Duration>,
        announce: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let limit = timeout.or(only_reads.then_some(ANSWER_OF_READS));
        Self { limit, announce: Some(Arc::new(announce)), is_announced: Arc::default() }
    }

    /// How long the answer of a method may take.
    pub(super) fn of(&self, method: &str) -> Duration {
        let is_quick = method.starts_with("daemon.") || matches!(method, "agent.validate" | "agent.show");
        self.limit.unwrap_or(if is_quick { ANSWER_FROM_MEMORY } else { ANSWER })
    }

    /// How long connecting may take, where the daemon does not accept.
    pub(crate) fn of_connect(&self) -> Duration {
        self.limit.unwrap_or(ANSWER_FROM_MEMORY)
    }

    /// Says what is waited for.
    pub(super) fn announce(&self, method: &str, time: Duration) {
        if let Some(announce) = &self.announce
            && !self.is_announced.swap(true, Ordering::Relaxed)
        {
            announce(&format!("heddlectl: waiting up to {} for the daemon to answer {method}", seconds(time)));
        }
    }
}
