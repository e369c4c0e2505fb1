//! Waiting for a thread: who gets it, in which order, at which state, and what ends a wait without it.

use proto_schema::{EndReason, ObjectId, SessionId, SessionStatus, WaitOutcome};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::fakes::{process, state};
use super::*;
use crate::coordinator::{Failure, Patience, Reserved, Stay, hash};
use crate::registry::{Change, Refusal, SessionRecord};
use crate::store::memory::Fault;

type Answer = Result<Reserved, Failure>;

/// Somebody who waits, and the end of its connection.
struct Waiter {
    call: JoinHandle<Answer>,
    stay: watch::Sender<Stay>,
}

fn scenario<F: Future<Output = ()>>(play: impl FnOnce(World) -> F) {
    runtime().block_on(play(World::new()));
}

fn patient(number: u64, ms: u64) -> (ReserveRequest, watch::Sender<Stay>) {
    let (stay, stays) = watch::channel(Stay::Here);
    let wait = Some(Patience { ms, stay: stays });
    (ReserveRequest { wait, anchor: Anchor::Tip, ..reserve(number, thread(1)) }, stay)
}

async fn wait_as(daemon: &mut Daemon, request: ReserveRequest, stay: watch::Sender<Stay>) -> Waiter {
    let coordinator = daemon.coordinator.clone();
    let call = tokio::spawn(async move { coordinator.reserve(request).await });
    daemon.rest().await;
    Waiter { call, stay }
}

/// Has somebody wait for an hour.
async fn wait(daemon: &mut Daemon, number: u64) -> Waiter {
    let (request, stay) = patient(number, 3_600_000);
    let waiter = wait_as(daemon, request, stay).await;
    assert!(!waiter.call.is_finished(), "{number} waits");
    waiter
}

async fn ask(daemon: &mut Daemon, request: ReserveRequest) -> Answer {
    let coordinator = daemon.coordinator.clone();
    daemon.run(async move { coordinator.reserve(request).await }).await
}

async fn release(daemon: &mut Daemon, reserved: &Reserved) {
    let (coordinator, id, token) = (daemon.coordinator.clone(), reserved.view.session.id, hash(&reserved.token));
    daemon.run(async move { coordinator.release(id, token, SessionStatus::Complete).await }).await.unwrap();
}

async fn granted(waiter: Waiter) -> Reserved {
    assert!(waiter.call.is_finished(), "its turn has come");
    waiter.call.await.unwrap().unwrap()
}

fn outcomes(world: &World) -> Vec<WaitOutcome> {
    let outcome = |entry: &crate::registry::Entry| {
        if let Change::WaitEnded { outcome, .. } = entry.change { Some(outcome) } else { None }
    };
    world.disk.entries().unwrap().iter().filter_map(outcome).collect()
}

fn holder(daemon: &Daemon) -> Option<Arc<SessionRecord>> {
    daemon.coordinator.snapshot().registry.active(None).next().cloned()
}

fn drifted(answer: &Answer) -> Option<(Option<SessionId>, ObjectId)> {
    match answer {
        Err(Failure::Refused(Refusal::AnchorDrift { owner, reserved, .. })) => {
            Some((owner.as_ref().map(|owner| owner.id), *reserved))
        }
        _ => None,
    }
}

#[test]
fn those_who_wait_are_served_in_order_each_at_the_tip_as_it_is_then() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let mut held = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
        let mut waiters = Vec::new();
        for number in 2..=5 {
            waiters.push(wait(&mut daemon, number).await);
        }
        assert_eq!(daemon.coordinator.snapshot().waiters(&held.view.session), 4);
        for (place, waiter) in waiters.into_iter().enumerate() {
            // What a holder leaves behind is where the next one begins.
            let tip = state(10 + u8::try_from(place).unwrap());
            let (coordinator, id, token) = (daemon.coordinator.clone(), held.view.session.id, hash(&held.token));
            let expected = Some(held.view.session.recorded_state);
            daemon.run(async move { coordinator.update(id, token, expected, tip).await }).await.unwrap();
            release(&mut daemon, &held).await;
            held = granted(waiter).await;
            assert_eq!(held.view.session.anchor_state, tip);
            assert_eq!(daemon.coordinator.snapshot().waiters(&held.view.session), 3 - place, "Q1: nobody else has it");
        }
        assert_eq!(outcomes(&world), [WaitOutcome::Granted; 4]);
    });
}

