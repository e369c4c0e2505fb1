//! Single cases that once went wrong, or would cost most if they did.

use proto_schema::{EndReason, Outcome, SessionStatus, Usage};

use super::fakes::{GitFault, process, state};
use super::*;
use crate::coordinator::{Failure, Heartbeat, Reserved, hash};
use crate::registry::{Change, Intent, Refusal};
use crate::store::memory::Fault;

const BEAT: Heartbeat = Heartbeat { progress: false, usage: None, hold_for_pid: None, peer: None };

fn scenario<F: Future<Output = ()>>(play: impl FnOnce(World) -> F) {
    runtime().block_on(play(World::new()));
}

async fn ask(daemon: &mut Daemon, request: ReserveRequest) -> Result<Reserved, Failure> {
    let coordinator = daemon.coordinator.clone();
    daemon.run(async move { coordinator.reserve(request).await }).await
}

/// Stops in the middle of a reserve: recorded, its branch not made yet. The runtime goes too, so that nothing of this daemon
/// is at work any more.
async fn cut_off(world: &World, request: ReserveRequest) {
    // Made on its own thread: a daemon is not to be shared.
    let crash = async || {
        let mut daemon = Daemon::start(world);
        let coordinator = daemon.coordinator.clone();
        let request = request.clone();
        tokio::spawn(async move { coordinator.reserve(request).await });
        daemon.settle().await;
        assert_eq!(daemon.handle(1), 1);
        daemon.writer.commit();
    };
    std::thread::scope(|scope| scope.spawn(|| runtime().block_on(crash())).join()).unwrap();
}

fn only(daemon: &Daemon) -> Arc<crate::registry::SessionRecord> {
    Arc::clone(daemon.coordinator.snapshot().registry.sessions(None).next().unwrap())
}

#[test]
fn an_intent_that_a_crash_left_open_is_closed_at_the_start() {
    for (is_named, made) in [(false, false), (false, true), (true, false), (true, true)] {
        scenario(|world| async move {
            let request = if is_named { named(1, reserve(1, thread(1))) } else { reserve(1, thread(1)) };
            cut_off(&world, request.clone()).await;
            world.repo.refs.lock().clear();
            if made {
                world.repo.refs.lock().insert(thread(1), state(1));
            }
            let mut daemon = Daemon::start(&world);
            let session = only(&daemon);
            assert_eq!(session.intent, None, "named {is_named}, made {made}");
            if is_named {
                let again = ask(&mut daemon, request).await.unwrap();
                assert_eq!((again.view.session.id, again.replayed), (session.id, true), "the same reservation");
                assert_eq!(world.repo.at(&thread(1)), Some(state(1)));
            } else {
                assert_eq!(session.end_reason, Some(EndReason::ConnectionLost), "no ghosts");
                assert!(ask(&mut daemon, reserve(2, thread(1))).await.is_ok(), "and the thread is free");
            }
        });
    }
}

#[test]
fn a_caller_that_goes_away_leaves_no_intent_open() {
    for steps in 0..4 {
        scenario(|world| async move {
            let mut daemon = Daemon::start(&world);
            let coordinator = daemon.coordinator.clone();
            let call = tokio::spawn(async move { coordinator.reserve(named(1, reserve(1, thread(1)))).await });
            for _ in 0..steps {
                tokio::task::yield_now().await;
                daemon.handle(1);
                daemon.writer.commit();
                daemon.work_is_done().await;
            }
            call.abort();
            daemon.rest().await;
            let open = daemon.coordinator.snapshot().registry.active(None).any(|session| session.intent.is_some());
            assert!(!open, "aborted after {steps} steps");
            let again = ask(&mut daemon, named(1, reserve(1, thread(1)))).await;
            assert!(again.is_ok(), "repeating the request answers: {again:?}");
        });
    }
}

#[test]
fn a_known_request_is_answered_whatever_became_of_the_repository() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let first = ask(&mut daemon, named(1, reserve(1, thread(1)))).await.unwrap();
        *world.repo.unreadable.lock() = true;
        let again = ask(&mut daemon, named(1, reserve(1, thread(1)))).await.unwrap();
        assert_eq!(again.view.session.id, first.view.session.id, "step 0 comes first");
    });
}

#[test]
fn a_worktree_that_is_made_late_tells_of_no_second_thread() {
    scenario(|world| async move {
        let request = ReserveRequest { worktree: Some(None), ..named(1, reserve(1, thread(1))) };
        cut_off(&world, request.clone()).await;
        let mut daemon = Daemon::start(&world);
        let again = ask(&mut daemon, request).await.unwrap();
        assert!(again.view.session.path.is_some() && again.view.session.thread_created);
        let created = |entry: &crate::registry::Entry| matches!(entry.change, Change::Settled { created: true, .. });
        assert_eq!(world.disk.entries().unwrap().iter().filter(|entry| created(entry)).count(), 1);
    });
}

