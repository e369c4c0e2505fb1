//! Sessions that connections hold: what a lost connection ends, when, and what it does not end.

use futures_util::FutureExt;
use proto_schema::{EndReason, SessionId, SessionStatus};
use tokio::sync::watch;

use super::fakes::{process, state};
use super::*;
use crate::coordinator::{CaptureCall, Connected, Failure, Heartbeat, Patience, Reserved, Stay, hash};
use crate::registry::{GRACE_MS, Refusal, SessionRecord, TokenHash};
use crate::store::memory::Fault;

const BEAT: Heartbeat = Heartbeat { progress: false, usage: None, hold_for_pid: None, peer: None };

fn scenario<F: Future<Output = ()>>(play: impl FnOnce(World) -> F) {
    runtime().block_on(play(World::new()));
}

/// A request that its connection holds, and nothing else.
fn held(number: u64, name: ThreadName, by: &Connected) -> ReserveRequest {
    ReserveRequest { ttl_ms: None, connection: Some(by.id()), ..reserve(number, name) }
}

async fn ask(daemon: &mut Daemon, request: ReserveRequest) -> Result<Reserved, Failure> {
    let coordinator = daemon.coordinator.clone();
    daemon.run(async move { coordinator.reserve(request).await }).await
}

async fn resume(daemon: &mut Daemon, session: &Reserved, by: &Connected) -> Result<(), Failure> {
    let (coordinator, id, token, by) = own(daemon, session, by);
    daemon.run(async move { coordinator.resume(id, token, by).await.map(drop) }).await
}

fn own(
    daemon: &Daemon,
    session: &Reserved,
    by: &Connected,
) -> (Coordinator, SessionId, TokenHash, crate::registry::ConnectionId) {
    (daemon.coordinator.clone(), session.view.session.id, hash(&session.token), by.id())
}

/// Time passes, and what follows from it happens.
async fn pass(daemon: &mut Daemon, ms: u32) {
    daemon.pass(ms);
    daemon.rest().await;
}

fn now(daemon: &Daemon, session: &Reserved) -> Arc<SessionRecord> {
    Arc::clone(daemon.coordinator.snapshot().registry.session(session.view.session.id).unwrap())
}

fn is_inactive(answer: &Result<(), Failure>) -> bool {
    matches!(answer, Err(Failure::Refused(Refusal::Inactive(_))))
}

#[test]
fn a_session_is_its_connections_for_as_long_as_that_is_open_and_the_grace_after_it() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let connection = daemon.coordinator.connected();
        let session = ask(&mut daemon, held(1, thread(1), &connection)).await.unwrap();
        assert!(session.view.session.hold.connection && session.view.deadline.is_none() && connection.holds_any());
        pass(&mut daemon, 100_000).await;
        assert!(now(&daemon, &session).is_active(), "it is open");
        let (stay, stays) = watch::channel(Stay::Here);
        let wait = Some(Patience { ms: 3_600_000, stay: stays });
        let coordinator = daemon.coordinator.clone();
        let waiter = ReserveRequest { wait, anchor: Anchor::Tip, ..reserve(2, thread(1)) };
        let waiter = tokio::spawn(async move { coordinator.reserve(waiter).await });
        daemon.rest().await;
        drop(connection);
        pass(&mut daemon, 3_000).await;
        let view = daemon.coordinator.snapshot().view(&now(&daemon, &session));
        assert_eq!(daemon.coordinator.since_lost(&view), Some((3_000, 7_000)));
        pass(&mut daemon, 6_750).await;
        assert!(now(&daemon, &session).is_active() && !waiter.is_finished(), "its grace is not over");
        pass(&mut daemon, 250).await;
        let ended = now(&daemon, &session);
        assert_eq!((ended.status, ended.end_reason), (SessionStatus::Abandoned, Some(EndReason::ConnectionLost)));
        assert!(waiter.await.unwrap().unwrap().view.session.is_active(), "the next one has it at once");
        drop(stay);
        let late = daemon.coordinator.connected();
        assert!(is_inactive(&resume(&mut daemon, &session, &late).await), "R4");
        assert!(!late.holds_any());
    });
}

