//! Queues by key: whoever has the turn of a key is alone with what it names, and waits without taking a thread.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// One queue for each key that is in use: first come, first served.
pub(super) struct Turns<Key>(Mutex<HashMap<Key, Weak<Queue>>>);

/// The queue of one key.
#[derive(Default)]
struct Queue {
    turn: Arc<AsyncMutex<()>>,
    /// How many turns were taken.
    taken: AtomicU64,
}

/// A turn, until it is dropped.
pub(super) struct Turn {
    _turn: OwnedMutexGuard<()>,
    /// Others find the same queue for as long as this lives.
    _queue: Arc<Queue>,
}

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
        let turn = Arc::clone(&queue.turn).lock_owned().await;
        queue.taken.fetch_add(1, Ordering::Relaxed);
        Turn { _turn: turn, _queue: queue }
    }

    /// How many turns of a key were taken since somebody waits for it: where this rises, the queue makes progress.
    pub(super) fn taken<Named>(&self, key: &Named) -> u64
    where
        Key: Borrow<Named>,
        Named: Hash + Eq + ?Sized,
    {
        let queue = self.0.lock().get(key).and_then(Weak::upgrade);
        queue.map_or(0, |queue| queue.taken.load(Ordering::Relaxed))
    }

    fn queue<Named>(&self, key: &Named) -> Arc<Queue>
    where
        Key: Borrow<Named>,
        Named: ToOwned<Owned = Key> + Hash + Eq + ?Sized,
    {
        let mut queues = self.0.lock();
        if let Some(queue) = queues.get(key).and_then(Weak::upgrade) {
            return queue;
        }
        queues.retain(|_, queue| queue.strong_count() > 0);
        let queue: Arc<Queue> = Arc::default();
        queues.insert(key.to_owned(), Arc::downgrade(&queue));
        queue
    }
}
