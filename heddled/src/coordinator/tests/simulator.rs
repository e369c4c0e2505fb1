//! Random lives of a daemon: callers that come, wait, go away and repeat themselves, holders that die, clocks that jump, Git and
//! disks that fail, crashes. A seed decides all of it.
//!
//! Checked after each step: R1, R2, R4; at each answer: R3; after each crash: nothing that was answered is lost, nothing is
//! open. At the end everybody has been answered, and the dead hold nothing.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks at the changes it is about")]

use std::collections::{BTreeMap, BTreeSet};

use proto_schema::{EndReason, FencingToken, ObjectId, SessionId, SessionStatus, WaitOutcome};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::fakes::{GitFault, process, state};
use super::*;
use crate::coordinator::{Failure, Heartbeat, Patience, Stay, hash, observer};
use crate::registry::{Actor, Change, Entry, Refusal, SessionRecord, TokenHash};
use crate::store::memory::Fault;

/// Seeds that once failed stay here; the others are as good as any.
const SEEDS: std::ops::Range<u64> = 0..24;

const STEPS: usize = 250;

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// What somebody was told.
#[derive(Clone, Debug)]
enum Promise {
    Granted(SessionId),
    Ended(SessionId, SessionStatus),
    Moved(SessionId, ObjectId),
}

/// What all callers together know.
#[derive(Default)]
struct Told {
    promises: Vec<Promise>,
    grants: Vec<(SessionId, TokenHash)>,
    requests: BTreeMap<usize, SessionId>,
    /// Until when the session was said to live, in this life's lease time.
    deadlines: BTreeMap<SessionId, u64>,
}

#[derive(Clone)]
struct Callers {
    told: Arc<Mutex<Told>>,
    disk: MemoryDisk,
}

impl Callers {
    fn told(&self, promise: Promise) {
        assert!(is_durable(&promise, &self.disk.entries().unwrap()), "R3: {promise:?}");
        self.told.lock().promises.push(promise);
    }
}

fn is_durable(promise: &Promise, entries: &[Entry]) -> bool {
    let any = |is: &dyn Fn(&Change) -> bool| entries.iter().any(|entry| is(&entry.change));
    match promise {
        Promise::Granted(id) => any(&|change| match change {
            Change::Reserved { session, .. } if session.id == *id => {
                session.intent.is_none()
                    || any(&|change| matches!(change, Change::Settled { session, .. } if session == id))
            }
            _ => false,
        }),
        Promise::Ended(id, status) => {
            any(&|change| matches!(change, Change::Ended(ending) if ending.session == *id && ending.status == *status))
        }
        Promise::Moved(id, new) => {
            any(&|change| matches!(change, Change::Moved { session, after, .. } if session == id && after == new))
        }
    }
}