#[test]
fn a_session_that_is_resumed_in_time_goes_on_and_the_latest_connection_wins() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let (first, second) = (daemon.coordinator.connected(), daemon.coordinator.connected());
        let session = ask(&mut daemon, held(1, thread(1), &first)).await.unwrap();
        resume(&mut daemon, &session, &second).await.unwrap();
        drop(first);
        pass(&mut daemon, 100_000).await;
        assert!(now(&daemon, &session).is_active(), "the drop of the earlier connection ends nothing");
        drop(second);
        pass(&mut daemon, 9_000).await;
        let third = daemon.coordinator.connected();
        resume(&mut daemon, &session, &third).await.unwrap();
        pass(&mut daemon, 100_000).await;
        assert!(now(&daemon, &session).is_active(), "resumed in time");
        // Who does not know the secret takes nothing over.
        let (coordinator, id, ..) = own(&daemon, &session, &third);
        let stranger = daemon.coordinator.connected();
        let by = stranger.id();
        let refused = daemon.run(async move { coordinator.resume(id, hash(&token(9)), by).await.map(drop) }).await;
        assert!(matches!(refused, Err(Failure::Refused(Refusal::TokenMismatch))), "{refused:?}");
        drop(stranger);
        pass(&mut daemon, 20_000).await;
        assert!(now(&daemon, &session).is_active());
    });
}

/// That its first connection is lost says nothing of somebody who shows its token on another.
#[test]
fn a_session_whose_token_was_used_is_not_one_that_nobody_knows() {
    for is_used in [false, true] {
        scenario(|world| async move {
            let mut daemon = Daemon::start(&world);
            let [first, second] = [daemon.coordinator.connected(), daemon.coordinator.connected()];
            let session = ask(&mut daemon, held(1, thread(1), &first)).await.unwrap();
            if is_used {
                resume(&mut daemon, &session, &second).await.unwrap();
            }
            let (coordinator, id) = (daemon.coordinator.clone(), session.view.session.id);
            daemon.run(async move { coordinator.connection_lost(id).await }).await;
            assert_eq!(now(&daemon, &session).is_active(), is_used);
        });
    }
}

#[test]
fn a_resumption_that_arrived_in_time_counts_before_the_end() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let connection = daemon.coordinator.connected();
        let session = ask(&mut daemon, held(1, thread(1), &connection)).await.unwrap();
        drop(connection);
        daemon.pass(10_000);
        // The look is on its way to the writer.
        let again = daemon.coordinator.connected();
        let (coordinator, id, token, by) = own(&daemon, &session, &again);
        let resumed = coordinator.resume(id, token, by).await;
        daemon.rest().await;
        assert!(resumed.is_ok() && now(&daemon, &session).is_active(), "who was told so goes on: {resumed:?}");
        // Once the writer has looked, it is over, and who asks is told so when that is durable.
        drop(again);
        daemon.pass(10_000);
        daemon.handle(usize::MAX);
        let again = daemon.coordinator.connected();
        let (coordinator, id, token, by) = own(&daemon, &session, &again);
        let late = daemon.run(async move { coordinator.resume(id, token, by).await.map(drop) }).await;
        assert!(is_inactive(&late), "never a resurrection: {late:?}");
    });
}

#[test]
fn after_a_start_a_session_has_its_grace_to_be_resumed() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let connection = daemon.coordinator.connected();
        let resumed = ask(&mut daemon, held(1, thread(1), &connection)).await.unwrap();
        let left = ask(&mut daemon, held(2, thread(2), &connection)).await.unwrap();
        daemon = Daemon::start(&world);
        assert!(now(&daemon, &resumed).hold.connection, "how it is held is recorded");
        pass(&mut daemon, 9_000).await;
        let again = daemon.coordinator.connected();
        resume(&mut daemon, &resumed, &again).await.unwrap();
        // Numbers begin anew: a connection of the life before is not one of this.
        drop(connection);
        pass(&mut daemon, 2_000).await;
        assert!(now(&daemon, &resumed).is_active());
        assert_eq!(now(&daemon, &left).end_reason, Some(EndReason::ConnectionLost));
    });
}

#[test]
fn a_stop_of_the_daemon_takes_nothing_of_the_grace() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let connection = daemon.coordinator.connected();
        let session = ask(&mut daemon, held(1, thread(1), &connection)).await.unwrap();
        connection.stop();
        // Calls under way may take long.
        pass(&mut daemon, 60_000).await;
        assert!(now(&daemon, &session).is_active(), "nobody could have resumed it meanwhile");
    });
}

