//! Cleaning beside reserves: whatever the order, no active session is without its worktree.

use proto_schema::SessionStatus;

use super::fakes::state;
use super::*;
use crate::coordinator::{Cleaned, Failure, Reserved, Stays, hash};
use crate::repo::Expected;
use crate::repo::Repo as _;

type Answer<T> = Result<T, Failure>;

/// A daemon, and a thread of which the work was merged into `main`, with its worktree and nobody in it.
async fn merged(world: &World) -> Daemon {
    let mut daemon = Daemon::start(world);
    let request = ReserveRequest { worktree: Some(None), target_thread: Some(main()), ..reserve(1, thread(1)) };
    let granted = ask(&mut daemon, request).await.unwrap();
    let work = state(2);
    world.repo.compare_and_swap("/r/.git".as_ref(), &thread(1), Expected::At(state(1)), work, "").unwrap();
    world.repo.refs.lock().insert(main(), work);
    release(&mut daemon, &granted).await;
    daemon
}

async fn ask(daemon: &mut Daemon, request: ReserveRequest) -> Answer<Reserved> {
    let coordinator = daemon.coordinator.clone();
    daemon.run(async move { coordinator.reserve(request).await }).await
}

async fn release(daemon: &mut Daemon, granted: &Reserved) {
    let (coordinator, id, token) = (daemon.coordinator.clone(), granted.view.session.id, hash(&granted.token));
    daemon.run(async move { coordinator.release(id, token, SessionStatus::Complete).await }).await.unwrap();
}

async fn clean(daemon: &mut Daemon, dry_run: bool) -> Cleaned {
    let coordinator = daemon.coordinator.clone();
    daemon.run(async move { coordinator.clean("/r".into(), dry_run).await }).await.unwrap()
}

fn main() -> ThreadName {
    "main".parse().unwrap()
}

fn at_tip(number: u64) -> ReserveRequest {
    ReserveRequest { anchor: Anchor::Tip, ..reserve(number, thread(1)) }
}

/// Asks for the thread with its worktree; for the thread alone; for another thread, from within the worktree.
fn requests(number: u64) -> [ReserveRequest; 3] {
    let path = "/r.worktrees/thread-1";
    [
        ReserveRequest { worktree: Some(None), ..at_tip(number) },
        at_tip(number),
        ReserveRequest { path: Some(path.into()), ..reserve(number, thread(2)) },
    ]
}

/// R: an active session whose path is a linked worktree has that worktree.
fn assert_sound(daemon: &Daemon) {
    let worktrees = daemon.world.repo.worktrees.lock();
    for session in daemon.coordinator.snapshot().registry.active(None) {
        let path = session.path.as_deref().filter(|path| path.starts_with("/r.worktrees"));
        assert!(path.is_none_or(|path| worktrees.contains_key(std::path::Path::new(path))), "{path:?} is gone");
    }
}

fn play<F: Future<Output = ()>>(scene: impl FnOnce(World) -> F) {
    runtime().block_on(scene(World::new()));
}

#[test]
fn a_merged_threads_worktree_is_removed_and_its_branch_stays() {
    play(|world| async move {
        let mut daemon = merged(&world).await;
        let would = clean(&mut daemon, true).await;
        assert_eq!((would.removed.len(), world.repo.worktrees.lock().len()), (1, 1), "a dry run removes nothing");
        let cleaned = clean(&mut daemon, false).await;
        assert_eq!((cleaned.removed.len(), cleaned.kept.len()), (1, 0), "{cleaned:?}");
        assert!(world.repo.worktrees.lock().is_empty());
        assert_eq!(world.repo.at(&thread(1)), Some(state(2)));
        assert!(clean(&mut daemon, false).await.removed.is_empty());
    });
}

#[test]
fn what_is_not_merged_or_is_used_stays() {
    /// Makes the difference, and says why the worktree stays then.
    type Case = (fn(&World), fn(&Stays) -> bool);
    let cases: [Case; 3] = [
        (
            |world| *world.repo.refs.lock().get_mut(&main()).unwrap() = state(3),
            |why| matches!(why, Stays::NotMerged { ahead: 1, .. }),
        ),
        (|world| world.repo.refs.lock().retain(|name, _| *name != main()), |why| matches!(why, Stays::TargetGone(_))),
        (|world| world.repo.refs.lock().retain(|name, _| *name != thread(1)), |why| matches!(why, Stays::BranchGone)),
    ];
    for (make, expected) in cases {
        play(|world| async move {
            let mut daemon = merged(&world).await;
            make(&world);
            let cleaned = clean(&mut daemon, false).await;
            assert!(cleaned.removed.is_empty() && expected(&cleaned.kept[0].1), "{cleaned:?}");
        });
    }
    for request in requests(2) {
        play(|world| async move {
            let mut daemon = merged(&world).await;
            let granted = ask(&mut daemon, request).await.unwrap();
            for dry_run in [true, false] {
                let cleaned = clean(&mut daemon, dry_run).await;
                let stays = matches!(cleaned.kept[0].1, Stays::Held(_) | Stays::InUse { .. });
                assert!(cleaned.removed.is_empty() && stays, "{cleaned:?}");
            }
            release(&mut daemon, &granted).await;
            let cleaned = clean(&mut daemon, false).await;
            assert_eq!(cleaned.removed.len(), 1, "once nobody works there: {cleaned:?}");
        });
    }
}