#[test]
fn a_new_holder_takes_no_sign_of_life_away() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let granted = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
        let (id, token) = (granted.view.session.id, hash(&granted.token));
        let usage = Usage { input_tokens: Some(7), ..Usage::default() };
        let coordinator = daemon.coordinator.clone();
        let view = daemon
            .run(async move {
                let used = Heartbeat { usage: Some(usage), ..BEAT };
                coordinator.heartbeat(id, token, used).await.unwrap();
                coordinator.heartbeat(id, token, Heartbeat { hold_for_pid: Some(7), ..BEAT }).await
            })
            .await;
        assert_eq!(view.unwrap().pulse.usage, Some(usage.over(None)));
        assert_eq!(world.liveness.watched.lock().get(&process(7).pid), Some(&1));
    });
}

#[test]
fn what_git_did_and_the_store_could_not_record_may_have_happened() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let granted = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
        let (id, token) = (granted.view.session.id, hash(&granted.token));
        let coordinator = daemon.coordinator.clone();
        let call = tokio::spawn(async move { coordinator.update(id, token, Some(state(1)), state(2)).await });
        daemon.settle().await;
        daemon.handle(1);
        daemon.writer.commit();
        daemon.settle().await;
        // Another call's batch fails while the branch moves.
        world.disk.fail_next(Fault::BeforeDurability);
        let other = ask(&mut daemon, reserve(2, thread(2))).await;
        assert!(matches!(other, Err(Failure::Store(Outcome::Unknown))), "{other:?}");
        let answer = call.await.unwrap();
        assert_eq!(world.repo.at(&thread(1)), Some(state(2)), "it moved");
        assert!(matches!(answer, Err(Failure::Store(Outcome::Unknown))), "so this is not said of it: {answer:?}");
        let daemon = Daemon::start(&world);
        assert_eq!(only(&daemon).recorded_state, state(2), "and the next start knows");
    });
}

#[test]
fn a_move_that_git_could_not_tell_of_is_recorded_as_what_it_was() {
    for (fault, expected) in [(GitFault::Before, state(1)), (GitFault::After, state(2))] {
        scenario(|world| async move {
            let mut daemon = Daemon::start(&world);
            let granted = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
            let (id, token) = (granted.view.session.id, hash(&granted.token));
            *world.repo.fault.lock() = Some(fault);
            let coordinator = daemon.coordinator.clone();
            let moved = daemon.run(async move { coordinator.update(id, token, Some(state(1)), state(2)).await }).await;
            assert!(matches!(moved, Err(Failure::Repo(_))));
            assert_eq!((only(&daemon).recorded_state, &only(&daemon).intent), (expected, &None), "{fault:?}");
        });
    }
}

#[test]
fn a_worktree_made_late_leaves_a_move_alone() {
    let mut registry = crate::registry::Registry::default();
    use crate::registry::tests as plain;
    plain::grant(&mut registry, plain::reserve(1, "a"));
    plain::did(&mut registry, 0, &plain::begin_move(1, 1, 2));
    assert_eq!(crate::registry::decide(&registry, &plain::settle(1)), Err(Refusal::Busy));
    assert!(matches!(registry.session(plain::id(1)).unwrap().intent, Some(Intent::Move { .. })));
}

#[test]
fn a_store_that_fails_takes_heartbeats_and_expires_nobody() {
    for fault in [Fault::BeforeDurability, Fault::AfterDurability] {
        for at_start in [false, true] {
            scenario(|world| async move {
                let mut daemon = Daemon::start(&world);
                let granted = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
                let (id, token) = (granted.view.session.id, hash(&granted.token));
                if at_start {
                    // The start cannot be recorded. The fault is set between opening and the first append.
                    drop(daemon);
                    daemon = Daemon::start_failing(&world, fault);
                } else {
                    world.disk.fail_next(fault);
                    let coordinator = daemon.coordinator.clone();
                    let lost =
                        daemon.run(async move { coordinator.release(id, token, SessionStatus::Complete).await }).await;
                    assert!(matches!(lost, Err(Failure::Store(Outcome::Unknown))));
                }
                let coordinator = daemon.coordinator.clone();
                let beat = daemon.run(async move { coordinator.heartbeat(id, token, BEAT).await }).await;
                assert!(beat.is_ok(), "{fault:?}, at the start: {at_start}: {beat:?}");
                daemon.pass(3_600_000);
                daemon.rest().await;
                assert!(only(&daemon).is_active(), "nothing expires");
                let refused = ask(&mut daemon, reserve(2, thread(2))).await;
                assert!(matches!(refused, Err(Failure::Store(Outcome::NotApplied))));
            });
        }
    }
}