#[test]
fn the_same_request_on_another_connection_is_held_by_that_one() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let (first, second) = (daemon.coordinator.connected(), daemon.coordinator.connected());
        let session = ask(&mut daemon, named(1, held(1, thread(1), &first))).await.unwrap();
        drop(first);
        pass(&mut daemon, 9_000).await;
        let again = ask(&mut daemon, named(1, held(1, thread(1), &second))).await.unwrap();
        assert_eq!((again.view.session.id, again.replayed), (session.view.session.id, true));
        assert_eq!(again.view.lost_until, None, "and the answer says so");
        pass(&mut daemon, 20_000).await;
        assert!(now(&daemon, &session).is_active());
        drop(second);
        pass(&mut daemon, 10_250).await;
        assert_eq!(now(&daemon, &session).end_reason, Some(EndReason::ConnectionLost));
    });
}

#[test]
fn a_connection_that_is_lost_before_the_grant_leaves_the_session_its_grace() {
    for (lost_first, is_new) in [(true, true), (true, false), (false, true), (false, false)] {
        scenario(|world| async move {
            if !is_new {
                // A glance is enough for it.
                world.repo.refs.lock().insert(thread(1), state(1));
                let mut daemon = Daemon::start(&world);
                let first = ask(&mut daemon, reserve(9, thread(1))).await.unwrap();
                let (coordinator, id, token) = (daemon.coordinator.clone(), first.view.session.id, hash(&first.token));
                daemon.run(async move { coordinator.release(id, token, SessionStatus::Complete).await }).await.unwrap();
            }
            let mut daemon = Daemon::start(&world);
            let connection = daemon.coordinator.connected();
            let request = named(1, held(1, thread(1), &connection));
            let coordinator = daemon.coordinator.clone();
            let call = tokio::spawn(async move { coordinator.reserve(request).await });
            daemon.settle().await;
            if lost_first {
                drop(connection);
                daemon.handle(1);
            } else {
                // Decided, and not durable yet.
                daemon.handle(1);
                drop(connection);
            }
            daemon.writer.commit();
            daemon.rest().await;
            let session = call.await.unwrap().unwrap();
            assert!(session.view.session.is_active());
            pass(&mut daemon, 9_750).await;
            assert!(now(&daemon, &session).is_active(), "lost first {lost_first}, new {is_new}");
            pass(&mut daemon, 500).await;
            assert_eq!(now(&daemon, &session).end_reason, Some(EndReason::ConnectionLost));
        });
    }
}

#[test]
fn stalls_of_the_daemon_extend_the_grace() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let connection = daemon.coordinator.connected();
        let session = ask(&mut daemon, held(1, thread(1), &connection)).await.unwrap();
        drop(connection);
        world.clock.advance_ms(3_600_000);
        daemon.tick();
        pass(&mut daemon, 8_750).await;
        assert!(now(&daemon, &session).is_active(), "the daemon was stopped for an hour");
        pass(&mut daemon, 500).await;
        assert_eq!(now(&daemon, &session).end_reason, Some(EndReason::ConnectionLost));
    });
}

#[test]
fn each_of_the_holds_that_a_session_has_may_end_it() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let connection = daemon.coordinator.connected();
        let all = |number: u64, name| ReserveRequest {
            ttl_ms: Some(20_000),
            hold_for_pid: Some(i32::try_from(number).unwrap()),
            ..held(number, name, &connection)
        };
        let silent = ask(&mut daemon, all(1, thread(1))).await.unwrap();
        let dead = ask(&mut daemon, all(2, thread(2))).await.unwrap();
        let lost = ask(&mut daemon, all(3, thread(3))).await.unwrap();
        world.liveness.dead.lock().insert(2);
        daemon.coordinator.shared.post(Message::Died(process(2))).unwrap();
        let other = daemon.coordinator.connected();
        resume(&mut daemon, &silent, &other).await.unwrap();
        drop(connection);
        pass(&mut daemon, 9_500).await;
        // A sign of life is no resumption, and a resumption is a sign of life.
        let (coordinator, id, token) = (daemon.coordinator.clone(), lost.view.session.id, hash(&lost.token));
        daemon.run(async move { coordinator.heartbeat(id, token, BEAT).await }).await.unwrap();
        pass(&mut daemon, 500).await;
        let reason = |daemon: &Daemon, session| now(daemon, session).end_reason;
        assert_eq!(reason(&daemon, &dead), Some(EndReason::ProcessExited));
        assert_eq!(reason(&daemon, &lost), Some(EndReason::ConnectionLost));
        assert_eq!(reason(&daemon, &silent), None);
        resume(&mut daemon, &silent, &other).await.unwrap();
        pass(&mut daemon, 19_750).await;
        assert_eq!(reason(&daemon, &silent), None);
        pass(&mut daemon, 250).await;
        assert_eq!(reason(&daemon, &silent), Some(EndReason::HeartbeatExpired), "its connection is open all the time");
    });
}

