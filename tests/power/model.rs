//! What was acknowledged, and what was asked for without an answer.

use serde_json::Value;

/// How a session stands, as far as its client was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    Active,
    Ended,
    /// Its end was asked for and not acknowledged.
    Unsure,
}

/// A reservation that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) fencing: u64,
    /// The request that made it.
    pub(crate) request: Value,
    pub(crate) standing: Standing,
}

/// A thread of one client.
#[derive(Debug, Default)]
pub(crate) struct Thread {
    pub(crate) name: String,
    /// Where its branch may be: one state when the last change was acknowledged, two when it was not.
    pub(crate) states: Vec<Option<String>>,
    pub(crate) sessions: Vec<Session>,
    /// A reserve that was not answered.
    pub(crate) unanswered: Option<Value>,
    /// A change that was cut off left Git's lock file behind: the branch cannot be moved until somebody removes it.
    pub(crate) stuck: bool,
}

impl Thread {
    pub(crate) fn state(&self) -> Option<&str> {
        self.states.first().and_then(Option::as_deref)
    }

    /// The session that holds it.
    pub(crate) fn holder(&mut self) -> Option<&mut Session> {
        self.sessions.last_mut().filter(|session| session.standing == Standing::Active)
    }
}

/// Numbers that look random and are the same in every run.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound
    }
}