#[test]
fn a_reserve_at_any_moment_of_a_clean_has_its_worktree() {
    let mut orders = [0, 0];
    for (which, steps) in (0..3).flat_map(|which| (0..14).map(move |steps| (which, steps))) {
        for reserve_first in [false, true] {
            let outcome = runtime().block_on(async {
                let world = World::new();
                let mut daemon = merged(&world).await;
                let request = requests(2)[which].clone();
                let (one, two) = (daemon.coordinator.clone(), daemon.coordinator.clone());
                let reserving = async move { one.reserve(request).await };
                let cleaning = async move { two.clean("/r".into(), false).await };
                let (reserved, cleaned) = if reserve_first {
                    let reserved = tokio::spawn(reserving);
                    step(&mut daemon, steps).await;
                    (reserved, tokio::spawn(cleaning))
                } else {
                    let cleaned = tokio::spawn(cleaning);
                    step(&mut daemon, steps).await;
                    (tokio::spawn(reserving), cleaned)
                };
                daemon.rest().await;
                assert_sound(&daemon);
                let (reserved, cleaned) = (reserved.await.unwrap(), cleaned.await.unwrap().unwrap());
                match (&reserved, which) {
                    (Ok(_), _) => {}
                    // It named a place that is gone.
                    (Err(Failure::Repo(_)), 2) => assert_eq!(cleaned.removed.len(), 1),
                    (refused, _) => panic!("{refused:?} after {steps} steps"),
                }
                cleaned.removed.len()
            });
            orders[outcome] += 1;
        }
    }
    assert!(orders.iter().all(|count| *count > 9), "both come first at times: {orders:?}");
}

/// One thing after another: a message of the writer's, a turn of each task.
async fn step(daemon: &mut Daemon, steps: usize) {
    for _ in 0..steps {
        daemon.handle(1);
        daemon.writer.commit();
        tokio::task::yield_now().await;
        daemon.work_is_done().await;
    }
}

/// Holds up what happens in Git until it is let go.
struct Pause {
    begins: std::sync::mpsc::Receiver<()>,
    go: std::sync::mpsc::Sender<()>,
}

impl Pause {
    fn new() -> (Self, Box<dyn FnOnce() + Send>) {
        let (begun, begins) = std::sync::mpsc::channel();
        let (go, goes) = std::sync::mpsc::channel();
        let pause = move || {
            begun.send(()).unwrap();
            goes.recv().unwrap();
        };
        (Self { begins, go }, Box::new(pause))
    }

    async fn begun(&self, daemon: &mut Daemon) {
        while self.begins.try_recv().is_err() {
            drive(daemon, 1).await;
        }
    }
}

/// Lets all others and the writer go on while a job is paused.
async fn drive(daemon: &mut Daemon, rounds: usize) {
    for _ in 0..rounds {
        daemon.coordinator.shared.work.wait_until_busy(1);
        daemon.coordinator.shared.long_work.wait_until_busy(1);
        tokio::task::yield_now().await;
        daemon.handle(usize::MAX);
        daemon.writer.commit();
    }
}

#[test]
fn while_a_worktree_is_removed_nobody_is_granted_it() {
    for request in requests(2) {
        play(|world| async move {
            let mut daemon = merged(&world).await;
            let (pause, hook) = Pause::new();
            *world.repo.removing.lock() = Some(hook);
            let (one, two) = (daemon.coordinator.clone(), daemon.coordinator.clone());
            let cleaned = tokio::spawn(async move { one.clean("/r".into(), false).await });
            pause.begun(&mut daemon).await;
            let names_it = request.path.is_some();
            let reserved = tokio::spawn(async move { two.reserve(request).await });
            drive(&mut daemon, 100).await;
            assert!(!reserved.is_finished());
            assert_eq!(daemon.coordinator.snapshot().registry.active_count(), 0, "it waits");
            pause.go.send(()).unwrap();
            daemon.rest().await;
            assert_eq!(cleaned.await.unwrap().unwrap().removed.len(), 1);
            let reserved = reserved.await.unwrap();
            assert_eq!(reserved.is_err(), names_it, "made anew, or named a place that is gone: {reserved:?}");
            assert_sound(&daemon);
        });
    }
}

#[test]
fn a_session_that_is_granted_during_a_look_keeps_its_worktree() {
    let mut tried = 0;
    for (looks, request) in (1..20).flat_map(|looks| requests(2).map(|request| (looks, request))) {
        tried += runtime().block_on(async {
            let world = World { threads: 2, ..World::new() };
            let mut daemon = merged(&world).await;
            // It is known to be merged by now.
            assert_eq!(clean(&mut daemon, true).await.removed.len(), 1);
            *world.repo.looking.lock() = Some((usize::MAX, Box::new(|| ())));
            clean(&mut daemon, true).await;
            let before = usize::MAX - world.repo.looking.lock().take().unwrap().0;
            // Thread and target once more after the removal was announced.
            if looks > before + 2 {
                return 0;
            }
            let (pause, hook) = Pause::new();
            *world.repo.looking.lock() = Some((looks, hook));
            let (one, two) = (daemon.coordinator.clone(), daemon.coordinator.clone());
            let cleaned = tokio::spawn(async move { one.clean("/r".into(), false).await });
            pause.begun(&mut daemon).await;
            let reserved = tokio::spawn(async move { two.reserve(request).await });
            drive(&mut daemon, 100).await;
            let is_granted = daemon.coordinator.snapshot().registry.active_count() == 1;
            assert_eq!(is_granted, looks <= before, "only a removal keeps anybody waiting");
            pause.go.send(()).unwrap();
            daemon.rest().await;
            let cleaned = cleaned.await.unwrap().unwrap();
            assert_ne!(cleaned.removed.is_empty(), !is_granted, "{cleaned:?}");
            assert_sound(&daemon);
            drop(reserved);
            1
        });
    }
    assert!((18..57).contains(&tried), "all looks were tried: {tried}");
}