#[test]
fn resuming_a_session_that_no_connection_holds_renews_it_and_changes_nothing_of_its_hold() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let connection = daemon.coordinator.connected();
        let session = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
        pass(&mut daemon, 9_000).await;
        resume(&mut daemon, &session, &connection).await.unwrap();
        assert!(!connection.holds_any());
        drop(connection);
        pass(&mut daemon, 9_750).await;
        assert!(now(&daemon, &session).is_active());
        pass(&mut daemon, 250).await;
        assert_eq!(now(&daemon, &session).end_reason, Some(EndReason::HeartbeatExpired));
    });
}

#[test]
fn nothing_ends_while_nothing_can_be_recorded() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let connection = daemon.coordinator.connected();
        let session = ask(&mut daemon, held(1, thread(1), &connection)).await.unwrap();
        world.disk.fail_next(Fault::BeforeDurability);
        let failed = ask(&mut daemon, held(2, thread(2), &connection)).await;
        assert!(matches!(failed, Err(Failure::Store(_))), "{failed:?}");
        drop(connection);
        pass(&mut daemon, 60_000).await;
        assert!(now(&daemon, &session).is_active());
        let again = daemon.coordinator.connected();
        resume(&mut daemon, &session, &again).await.unwrap();
    });
}

#[test]
fn an_end_that_cannot_be_recorded_is_none() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let connection = daemon.coordinator.connected();
        let session = ask(&mut daemon, held(1, thread(1), &connection)).await.unwrap();
        drop(connection);
        world.disk.fail_next(Fault::BeforeDurability);
        pass(&mut daemon, 60_000).await;
        assert!(now(&daemon, &session).is_active());
        let again = daemon.coordinator.connected();
        resume(&mut daemon, &session, &again).await.unwrap();
        drop(daemon);
        let mut daemon = Daemon::start(&world);
        let again = daemon.coordinator.connected();
        resume(&mut daemon, &session, &again).await.unwrap();
        pass(&mut daemon, 60_000).await;
        assert!(now(&daemon, &session).is_active());
    });
}

#[test]
fn a_capture_of_a_session_whose_connection_is_lost_is_cancelled_with_it() {
    use std::sync::atomic::Ordering;
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let connection = daemon.coordinator.connected();
        let session = ask(&mut daemon, held(1, thread(1), &connection)).await.unwrap();
        *world.repo.work.lock() = Some(state(50));
        let path = std::path::PathBuf::from("/r/1");
        world.repo.worktrees.lock().insert(path.clone(), thread(1));
        world.repo.hears.store(true, Ordering::Release);
        world.repo.hangs.store(true, Ordering::Release);
        let (coordinator, id, token) = (daemon.coordinator.clone(), session.view.session.id, hash(&session.token));
        let call = CaptureCall { worktree: Some(path), ..CaptureCall::default() };
        let capture = tokio::spawn(async move { coordinator.capture(id, token, call).await });
        for _ in 0..10_000 {
            if world.repo.begun.load(Ordering::Acquire) == 1 {
                break;
            }
            tokio::task::yield_now().await;
            daemon.handle(usize::MAX);
            daemon.writer.commit();
            std::thread::park_timeout(std::time::Duration::from_millis(1));
        }
        drop(connection);
        daemon.pass(10_000);
        daemon.handle(usize::MAX);
        daemon.writer.commit();
        assert_eq!(now(&daemon, &session).end_reason, Some(EndReason::ConnectionLost), "at once");
        daemon.rest().await;
        assert!(capture.await.unwrap().is_err());
        assert_eq!(world.repo.at(&thread(1)), Some(state(1)));
    });
}