#[test]
fn nobody_overtakes_a_queue_while_its_first_one_looks() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let held = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
        let waiter = wait(&mut daemon, 2).await;
        let (coordinator, id, token) = (daemon.coordinator.clone(), held.view.session.id, hash(&held.token));
        let released = tokio::spawn(async move { coordinator.release(id, token, SessionStatus::Complete).await });
        daemon.settle().await;
        assert_eq!(daemon.handle(1), 1);
        daemon.writer.commit();
        assert!(holder(&daemon).is_none(), "nobody holds it");
        daemon.settle().await;
        let called = daemon.inbox.try_recv().unwrap();
        // It looks at the thread as it is now, and asks while the one who waits is still on its way.
        let coordinator = daemon.coordinator.clone();
        let request = ReserveRequest { anchor: Anchor::Tip, ..reserve(3, thread(1)) };
        let hasty = tokio::spawn(async move { coordinator.reserve(request).await });
        daemon.settle().await;
        assert_eq!(daemon.handle(1), 1);
        daemon.writer.commit();
        daemon.settle().await;
        assert!(!hasty.is_finished() && holder(&daemon).is_none(), "Q5: it is promised");
        daemon.writer.handle(called);
        daemon.writer.commit();
        daemon.rest().await;
        released.await.unwrap().unwrap();
        let next = granted(waiter).await;
        let Err(Failure::Refused(Refusal::LiveOwner { owner, .. })) = hasty.await.unwrap() else { panic!("refused") };
        assert_eq!(owner.id, next.view.session.id, "it is told who has it now");
    });
}

#[test]
fn who_goes_away_gives_its_place_to_the_next_wherever_it_stands() {
    for lost in 0..3 {
        for is_called in [false, true] {
            scenario(|world| async move {
                let mut daemon = Daemon::start(&world);
                let held = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
                let mut waiters = Vec::new();
                for number in 2..=4 {
                    waiters.push(wait(&mut daemon, number).await);
                }
                if is_called {
                    // The end of the holder is known, and the first one is looking.
                    let (coordinator, id, token) =
                        (daemon.coordinator.clone(), held.view.session.id, hash(&held.token));
                    tokio::spawn(async move { coordinator.release(id, token, SessionStatus::Complete).await });
                    daemon.settle().await;
                    daemon.handle(1);
                    daemon.writer.commit();
                }
                let gone = waiters.remove(lost);
                drop(gone.stay);
                if !is_called {
                    daemon.rest().await;
                    release(&mut daemon, &held).await;
                }
                daemon.rest().await;
                let answer = gone.call.await.unwrap();
                if let Ok(reserved) = answer {
                    // It was decided before it was known to be gone: its connection ends the session.
                    assert!(is_called && lost == 0);
                    release(&mut daemon, &reserved).await;
                }
                for waiter in waiters {
                    let next = granted(waiter).await;
                    release(&mut daemon, &next).await;
                }
                assert_eq!((daemon.writer.queue.len(), holder(&daemon)), (0, None));
            });
        }
    }
}

#[test]
fn a_seat_that_was_given_up_is_not_granted_by_a_question_on_its_way() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let held = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
        let waiter = wait(&mut daemon, 2).await;
        let (coordinator, id, token) = (daemon.coordinator.clone(), held.view.session.id, hash(&held.token));
        tokio::spawn(async move { coordinator.release(id, token, SessionStatus::Complete).await });
        daemon.settle().await;
        daemon.handle(1);
        daemon.writer.commit();
        daemon.settle().await;
        let asked = daemon.inbox.try_recv().unwrap();
        drop(waiter.stay);
        daemon.settle().await;
        assert_eq!(daemon.handle(1), 1, "it gives up");
        daemon.writer.handle(asked);
        daemon.rest().await;
        assert!(waiter.call.await.unwrap().is_err() && holder(&daemon).is_none(), "Q6: nobody would know of it");
        assert_eq!(outcomes(&world), [WaitOutcome::Left]);
    });
}

