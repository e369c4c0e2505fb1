//! Queues by key: whoever has the turn of a key is alone with what it names, and waits without taking a thread.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Queue, OwnedMutexGuard};

/// One queue for each key that is in use: first come, first served.
pub(super) struct Turns<Key>(Mutex<HashMap<Key, Weak<Queue<()>>>>);

/// A turn, until it is dropped.
pub(super) type Turn = OwnedMutexGuard<()>;

impl<Key> Default for Turns<Key> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Key: Hash + Eq> Turns<Key> {
    /// Waits for the turn of a key.
    pub(super) async fn take<Named>(&self, key: &Named) -> Turn
    where
        Key: Borrow<Named>,
        Named: ToOwned<Owned = Key> + Hash + Eq + ?Sized,
    {
        let queue = self.queue(key);
        queue.lock_owned().await
    }

    fn queue<Named>(&self, key: &Named) -> Arc<Queue<()>>
    where
        Key: Borrow<Named>,
        Named: ToOwned<Owned = Key> + Hash + Eq + ?Sized,
    {
        let mut queues = self.0.lock();
        if let Some(queue) = queues.get(key).and_then(Weak::upgrade) {
            return queue;
        }
        queues.retain(|_, queue| queue.strong_count() > 0);
        let queue = Arc::default();
        queues.insert(key.to_owned(), Arc::downgrade(&queue));
        queue
    }
}
