//! The loose refs as last read, and which of them are known to be durable, within a bound.
//!
//! What is remembered counts only for the very version of the file that it was remembered of. A version that is so new
//! that its times cannot tell it from the next one is read again, and keeps its durability if it still says the same.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;

use super::refs::Target;
use super::stamp::Stamp;

/// The most refs of one repository that are remembered.
const REFS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

struct Known {
    stamp: Stamp,
    target: Target,
    /// Whether a further change would have shown in the stamp.
    settled: bool,
    durable: bool,
}

/// The loose refs of one repository that are remembered, by their full names.
pub(super) struct KnownRefs(Mutex<LruCache<Box<str>, Known>>);

impl KnownRefs {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(REFS)))
    }

    /// What this version of the ref says, and whether it is durable; `None` when the file must be read.
    pub(super) fn get(&self, name: &str, stamp: Stamp) -> Option<(Target, bool)> {
        let mut known = self.0.lock();
        let known = known.get(name).filter(|known| known.settled && known.stamp == stamp)?;
        Some((known.target.clone(), known.durable))
    }

    /// Takes down what was read of a version. Gives whether it is durable.
    pub(super) fn put(&self, name: &str, stamp: Stamp, target: &Target, settled: bool) -> bool {
        let mut known = self.0.lock();
        match known.get_mut(name) {
            Some(known) if known.stamp == stamp && known.target == *target => {
                known.settled |= settled;
                known.durable
            }
            _ => {
                known.put(name.into(), Known { stamp, target: target.clone(), settled, durable: false });
                false
            }
        }
    }

    /// Takes down that a version is durable.
    pub(super) fn set_durable(&self, name: &str, stamp: Stamp, target: &Target) {
        self.put(name, stamp, target, false);
        if let Some(known) = self.0.lock().get_mut(name).filter(|known| known.stamp == stamp) {
            known.durable = true;
        }
    }
}