struct Simulation {
    seed: u64,
    random: Random,
    world: World,
    daemon: Daemon,
    callers: Callers,
    calls: Vec<JoinHandle<()>>,
    ended: BTreeMap<SessionId, Arc<SessionRecord>>,
    active: BTreeSet<SessionId>,
    fencing: FencingToken,
    next: u8,
    pids: i32,
    /// Reserves whose looks take longer than others'.
    late: Vec<Message>,
    /// The store has failed in this life, or will.
    is_failing: bool,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let world = World::new();
        let callers = Callers { told: Arc::default(), disk: world.disk.clone() };
        Self {
            seed,
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            daemon: Daemon::start(&world),
            world,
            callers,
            calls: Vec::new(),
            ended: BTreeMap::new(),
            active: BTreeSet::new(),
            fencing: FencingToken(0),
            next: 2,
            pids: 0,
            late: Vec::new(),
            is_failing: false,
        }
    }

    fn spawn(&mut self, call: impl Future<Output = ()> + Send + 'static) {
        self.calls.push(tokio::spawn(call));
    }

    fn reserve(&mut self) {
        let number = self.random.below(14);
        let pid = (self.random.below(3) == 0).then(|| {
            self.pids += 1;
            self.pids
        });
        let worktree = number.is_multiple_of(5).then_some(None);
        let hold = |request| ReserveRequest { hold_for_pid: pid, worktree, ..request };
        let is_named = number < 10;
        let unnamed = ReserveRequest { token: None, ..reserve(0, thread(self.random.below(3) as u64)) };
        let request = if is_named {
            hold(named(number as u64, reserve(number as u64, thread(number as u64 % 3))))
        } else {
            hold(unnamed)
        };
        let request =
            ReserveRequest { anchor: if number.is_multiple_of(2) { Anchor::Tip } else { Anchor::Head }, ..request };
        let (request, stay) = self.patient(request);
        let (callers, coordinator) = (self.callers.clone(), self.daemon.coordinator.clone());
        self.spawn(async move {
            // Its connection: it ends with the call.
            let _stay = stay;
            match coordinator.reserve(request).await {
                Ok(reserved) => {
                    let id = reserved.view.session.id;
                    callers.told(Promise::Granted(id));
                    let mut told = callers.told.lock();
                    if is_named {
                        let first = *told.requests.entry(number).or_insert(id);
                        assert_eq!(first, id, "a repeated request has one session");
                    }
                    told.grants.push((id, hash(&reserved.token)));
                }
                Err(Failure::Refused(Refusal::IdempotencyConflict { .. })) => panic!("the request was the same"),
                Err(_) => {}
            }
        });
    }

    /// Makes of every second caller one that waits: some for no time at all, some for one state only.
    fn patient(&mut self, request: ReserveRequest) -> (ReserveRequest, watch::Sender<Stay>) {
        let (stay, stays) = watch::channel(Stay::Here);
        let ms = [0, 3_600_000, 3_600_000, 3_600_000][self.random.below(4)];
        let wait = (self.random.below(2) == 0).then_some(Patience { ms, stay: stays });
        // The state asked for belongs to a request that is repeated.
        let is_anchored = request.request.is_none() && self.random.below(4) == 0;
        let anchor = if is_anchored { Anchor::Revision("HEAD".into()) } else { request.anchor.clone() };
        (ReserveRequest { wait, anchor, ..request }, stay)
    }

    fn pick(&mut self) -> Option<(SessionId, TokenHash)> {
        let told = self.callers.told.lock();
        // Mostly the latest.
        let back = self.random.below(4.min(told.grants.len().max(1)));
        told.grants.iter().rev().nth(back).copied()
    }

    fn call(&mut self, kind: usize) {
        let Some((id, token)) = self.pick() else { return };
        let (callers, coordinator) = (self.callers.clone(), self.daemon.coordinator.clone());
        let new = state(self.next);
        let expected = self.daemon.coordinator.snapshot().registry.session(id).map(|session| session.recorded_state);
        match kind {
            0 => self.spawn(async move {
                let beat = Heartbeat { progress: true, usage: None, hold_for_pid: None, peer: None };
                if let Ok(view) = coordinator.heartbeat(id, token, beat).await {
                    let deadline = view.deadline.unwrap_or(0);
                    callers.told.lock().deadlines.insert(id, deadline);
                }
            }),
            1 => self.spawn(async move {
                let status = SessionStatus::Complete;
                if coordinator.release(id, token, status).await.is_ok() {
                    callers.told(Promise::Ended(id, status));
                }
            }),
            2 => self.spawn(async move {
                let by = Actor { pid: None, executable: None };
                if coordinator.evict(id, by, "stuck".parse().unwrap()).await.is_ok() {
                    callers.told(Promise::Ended(id, SessionStatus::Abandoned));
                }
            }),
            _ => {
                self.next = self.next.checked_add(1).unwrap_or(2);
                self.spawn(async move {
                    if coordinator.update(id, token, expected, new).await.is_ok() {
                        callers.told(Promise::Moved(id, new));
                    }
                });
            }
        }
    }

    fn die(&mut self) {
        let snapshot = self.daemon.coordinator.snapshot();
        let mut held = snapshot.registry.active(None).filter_map(|session| session.hold.process.clone());
        let Some(process) = held.next() else { return };
        self.world.liveness.dead.lock().insert(process.pid);
        match self.random.below(3) {
            0 => self.daemon.coordinator.shared.post(Message::Died(process)).unwrap(),
            1 => self.daemon.coordinator.shared.post(Message::Gone(process)).unwrap(),
            _ => {}
        }
    }

    async fn crash(&mut self) {
        self.daemon.settle().await;
        for call in self.calls.drain(..) {
            call.abort();
            if let Err(failed) = call.await {
                assert!(failed.is_cancelled(), "seed {}: {failed}", self.seed);
            }
        }
        self.is_failing = false;
        self.late.clear();
        let next = Daemon::start(&self.world);
        let old = std::mem::replace(&mut self.daemon, next);
        drop(old);
        self.daemon.settle().await;
        self.callers.told.lock().deadlines.clear();
        // What became of it without anybody being told is news.
        self.active.clear();
        let snapshot = self.daemon.coordinator.snapshot();
        let open: Vec<_> = snapshot.registry.active(None).filter(|session| session.intent.is_some()).collect();
        assert!(open.is_empty(), "seed {}: open after a start: {open:?}", self.seed);
        let entries = self.world.disk.entries().unwrap();
        for promise in &self.callers.told.lock().promises {
            assert!(is_durable(promise, &entries), "seed {}: lost: {promise:?}", self.seed);
        }
    }

    fn check(&mut self) {
        let seed = self.seed;
        let snapshot = self.daemon.coordinator.snapshot();
        let now = self.daemon.coordinator.shared.lease_now();
        let mut threads = BTreeSet::new();
        for session in snapshot.registry.sessions(None) {
            if session.is_active() {
                assert!(threads.insert(session.thread_key()), "seed {seed}: R1: {session:?}");
                assert!(!self.ended.contains_key(&session.id), "seed {seed}: R4: {session:?}");
                assert!(snapshot.leases.contains_key(&session.fencing_token), "seed {seed}: without a lease");
                continue;
            }
            let known = self.ended.entry(session.id).or_insert_with(|| Arc::clone(session));
            assert_eq!(known, session, "seed {seed}: R4");
            if self.active.contains(&session.id) {
                assert!(self.daemon.coordinator.failure().is_none(), "seed {seed}: ended while the store has failed");
                let promised = self.callers.told.lock().deadlines.get(&session.id).copied();
                let is_early = promised.is_some_and(|deadline| now < deadline);
                assert!(session.end_reason != Some(EndReason::HeartbeatExpired) || !is_early, "seed {seed}: too early");
            }
            if session.end_reason == Some(EndReason::ProcessExited) {
                let pid = session.hold.process.as_ref().map(|process| process.pid);
                assert!(pid.is_some_and(|pid| self.world.liveness.dead.lock().contains(&pid)), "seed {seed}: it lives");
            }
        }
        self.active = snapshot.registry.active(None).map(|session| session.id).collect();
        let writer = &self.daemon.writer;
        for thread in writer.queue.threads() {
            let is_held = writer.candidate.registry.holder(thread).is_some();
            assert!(is_held || writer.queue.is_called(thread), "seed {seed}: Q5: nobody is told that it is free");
        }
        let newest = snapshot.registry.sessions(None).next().map_or(FencingToken(0), |session| session.fencing_token);
        assert!(newest >= self.fencing, "seed {seed}: R2");
        self.fencing = newest;
    }

    async fn step(&mut self) {
        match self.random.below(40) {
            0..=7 => self.reserve(),
            8..=10 => self.call(0),
            11 => self.call(1),
            12 if self.random.below(2) == 0 => self.call(2),
            13..=15 => self.call(3),
            16 => self.die(),
            17..=18 => {
                let ms = u32::try_from(self.random.below(8)).unwrap() * 250;
                self.daemon.pass(ms);
            }
            19 => {
                self.world.clock.advance_ms(3_600_000);
                self.daemon.tick();
            }
            20 => {
                let jump = [-3_600_000, 3_600_000][self.random.below(2)];
                let wall = crate::clock::Clock::wall(&*self.world.clock);
                self.world.clock.set_wall(wall.plus_ms(jump));
            }
            21 if !self.calls.is_empty() => {
                let call = self.random.below(self.calls.len());
                self.calls.swap_remove(call).abort();
            }
            22 => *self.world.repo.fault.lock() = Some([GitFault::Before, GitFault::After][self.random.below(2)]),
            23 => {
                let name = thread(self.random.below(3) as u64);
                *self.world.repo.meanwhile.lock() = Some((name, state(1)));
            }
            24 if self.random.below(4) == 0 => {
                let fault = [Fault::BeforeDurability, Fault::AfterDurability][self.random.below(2)];
                self.world.disk.fail_next(fault);
                self.is_failing = true;
            }
            25 if self.random.below(2) == 0 => self.crash().await,
            34 => observer::look_at_all(&self.daemon.coordinator.shared),
            35 => {
                // States that nobody else moves to: a move to where the branch is already is no entry.
                let state = state(u8::try_from(240 + self.random.below(8)).unwrap());
                let name = thread(self.random.below(3) as u64);
                match self.random.below(4) {
                    0 => drop(self.world.repo.refs.lock().remove(&name)),
                    _ => drop(self.world.repo.refs.lock().insert(name, state)),
                }
            }
            36 => match self.daemon.inbox.try_recv() {
                Ok(message @ Message::Reserve { .. }) => self.late.push(message),
                Ok(message) => self.daemon.writer.handle(message),
                Err(_) => {}
            },
            37 if !self.late.is_empty() => {
                let late = self.late.swap_remove(self.random.below(self.late.len()));
                self.daemon.writer.handle(late);
            }
            26..=33 => {
                let count = 1 + self.random.below(6);
                self.daemon.handle(count);
                if self.random.below(3) > 0 {
                    self.daemon.writer.commit();
                }
                tokio::task::yield_now().await;
            }
            _ => self.daemon.settle().await,
        }
    }

    async fn finish(&mut self) {
        self.late.drain(..).for_each(|message| self.daemon.writer.handle(message));
        self.daemon.rest().await;
        let seed = self.seed;
        // Those who wait have each their turn, as those before them fall silent.
        for _ in 0..=self.calls.len() {
            if self.calls.iter().all(JoinHandle::is_finished) {
                break;
            }
            self.callers.told.lock().deadlines.clear();
            self.daemon.pass(12_000);
            self.daemon.rest().await;
        }
        let writer = &self.daemon.writer;
        assert_eq!((writer.queue.len(), writer.aside.len()), (0, 0), "seed {seed}: somebody waits for ever");
        for call in self.calls.drain(..) {
            assert!(call.is_finished(), "seed {seed}: a call was never answered");
            if let Err(failed) = call.await {
                assert!(failed.is_cancelled(), "seed {seed}: {failed}");
            }
        }
        if self.is_failing {
            self.crash().await;
        }
        for pid in self.world.liveness.dead.lock().iter() {
            self.daemon.coordinator.shared.post(Message::Died(process(*pid))).unwrap();
        }
        self.daemon.rest().await;
        let snapshot = self.daemon.coordinator.snapshot();
        for session in snapshot.registry.active(None) {
            assert_eq!(session.intent, None, "seed {seed}: open for ever");
            let pid = session.hold.process.as_ref().map(|process| process.pid);
            assert!(
                !pid.is_some_and(|pid| self.world.liveness.dead.lock().contains(&pid)),
                "seed {seed}: held by the dead"
            );
        }
        observer::look_at_all(&self.daemon.coordinator.shared);
        self.daemon.rest().await;
        let snapshot = self.daemon.coordinator.snapshot();
        for session in snapshot.registry.active(None) {
            let known = snapshot.registry.thread(&session.thread_key()).map(|thread| thread.current_state);
            let there = self.world.repo.at(&session.thread);
            assert_eq!(known, Some(there), "seed {seed}: what plain Git did to {} was missed", session.thread);
        }
        self.callers.told.lock().deadlines.clear();
        self.daemon.pass(12_000);
        self.daemon.rest().await;
        assert_eq!(
            self.daemon.coordinator.snapshot().registry.active_count(),
            0,
            "seed {seed}: silence ends a session"
        );
        self.replay();
    }

    /// The durable entries by themselves: R1, R2, R4 and Q1 hold in each of their prefixes.
    fn replay(&self) {
        let (mut holders, mut last) = (BTreeMap::new(), FencingToken(0));
        let (mut lines, mut served) = (BTreeMap::<_, Vec<SessionId>>::new(), None);
        for entry in self.world.disk.entries().unwrap() {
            match &entry.change {
                Change::Waiting { thread, waiter, position, .. } => {
                    let line = lines.entry(thread.clone()).or_default();
                    line.push(*waiter);
                    assert_eq!(line.len() as u64, *position, "seed {}: its place", self.seed);
                }
                Change::WaitEnded { thread, waiter, outcome, .. } => {
                    let line = lines.entry(thread.clone()).or_default();
                    let place = line.iter().position(|one| one == waiter);
                    let place = place.unwrap_or_else(|| panic!("seed {}: Q1: served twice", self.seed));
                    line.remove(place);
                    if *outcome == WaitOutcome::Granted {
                        assert_eq!(place, 0, "seed {}: Q1: out of its turn", self.seed);
                        served = Some(thread.clone());
                    }
                }
                Change::DaemonStarted { .. } => lines.clear(),
                Change::Reserved { session, .. } => {
                    assert!(session.fencing_token > last, "seed {}: R2", self.seed);
                    last = session.fencing_token;
                    let is_served = served.take().is_some_and(|thread| thread == session.thread);
                    let waiting = lines.get(&session.thread).map_or(0, Vec::len);
                    assert!(is_served || waiting == 0, "seed {}: {waiting} were overtaken", self.seed);
                    let before = holders.insert(session.thread.clone(), session.id);
                    assert_eq!(before, None, "seed {}: R1", self.seed);
                }
                Change::Ended(ending) => {
                    let held = holders.len();
                    holders.retain(|_, holder| *holder != ending.session);
                    assert_eq!(holders.len() + 1, held, "seed {}: R4: ended twice", self.seed);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn nothing_that_happens_breaks_a_promise() {
    let runtime = runtime();
    let (mut granted, mut waited) = (0, 0);
    for seed in SEEDS {
        runtime.block_on(async {
            let mut simulation = Simulation::new(seed);
            for _ in 0..STEPS {
                simulation.step().await;
                simulation.check();
            }
            simulation.finish().await;
            granted += simulation.callers.told.lock().promises.len();
            let is_served =
                |entry: &Entry| matches!(entry.change, Change::WaitEnded { outcome: WaitOutcome::Granted, .. });
            waited += simulation.world.disk.entries().unwrap().iter().filter(|entry| is_served(entry)).count();
        });
    }
    assert!(granted > 200, "it does something: {granted} promises");
    assert!(waited > 15, "and some wait for it: {waited}");
}