#[test]
fn a_caller_that_is_dropped_without_a_word_is_passed_over() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let held = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
        let gone = wait(&mut daemon, 2).await;
        let next = wait(&mut daemon, 3).await;
        gone.call.abort();
        daemon.rest().await;
        // The call is dropped, and its task waits for its connection's end.
        drop(gone.stay);
        release(&mut daemon, &held).await;
        granted(next).await;
        assert_eq!(daemon.writer.queue.len(), 0);
    });
}

#[test]
fn who_wants_one_state_only_is_told_at_its_turn_that_it_is_gone() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let held = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
        let (request, stay) = patient(2, 3_600_000);
        let anchored = ReserveRequest { anchor: Anchor::Revision("HEAD".into()), ..request };
        let waiter = wait_as(&mut daemon, anchored.clone(), stay.clone()).await;
        let next = wait(&mut daemon, 3).await;
        let (coordinator, id, token) = (daemon.coordinator.clone(), held.view.session.id, hash(&held.token));
        daemon.run(async move { coordinator.update(id, token, Some(state(1)), state(2)).await }).await.unwrap();
        assert!(!waiter.call.is_finished(), "the holder may yet bring it back");
        let refused = ask(&mut daemon, ReserveRequest { token: Some(token_of(4)), ..anchored }).await;
        assert!(
            matches!(refused, Err(Failure::Refused(Refusal::LiveOwner { .. }))),
            "one that comes now is not queued: {refused:?}"
        );
        release(&mut daemon, &held).await;
        assert_eq!(drifted(&waiter.call.await.unwrap()), Some((None, state(2))));
        granted(next).await;
        assert_eq!(outcomes(&world), [WaitOutcome::Refused, WaitOutcome::Granted]);
    });
}

fn token_of(number: u64) -> ReservationToken {
    token(number)
}

#[test]
fn a_thread_that_is_free_is_had_without_waiting_wherever_it_stands() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        world.repo.refs.lock().insert(thread(1), state(9));
        let (request, _stay) = patient(1, 3_600_000);
        let granted = ask(&mut daemon, request).await.unwrap();
        assert_eq!(granted.view.session.anchor_state, state(9));
        assert_eq!(outcomes(&world), []);
    });
}

#[test]
fn a_wait_that_is_over_says_who_holds_the_thread_and_which_place_it_had() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let held = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
        let first = wait(&mut daemon, 2).await;
        let (request, stay) = patient(3, 0);
        let second = wait_as(&mut daemon, request, stay).await;
        while !second.call.is_finished() {
            daemon.rest().await;
        }
        let Err(Failure::WaitTimeout { owner, position }) = second.call.await.unwrap() else { panic!("it is over") };
        assert_eq!((owner.id, position), (held.view.session.id, 2));
        assert!(!first.call.is_finished(), "the others wait on");
        assert_eq!(outcomes(&world), [WaitOutcome::TimedOut]);
    });
}

#[test]
fn more_than_may_wait_are_refused_and_nobody_else() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let held = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
        let mut waiters = Vec::new();
        for number in 0..MAX_WAITERS as u64 {
            waiters.push(wait(&mut daemon, 2 + number).await);
        }
        let (request, _stay) = patient(20, 3_600_000);
        let over = ask(&mut daemon, request.clone()).await;
        let (value, max) = (MAX_WAITERS, MAX_WAITERS);
        assert!(
            matches!(over, Err(Failure::TooManyWaiters { value: v, max: m }) if (v, m) == (value, max)),
            "{over:?}"
        );
        release(&mut daemon, &held).await;
        let next = granted(waiters.remove(0)).await;
        let (request, stay) = patient(21, 3_600_000);
        let again = wait_as(&mut daemon, request, stay).await;
        assert!(!again.call.is_finished(), "there is room again");
        drop(next);
    });
}