#[test]
fn stalls_and_jumps_of_the_clock_end_nobody_and_silence_does() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
        for jump in [3_600_000, -3_600_000, -3_600_000] {
            let wall = crate::clock::Clock::wall(&*world.clock);
            world.clock.set_wall(wall.plus_ms(jump));
            daemon.pass(250);
            daemon.rest().await;
            assert!(only(&daemon).is_active(), "the wall clock jumped by {jump}");
        }
        world.clock.advance_ms(3_600_000);
        daemon.tick();
        daemon.rest().await;
        assert!(only(&daemon).is_active(), "the daemon was stopped for an hour");
        daemon.pass(7_000);
        daemon.rest().await;
        assert!(only(&daemon).is_active(), "only its own time counts");
        daemon.pass(2_500);
        daemon.rest().await;
        assert_eq!(only(&daemon).end_reason, Some(EndReason::HeartbeatExpired));
    });
}

#[test]
fn a_stop_behind_a_full_batch_is_not_lost() {
    scenario(|world| async move {
        let Daemon { coordinator, writer, inbox, .. } = Daemon::start(&world);
        for _ in 0..1024 {
            coordinator.shared.post(Message::Unsaved(Vec::new())).unwrap();
        }
        let (done, closed) = tokio::sync::oneshot::channel();
        coordinator.shared.post(Message::Stop { by: None, done }).unwrap();
        drop(coordinator);
        // It returns: else this test does not.
        writer.run(&inbox);
        assert_eq!(closed.await, Ok(true));
    });
}

#[test]
fn whoever_waits_for_a_busy_session_is_served_in_the_end() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let first = ReserveRequest { hold_for_pid: Some(7), ..named(1, reserve(1, thread(1))) };
        let spawn = |coordinator: &Coordinator, request| {
            let coordinator = coordinator.clone();
            tokio::spawn(async move { coordinator.reserve(request).await })
        };
        let granted = spawn(&daemon.coordinator, first.clone());
        daemon.settle().await;
        daemon.handle(1);
        daemon.writer.commit();
        // Its branch is being made: it is joined, its holder dies, another comes.
        let joined = spawn(&daemon.coordinator, first);
        world.liveness.dead.lock().insert(7);
        daemon.coordinator.shared.post(Message::Died(process(7))).unwrap();
        daemon.rest().await;
        assert!(granted.is_finished() && joined.is_finished(), "everybody was answered");
        assert!(granted.await.unwrap().is_ok());
        assert!(ask(&mut daemon, reserve(2, thread(1))).await.is_ok(), "its end was not lost");
        let reasons: Vec<_> =
            daemon.coordinator.snapshot().registry.sessions(None).map(|session| session.end_reason).collect();
        assert_eq!(reasons, [None, Some(EndReason::ProcessExited)]);
    });
}

#[test]
fn a_look_that_panics_is_internal_and_the_next_one_works() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        *world.repo.panics.lock() = true;
        let failed = ask(&mut daemon, reserve(1, thread(1))).await;
        assert!(matches!(failed, Err(Failure::Broken(_))), "the daemon is not stopping: {failed:?}");
        ask(&mut daemon, reserve(2, thread(1))).await.unwrap();
    });
}

#[test]
fn a_thread_that_keeps_changing_is_to_be_asked_for_again() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        world.repo.refs.lock().insert(thread(1), state(1));
        let granted = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
        let (repo, name) = granted.view.session.thread_key();
        let (coordinator, id) = (daemon.coordinator.clone(), granted.view.session.id);
        let token = hash(&granted.token);
        daemon.run(async move { coordinator.release(id, token, SessionStatus::Complete).await }).await.unwrap();
        let coordinator = daemon.coordinator.clone();
        let call = tokio::spawn(async move { coordinator.reserve(reserve(2, thread(1))).await });
        let mut looks = 0;
        while !call.is_finished() {
            daemon.settle().await;
            // Between the look and the decision, each time.
            let (repo, thread, after) = (repo, name.clone(), Some(state(1)));
            let state = proto_schema::ThreadState::Draft;
            daemon.writer.change(Change::Observed { repo, thread, before: after, after, state });
            looks += daemon.handle(1);
            daemon.writer.commit();
            assert!(looks < 100, "it goes on for ever");
        }
        let answer = call.await.unwrap();
        assert!(matches!(answer, Err(Failure::Contended { reads: 16 })), "{looks} looks: {answer:?}");
        ask(&mut daemon, reserve(3, thread(1))).await.unwrap();
    });
}

#[test]
fn progress_is_told_of_a_writer_that_gets_to_the_end_of_a_batch() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let coordinator = daemon.coordinator.clone();
        let asked = tokio::spawn(async move { coordinator.progress().await });
        daemon.settle().await;
        assert!(!asked.is_finished(), "N2: the writer has not taken it");
        assert_eq!(daemon.handle(1), 1);
        daemon.settle().await;
        assert!(!asked.is_finished(), "N2: it may be stuck at the disk");
        daemon.writer.commit();
        daemon.settle().await;
        assert!(asked.is_finished() && asked.await.unwrap());

        let coordinator = daemon.coordinator.clone();
        drop(daemon);
        assert!(!coordinator.progress().await, "N2: there is no writer any more");
    });
}
