//! Tests of the watcher with real processes. Time is paused, so that polling needs no waiting: it moves on by itself
//! whenever nothing else can happen.

use std::process::{Child, Command};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

struct Fixture {
    kernel: Arc<Kernel>,
    watcher: Watcher,
    died: UnboundedReceiver<HolderProcess>,
}

impl Fixture {
    fn new(max_handles: usize) -> Self {
        let (sender, died) = unbounded_channel();
        let kernel = Arc::new(Kernel::read().unwrap());
        let watcher = Watcher::new(Arc::clone(&kernel), sender, Handle::current(), max_handles);
        Self { kernel, watcher, died }
    }

    fn spawn(&self) -> (Child, HolderProcess) {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let holder = self.kernel.identify(Some(own), i32::try_from(child.id()).unwrap()).unwrap();
        (child, holder)
    }

    fn handles(&self) -> usize {
        let watches = self.watcher.shared.watches.lock();
        let counted = watches.by_process.values().filter(|watched| matches!(watched.eye, Eye::Handle(..))).count();
        assert_eq!(counted, watches.handles, "W1: the count is right");
        counted
    }

    fn known(&self) -> usize {
        self.watcher.shared.watches.lock().by_process.len()
    }
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_killed_process_is_reported_before_it_is_reaped() {
    let mut fixture = Fixture::new(MAX_HANDLES);
    let (mut child, holder) = fixture.spawn();
    fixture.watcher.watch(&holder);
    assert_eq!(fixture.watcher.verdict(&holder), Some(Verdict::Alive));
    child.kill().unwrap();
    assert_eq!(fixture.died.recv().await, Some(holder.clone()), "V4");
    assert_eq!(fixture.kernel.check(&holder), Verdict::Exited);
    assert_eq!(fixture.handles(), 0, "its handle is given back at once");
    fixture.watcher.unwatch(&holder);
    assert_eq!(fixture.known(), 0, "W2");
    child.wait().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_dead_before_is_reported_to_each_watch() {
    let mut fixture = Fixture::new(MAX_HANDLES);
    let (child, holder) = fixture.spawn();
    let reused = HolderProcess { start_time: holder.start_time + 1, ..holder.clone() };
    let before = HolderProcess { boot_id: "another boot".into(), ..holder.clone() };
    for other in [&reused, &before] {
        fixture.watcher.watch(other);
        assert_eq!(fixture.died.recv().await.as_ref(), Some(other), "V4");
    }
    end(child);
    for _ in 0..2 {
        fixture.watcher.watch(&holder);
        assert_eq!(fixture.died.recv().await.as_ref(), Some(&holder), "V4");
    }
    assert_eq!((fixture.handles(), fixture.known()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_process_has_one_handle_until_its_last_unwatch() {
    let mut fixture = Fixture::new(MAX_HANDLES);
    let (child, holder) = fixture.spawn();
    for _ in 0..3 {
        fixture.watcher.watch(&holder);
    }
    fixture.watcher.unwatch(&holder);
    fixture.watcher.unwatch(&holder);
    assert_eq!((fixture.handles(), fixture.known()), (1, 1), "W1");
    fixture.watcher.unwatch(&holder);
    fixture.watcher.unwatch(&holder);
    assert_eq!((fixture.handles(), fixture.known()), (0, 0), "W2: one unwatch too many is harmless");
    assert_eq!(fixture.watcher.verdict(&holder), None);
    end(child);
    // Another process dies later and is the only one that is reported.
    let (child, other) = fixture.spawn();
    fixture.watcher.watch(&other);
    end(child);
    assert_eq!(fixture.died.recv().await, Some(other));
    assert!(fixture.died.try_recv().is_err(), "W2: nobody watched the first one");
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_processes_are_polled_and_move_up() {
    let mut fixture = Fixture::new(1);
    let (first_child, first) = fixture.spawn();
    let (second_child, second) = fixture.spawn();
    let (third_child, third) = fixture.spawn();
    for holder in [&first, &second, &third] {
        fixture.watcher.watch(holder);
    }
    assert_eq!(fixture.handles(), 1, "W1");
    assert_eq!(fixture.watcher.verdict(&second), None, "it has no handle");
    end(second_child);
    assert_eq!(fixture.died.recv().await, Some(second), "V4: by polling");
    end(first_child);
    assert_eq!(fixture.died.recv().await, Some(first));
    while fixture.watcher.verdict(&third).is_none() {
        tokio::time::sleep_until(far_ahead()).await;
    }
    assert_eq!(fixture.handles(), 1, "the last one has got the handle");
    end(third_child);
    assert_eq!(fixture.died.recv().await, Some(third));
}

/// A moment that paused time reaches only after some polls.
#[expect(clippy::disallowed_methods, reason = "the paused clock of the test runtime, which only that runtime has")]
fn far_ahead() -> tokio::time::Instant {
    tokio::time::Instant::now() + 3 * POLL_INTERVAL
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_told_is_never_reported() {
    let mut fixture = Fixture::new(MAX_HANDLES);
    let (child, holder) = fixture.spawn();
    let elsewhere = HolderProcess { pid_namespace: holder.pid_namespace + 1, ..holder.clone() };
    fixture.watcher.watch(&elsewhere);
    fixture.watcher.watch(&holder);
    end(child);
    assert_eq!(fixture.died.recv().await, Some(holder));
    tokio::time::sleep_until(far_ahead()).await;
    assert!(fixture.died.try_recv().is_err(), "V3: unknown counts as alive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_die_at_once_and_each_is_reported() {
    let mut fixture = Fixture::new(MAX_HANDLES);
    let (mut children, mut alive) = (Vec::new(), std::collections::BTreeSet::new());
    for _ in 0..100 {
        let (child, holder) = fixture.spawn();
        fixture.watcher.watch(&holder);
        children.push(child);
        alive.insert(holder);
    }
    assert_eq!(fixture.handles(), 100);
    for child in &mut children {
        child.kill().unwrap();
    }
    while !alive.is_empty() {
        assert!(alive.remove(&fixture.died.recv().await.unwrap()), "each is reported once");
    }
    assert_eq!(fixture.handles(), 0);
    children.into_iter().for_each(end);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_when_the_watcher_ends() {
    let fixture = Fixture::new(1);
    let (first_child, first) = fixture.spawn();
    let (second_child, second) = fixture.spawn();
    fixture.watcher.watch(&first);
    fixture.watcher.watch(&second);
    let shared = Arc::downgrade(&fixture.watcher.shared);
    drop(fixture.watcher);
    while shared.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
    end(first_child);
    end(second_child);
}