#[test]
fn a_connection_that_holds_one_session_after_the_other_remembers_few() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let connection = daemon.coordinator.connected();
        for number in 1..100 {
            let session = ask(&mut daemon, held(number, thread(1), &connection)).await.unwrap();
            let (coordinator, id, token) = (daemon.coordinator.clone(), session.view.session.id, hash(&session.token));
            daemon.run(async move { coordinator.release(id, token, SessionStatus::Complete).await }).await.unwrap();
        }
        assert!(!connection.holds_any());
        assert_eq!(daemon.coordinator.shared.connections.remembered(connection.id()), (0, 0));
    });
}

/// Without asking again and again: that would cost a connection with many sessions, and the daemon with many connections.
#[test]
fn a_connection_hears_when_it_no_longer_holds_any_session() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let [connection, other] = [daemon.coordinator.connected(), daemon.coordinator.connected()];
        let mut sessions = Vec::new();
        for number in 1..=3 {
            sessions.push(ask(&mut daemon, held(number, thread(number), &connection)).await.unwrap());
        }
        resume(&mut daemon, &sessions[0], &connection).await.unwrap();
        let remembered = |daemon: &Daemon| daemon.coordinator.shared.connections.remembered(connection.id());
        assert_eq!(remembered(&daemon), (3, 3), "each once");
        resume(&mut daemon, &sessions[0], &other).await.unwrap();
        assert_eq!(remembered(&daemon), (2, 3));
        let (coordinator, id, token) =
            (daemon.coordinator.clone(), sessions[1].view.session.id, hash(&sessions[1].token));
        daemon.run(async move { coordinator.release(id, token, SessionStatus::Complete).await }).await.unwrap();
        assert!(connection.released().now_or_never().is_none() && connection.holds_any(), "it holds one yet");
        resume(&mut daemon, &sessions[2], &other).await.unwrap();
        assert!(connection.released().now_or_never().is_some() && !connection.holds_any());
        assert_eq!(remembered(&daemon), (0, 2));
        drop(connection);
        pass(&mut daemon, 60_000).await;
        assert!(now(&daemon, &sessions[0]).is_active(), "the other one holds it");
        drop(other);
        pass(&mut daemon, 10_000).await;
        assert_eq!(now(&daemon, &sessions[0]).end_reason, Some(EndReason::ConnectionLost));
    });
}

#[test]
fn a_connection_does_not_hold_a_session_whose_grant_could_not_be_recorded() {
    scenario(|world| async move {
        let mut daemon = Daemon::start(&world);
        let connection = daemon.coordinator.connected();
        world.disk.fail_next(Fault::BeforeDurability);
        let failed = ask(&mut daemon, held(1, thread(1), &connection)).await;
        assert!(matches!(failed, Err(Failure::Store(_))), "{failed:?}");
        assert_eq!(daemon.coordinator.shared.connections.remembered(connection.id()), (0, 0));
    });
}

/// What became of its branch decides whether its thread has changes.
#[test]
fn the_branch_of_an_abandoned_session_is_looked_at_at_once() {
    for (status, at_once) in [(SessionStatus::Complete, false), (SessionStatus::Abandoned, true)] {
        scenario(|world| async move {
            let mut daemon = Daemon::start(&world);
            let session = ask(&mut daemon, reserve(1, thread(1))).await.unwrap();
            let (coordinator, id, token) = (daemon.coordinator.clone(), session.view.session.id, hash(&session.token));
            daemon.run(async move { coordinator.release(id, token, status).await }).await.unwrap();
            let left = &daemon.coordinator.shared.left;
            assert_eq!(left.session(&now(&daemon, &session).thread_key()), Some(id));
            assert_eq!(left.must_not_wait().now_or_never().is_some(), at_once, "{status:?}");
        });
    }
}

/// An agent of the torture: its session, and the connection that holds it or when it was lost.
#[derive(Default)]
struct Agent {
    session: Option<(Reserved, ReserveRequest)>,
    connection: Option<Connected>,
    lost_at: u64,
}

struct Torture {
    seed: u64,
    world: World,
    daemon: Daemon,
    agents: Vec<Agent>,
    requests: u64,
    random: u64,
}

impl Torture {
    fn new(seed: u64) -> Self {
        let world = World::new();
        let agents = (0..5).map(|_| Agent::default()).collect();
        Self { seed, daemon: Daemon::start(&world), world, agents, requests: 0, random: seed }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % end
    }

