//! Captures whose store fails in the middle, and captures and looks that do not end: everybody is answered, and nobody is held up.

use std::sync::atomic::Ordering;
use std::time::Duration;

use proto_schema::{Outcome, SessionStatus};

use super::fakes::state;
use super::*;
use crate::coordinator::patience::{ALONE, GRACE, MOST};
use crate::coordinator::{CaptureCall, Captured, Failure, ReadyCall, Reserved, hash};
use crate::repo::Error;
use crate::store::memory::Fault;

/// A daemon with a session whose worktree has work.
async fn at_work(world: &World) -> (Daemon, Reserved) {
    let mut daemon = Daemon::start(world);
    let coordinator = daemon.coordinator.clone();
    let granted = daemon.run(async move { coordinator.reserve(reserve(1, thread(1))).await }).await.unwrap();
    *world.repo.work.lock() = Some(state(50));
    (daemon, granted)
}

/// The session's worktree, which is there.
fn worktree(daemon: &Daemon, granted: &Reserved) -> std::path::PathBuf {
    let thread = &granted.view.session.thread;
    let path = std::path::PathBuf::from(format!("/r/{thread}"));
    daemon.world.repo.worktrees.lock().insert(path.clone(), thread.clone());
    path
}

fn capture(daemon: &Daemon, granted: &Reserved) -> impl Future<Output = Result<Captured, Failure>> + Send + use<> {
    let (coordinator, id, token) = (daemon.coordinator.clone(), granted.view.session.id, hash(&granted.token));
    let worktree = Some(worktree(daemon, granted));
    async move { coordinator.capture(id, token, CaptureCall { worktree, ..CaptureCall::default() }).await }
}

/// Checks a thread, which looks at the worktree.
fn look(daemon: &Daemon, granted: &Reserved) -> impl Future<Output = Result<(), Failure>> + Send + use<> {
    let (coordinator, id, token) = (daemon.coordinator.clone(), granted.view.session.id, hash(&granted.token));
    let worktree = Some(worktree(daemon, granted));
    async move { coordinator.ready(id, token, ReadyCall { worktree, ..ReadyCall::default() }).await.map(drop) }
}

fn is_late(answer: &Result<(), Failure>) -> bool {
    matches!(answer, Err(Failure::Repo(error)) if matches!(**error, Error::Unavailable { .. }))
}

#[test]
fn a_store_that_fails_in_the_middle_of_a_capture() {
    for (moved, fault) in [false, true]
        .into_iter()
        .flat_map(|moved| [Fault::BeforeDurability, Fault::AfterDurability].map(|fault| (moved, fault)))
    {
        runtime().block_on(async move {
            let world = World::new();
            let (mut daemon, granted) = at_work(&world).await;
            // The intent cannot be recorded, or the outcome cannot.
            if moved {
                *world.repo.failing.lock() = Some((world.disk.clone(), fault));
            } else {
                world.disk.fail_next(fault);
            }
            let call = capture(&daemon, &granted);
            let failed = daemon.run(call).await;
            assert!(matches!(failed, Err(Failure::Store(Outcome::Unknown))), "{moved} {fault:?}: {failed:?}");
            assert_eq!(*world.repo.prepared.lock(), [].into(), "the worktree's index is free: {moved} {fault:?}");
            assert_eq!(world.repo.at(&thread(1)), Some(state(if moved { 50 } else { 1 })));
            // Nobody waits for an outcome that can no longer be recorded.
            let (coordinator, id, token) = (daemon.coordinator.clone(), granted.view.session.id, hash(&granted.token));
            let release = async move { coordinator.release(id, token, SessionStatus::Complete).await };
            let refused = daemon.run(release).await;
            assert!(matches!(refused, Err(Failure::Store(Outcome::NotApplied))), "{refused:?}");
            drop(daemon);

            let mut daemon = Daemon::start(&world);
            let session = daemon.coordinator.snapshot().registry.session(id).cloned().unwrap();
            assert!(session.is_active() && session.intent.is_none(), "{moved} {fault:?}: {session:?}");
            assert_eq!(Some(session.recorded_state), world.repo.at(&thread(1)), "{moved} {fault:?}");
            *world.repo.work.lock() = Some(state(51));
            let call = capture(&daemon, &granted);
            assert_eq!(daemon.run(call).await.unwrap().parent, Some(session.recorded_state));
        });
    }
}

/// Lets everybody go on until something is so.
async fn until(daemon: &mut Daemon, what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if is_so() {
            return;
        }
        tokio::task::yield_now().await;
        daemon.handle(usize::MAX);
        daemon.writer.commit();
        std::thread::park_timeout(Duration::from_millis(1));
    }
    panic!("never: {what}");
}

#[test]
fn captures_and_looks_that_hang_hold_up_nobody_for_ever() {
    for (looks, hears) in [(false, true), (false, false), (true, true), (true, false)] {
        let call = move |daemon: &Daemon, granted: &Reserved| {
            let (captured, looked) = (capture(daemon, granted), look(daemon, granted));
            async move { if looks { looked.await } else { captured.await.map(drop) } }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let world = World::new();
            let mut daemon = Daemon::start(&world);
            let mut granted = Vec::new();
            for number in 1..=4 {
                let coordinator = daemon.coordinator.clone();
                let call = async move { coordinator.reserve(reserve(number, thread(number))).await };
                granted.push(daemon.run(call).await.unwrap());
            }
            let repo = &world.repo;
            *repo.work.lock() = Some(state(50));
            repo.hangs.store(true, Ordering::Release);
            repo.hears.store(hears, Ordering::Release);
            let begun = |count| move || repo.begun.load(Ordering::Acquire) == count;
            let calls: Vec<_> = granted.iter().map(|granted| tokio::spawn(call(&daemon, granted))).collect();
            until(&mut daemon, "three run", begun(3)).await;
            tokio::time::advance(ALONE).await;
            until(&mut daemon, "they keep no other from running", begun(4)).await;
            // The fourth began later.
            for span in [MOST, MOST, GRACE, GRACE] {
                tokio::time::advance(span).await;
                for _ in 0..50 {
                    until(&mut daemon, "", || true).await;
                    tokio::task::yield_now().await;
                }
            }
            until(&mut daemon, "all are answered", || calls.iter().all(tokio::task::JoinHandle::is_finished)).await;
            for answered in calls {
                let failed = answered.await.unwrap();
                assert!(is_late(&failed), "{failed:?}");
            }
            // What did not hear of it is still there: its worktree is closed to others.
            let again = tokio::spawn(call(&daemon, &granted[0]));
            if !hears {
                for _ in 0..50 {
                    until(&mut daemon, "", || true).await;
                    tokio::task::yield_now().await;
                }
                assert!(begun(4)(), "nobody else is let in");
            }
            repo.hangs.store(false, Ordering::Release);
            until(&mut daemon, "it goes on", || again.is_finished()).await;
            let again = again.await.unwrap();
            assert!(again.is_ok() || looks && !is_late(&again), "{again:?}");
            until(&mut daemon, "what came too late is undone", || repo.prepared.lock().is_empty()).await;
        });
    }
}