#[test]
fn a_repeated_request_waits_in_one_place_and_has_one_answer() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let held = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
        let (request, stay) = patient(2, 3_600_000);
        let first = wait_as(&mut daemon, named(2, request), stay).await;
        let (request, stay) = patient(2, 3_600_000);
        let second = wait_as(&mut daemon, named(2, request), stay).await;
        assert_eq!((daemon.writer.queue.len(), daemon.coordinator.snapshot().waiters(&held.view.session)), (2, 1));
        let (request, _stay) = patient(3, 3_600_000);
        let other = ask(&mut daemon, named(2, request)).await;
        assert!(
            matches!(other, Err(Failure::Refused(Refusal::IdempotencyConflict { .. }))),
            "with another secret it is another's: {other:?}"
        );
        let hasty = ask(&mut daemon, named(2, reserve(2, thread(1)))).await;
        assert!(matches!(hasty, Err(Failure::Refused(_))), "one that does not wait is told so: {hasty:?}");
        release(&mut daemon, &held).await;
        let answers = [granted(first).await, granted(second).await];
        assert_eq!(answers[0].view.session.id, answers[1].view.session.id);
        assert_eq!(answers.map(|answer| answer.replayed), [false, true]);
        assert_eq!(outcomes(&world), [WaitOutcome::Granted]);
    });
}

#[test]
fn a_repeated_request_keeps_the_place_of_the_one_that_was_lost() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let held = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
        let (request, stay) = patient(2, 3_600_000);
        let first = wait_as(&mut daemon, named(2, request), stay).await;
        let behind = wait(&mut daemon, 3).await;
        let (request, stay) = patient(2, 3_600_000);
        let again = wait_as(&mut daemon, named(2, request), stay).await;
        drop(first.stay);
        daemon.rest().await;
        release(&mut daemon, &held).await;
        let next = granted(again).await;
        assert!(!next.replayed && !behind.call.is_finished(), "Q3");
    });
}

#[test]
fn the_death_of_a_holder_and_the_next_grant_are_one_batch() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let request = ReserveRequest { hold_for_pid: Some(7), ..reserve(1, thread(1)) };
        let held = ask(&mut daemon, request).await.unwrap();
        let waiter = wait(&mut daemon, 2).await;
        let revision = daemon.coordinator.snapshot().registry.revision();
        daemon.coordinator.shared.post(Message::Gone(process(7))).unwrap();
        daemon.rest().await;
        assert_eq!(daemon.coordinator.snapshot().registry.revision(), revision, "it lives, so nothing follows");
        world.liveness.dead.lock().insert(7);
        daemon.coordinator.shared.post(Message::Gone(process(7))).unwrap();
        assert_eq!(daemon.handle(1), 1);
        daemon.writer.commit();
        assert!(holder(&daemon).is_some_and(|holder| holder.id == held.view.session.id), "nothing is recorded yet");
        daemon.settle().await;
        assert_eq!(daemon.handle(1), 1, "the one who waits has looked, and asks");
        daemon.writer.commit();
        let registry = &daemon.coordinator.snapshot().registry;
        assert_eq!(registry.session(held.view.session.id).unwrap().end_reason, Some(EndReason::ProcessExited));
        assert_eq!(registry.revision(), revision + 3, "ended, wait_ended, reserved");
        daemon.rest().await;
        granted(waiter).await;
    });
}

#[test]
fn a_store_that_fails_ends_all_waits_and_says_so() {
    for fault in [Fault::BeforeDurability, Fault::AfterDurability] {
        scenario(|world| async move {
            let mut daemon = Daemon::start(&world);
            ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
            let waiters = [wait(&mut daemon, 2).await, wait(&mut daemon, 3).await];
            world.disk.fail_next(fault);
            let lost = ask(&mut daemon, reserve(4, thread(2))).await;
            assert!(matches!(lost, Err(Failure::Store(_))));
            for waiter in waiters {
                assert!(waiter.call.is_finished());
                assert!(matches!(waiter.call.await.unwrap(), Err(Failure::Store(_))), "{fault:?}");
            }
            assert!(daemon.coordinator.snapshot().waiters.is_empty());
        });
    }
}

#[test]
fn a_daemon_that_stops_tells_everybody_who_waits() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
        let (first, second) = (wait(&mut daemon, 2).await, wait(&mut daemon, 3).await);
        first.stay.send_replace(Stay::Stopping);
        daemon.rest().await;
        assert!(matches!(first.call.await.unwrap(), Err(Failure::ShuttingDown)));
        assert_eq!(outcomes(&world), [WaitOutcome::ShuttingDown]);
        // One whose connection was not told, as when it is cut off.
        drop(daemon);
        assert!(matches!(second.call.await.unwrap(), Err(Failure::ShuttingDown)));
    });
}