    fn lease_now(&self) -> u64 {
        self.daemon.coordinator.shared.lease_now()
    }

    async fn step(&mut self) {
        let (number, what) = (usize::try_from(self.below(5)).unwrap(), self.below(20));
        match what {
            0..=5 => self.reserve(number).await,
            6..=8 => {
                if self.agents[number].connection.take().is_some() {
                    self.agents[number].lost_at = self.lease_now();
                }
            }
            9..=13 => self.come_back(number, what < 11).await,
            14..=18 => {
                let ms = self.below(18) * 250;
                pass(&mut self.daemon, u32::try_from(ms).unwrap()).await;
            }
            _ => self.crash(),
        }
    }

    async fn reserve(&mut self, number: usize) {
        if self.agents[number].session.is_some() {
            return;
        }
        let connection = self.daemon.coordinator.connected();
        self.requests += 1;
        let name = thread(self.below(3));
        let request = named(self.requests, held(self.requests, name, &connection));
        if let Ok(session) = ask(&mut self.daemon, request.clone()).await {
            self.agents[number] = Agent { session: Some((session, request)), connection: Some(connection), lost_at: 0 };
        }
    }

    /// On a new connection, whether the old one is lost or not.
    async fn come_back(&mut self, number: usize, by_request: bool) {
        let Some((session, request)) = self.agents[number].session.clone() else { return };
        let connection = self.daemon.coordinator.connected();
        let answer = if by_request {
            let request = ReserveRequest { connection: Some(connection.id()), ..request };
            ask(&mut self.daemon, request).await.map(|again| assert!(again.replayed, "never a new grant"))
        } else {
            resume(&mut self.daemon, &session, &connection).await
        };
        let agent = &mut self.agents[number];
        let is_early =
            agent.connection.is_some() || self.daemon.coordinator.shared.lease_now() < agent.lost_at + GRACE_MS;
        assert!(answer.is_ok() || !is_early, "seed {}: it came in time: {answer:?}", self.seed);
        assert!(answer.is_ok() || is_inactive(&answer), "seed {}: {answer:?}", self.seed);
        match answer {
            Ok(()) => agent.connection = Some(connection),
            Err(_) => *agent = Agent::default(),
        }
    }

    fn crash(&mut self) {
        let next = Daemon::start(&self.world);
        drop(std::mem::replace(&mut self.daemon, next));
        for agent in &mut self.agents {
            agent.connection = None;
            agent.lost_at = 0;
        }
    }

    fn check(&mut self) {
        let (seed, now) = (self.seed, self.lease_now());
        let snapshot = self.daemon.coordinator.snapshot();
        let mut threads: Vec<_> = snapshot.registry.active(None).map(|session| session.thread_key()).collect();
        let active = threads.len();
        threads.sort();
        threads.dedup();
        assert_eq!(threads.len(), active, "seed {seed}: R1");
        for agent in &mut self.agents {
            let Some((session, _)) = &agent.session else { continue };
            let record = snapshot.registry.session(session.view.session.id).unwrap();
            let is_over = agent.connection.is_none() && now >= agent.lost_at + GRACE_MS;
            if !record.is_active() {
                assert!(is_over, "seed {seed}: it ended in its time: {record:?}");
                assert_eq!(record.end_reason, Some(EndReason::ConnectionLost), "seed {seed}");
                *agent = Agent::default();
            } else {
                // What runs out between two ticks is seen by the next.
                let is_late = agent.connection.is_none() && now >= agent.lost_at + GRACE_MS + 250;
                assert!(!is_late, "seed {seed}: held by nobody: {record:?}");
            }
        }
    }
}

#[test]
fn connections_that_come_and_go_and_a_daemon_that_is_killed_between() {
    let runtime = runtime();
    let (mut granted, mut lost) = (0, 0);
    for seed in 0..12 {
        runtime.block_on(async {
            let mut torture = Torture::new(seed);
            for _ in 0..250 {
                torture.step().await;
                torture.check();
            }
            let snapshot = torture.daemon.coordinator.snapshot();
            granted += snapshot.registry.sessions(None).count();
            lost += snapshot.registry.sessions(None).filter(|session| !session.is_active()).count();
        });
    }
    assert!(granted > 100 && lost > 50, "it does something: {granted} granted, {lost} lost");
}
