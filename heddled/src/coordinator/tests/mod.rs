//! The coordinator without a machine: its store is memory, its processes and branches are made up, and its writer is driven
//! message by message, so that a seed decides what happens in which order.

mod captures;
mod cases;
mod clean;
mod connections;
mod events;
mod fakes;
mod retention;
mod simulator;
mod waits;

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use proto_schema::{ReservationToken, ThreadName};
use tokio::sync::Notify;

use self::fakes::{FakeLiveness, FakeRepo};
use super::inbox::Outbox;
use super::message::Message;
use super::pool::{Limits, Pool};
use super::retention::Retention;
use super::shared::Shared;
use super::writer::Writer;
use super::{Coordinator, ReserveRequest, Settings, Snapshot, recover};
use crate::clock::{LeaseClock, ManualClock};
use crate::metrics::Metrics;
use crate::registry::MarkKey;
use crate::registry::{AgentRecord, Deadlines, Lease, RequestRecord};
use crate::repo::{Anchor, Claim, Surroundings};
use crate::store::memory::{Fault, MemoryDisk};

/// How many callers may wait.
const MAX_WAITERS: usize = 6;

/// Everything that outlives the daemon.
#[derive(Clone)]
struct World {
    disk: MemoryDisk,
    repo: Arc<FakeRepo>,
    liveness: Arc<FakeLiveness>,
    clock: Arc<ManualClock>,
    /// How many threads there are for short work: with one, a seed decides what happens in which order.
    threads: usize,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(proto_schema::Timestamp::from_unix_ms(1_000_000), 0));
        Self { disk: MemoryDisk::default(), repo: Arc::default(), liveness: Arc::default(), clock, threads: 1 }
    }
}

/// A daemon whose writer does what it is told to, when it is told to.
struct Daemon {
    world: World,
    coordinator: Coordinator,
    writer: Writer,
    inbox: Outbox,
    retention: Retention,
}

impl Daemon {
    fn start(world: &World) -> Self {
        Self::start_with(world, None)
    }

    /// Starts on a store that cannot record even that.
    fn start_failing(world: &World, fault: Fault) -> Self {
        Self::start_with(world, Some(fault))
    }

    fn start_with(world: &World, fault: Option<Fault>) -> Self {
        let opened = world.disk.open().unwrap();
        let metrics = Metrics::new().unwrap();
        let (inbox, outbox) = super::inbox::inbox(metrics.inbox());
        let lease = |session: &Arc<_>| Arc::new(Mutex::new(Lease::new(session, 0)));
        let leases = opened.registry.active(None).map(|session| (session.fencing_token, lease(session))).collect();
        let (publish, published) = tokio::sync::watch::channel(opened.registry.revision());
        let one = Limits { kept: 1, threads: world.threads, ..Limits::SHORT };
        let settings = Arc::new(Settings {
            max_active: 1000,
            max_waiters: MAX_WAITERS,
            worktree_roots: Vec::new(),
            allowed_filters: Vec::new(),
            repos: None,
            claim: Claim {
                id: "1".into(),
                state_dir: "/state".into(),
                key: MarkKey([1; 32]),
                surroundings: Surroundings::default(),
            },
            version: "0".into(),
        });
        let shared = Arc::new(Shared {
            clock: world.clock.clone(),
            lease_clock: LeaseClock::new(crate::clock::Clock::monotonic_ms(&*world.clock)),
            liveness: world.liveness.clone(),
            repo: world.repo.clone(),
            log: opened.log,
            committed: ArcSwap::from_pointee(Snapshot { registry: opened.registry, leases, ..Snapshot::default() }),
            inbox,
            metrics,
            work: Pool::start(one, world.clock.clone()).unwrap(),
            long_work: Pool::start(Limits::LONG, world.clock.clone()).unwrap(),
            unsaved: Mutex::default(),
            deadlines: Mutex::new(Deadlines::default()),
            rearmed: Notify::new(),
            worktrees: super::worktrees::Worktrees::new(tokio::sync::mpsc::unbounded_channel().0),
            left: crate::coordinator::observer::Left::default(),
            captures: crate::coordinator::captures::Captures::default(),
            removals: crate::coordinator::removals::Removals::default(),
            recovery: recover::Recovery::default(),
            looks: crate::coordinator::verify::Looks::default(),
            connections: crate::coordinator::connections::Connections::default(),
            settings: ArcSwap::from(Arc::clone(&settings)),
            failed: ArcSwapOption::empty(),
            condition: opened.condition,
            published,
        });
        if let Some(fault) = fault {
            world.disk.fail_next(fault);
        }
        let (answers, answered) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(super::message::hand_out(answered, publish));
        let mut writer = Writer::new(Arc::clone(&shared), opened.store, answers);
        drop(recover::begin(&shared, &mut writer, &settings));
        for repo in shared.committed.load().registry.repos() {
            if let Ok(recovered) = recover::look(&shared, &settings, repo) {
                writer.recovered(recovered);
            }
        }
        writer.commit();
        let retention = Retention::new(crate::clock::Clock::wall(&*world.clock), shared.lease_now());
        let coordinator = Coordinator { shared };
        Self { world: world.clone(), coordinator, writer, inbox: outbox, retention }
    }

    /// Lets everything happen that can without the writer. There is one thread for short work; all are waited for without the runtime, whose
    /// paused time would run ahead; there is one blocking worker, so that an empty job waits for all.
    async fn settle(&self) {
        for _ in 0..3 {
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            self.work_is_done().await;
        }
    }

    /// Waits until nothing runs off the runtime.
    async fn work_is_done(&self) {
        self.coordinator.shared.work.wait_until_busy(0);
        self.coordinator.shared.long_work.wait_until_busy(0);
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    }

    /// Hands the writer at most `count` messages, in one batch.
    fn handle(&mut self, count: usize) -> usize {
        let mut handled = 0;
        while handled < count {
            let Some(message) = self.writer.requeued().or_else(|| self.inbox.try_recv().ok()) else { break };
            self.writer.handle(message);
            handled += 1;
        }
        handled
    }

    /// Until nobody has anything to say any more: not in several rounds, for a call may need some to get from one blocking
    /// job to its next message.
    async fn rest(&mut self) {
        let mut quiet = 0;
        while quiet < 8 {
            self.settle().await;
            quiet = if self.handle(usize::MAX) == 0 { quiet + 1 } else { 0 };
            self.writer.commit();
        }
        self.settle().await;
    }

    /// Runs a call to its end.
    async fn run<T: Send + 'static>(&mut self, call: impl Future<Output = T> + Send + 'static) -> T {
        let call = tokio::spawn(call);
        self.rest().await;
        assert!(call.is_finished(), "a call was never answered");
        call.await.unwrap()
    }

    /// What the timekeeper does: ticks, has leases that ran out looked at, heartbeats written behind, and old records pruned.
    fn tick(&mut self) {
        let shared = Arc::clone(&self.coordinator.shared);
        let now = crate::clock::Clock::monotonic_ms(&*shared.clock);
        shared.lease_clock.tick(now);
        let committed = shared.committed.load_full();
        let due = shared.deadlines.lock().due(shared.lease_clock.now(now), |session| {
            committed.leases.get(&session).and_then(|lease| lease.lock().runs_out())
        });
        if !due.is_empty() {
            shared.post(Message::Overdue(due)).unwrap();
        }
        let unsaved = std::mem::take(&mut *shared.unsaved.lock());
        if !unsaved.is_empty() {
            shared.post(Message::Unsaved(unsaved)).unwrap();
        }
        let wall = crate::clock::Clock::wall(&*shared.clock);
        if let Some(as_of) = self.retention.look(wall, shared.lease_now()) {
            shared.post(Message::Prune(as_of)).unwrap();
        }
    }

    /// Time passes, and the daemon is scheduled.
    fn pass(&mut self, ms: u32) {
        for _ in 0..ms / 250 {
            self.world.clock.advance_ms(250);
            self.tick();
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap()
}

fn thread(number: u64) -> ThreadName {
    format!("thread-{number}").parse().unwrap()
}

fn token(number: u64) -> ReservationToken {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    ReservationToken::from_bytes(bytes)
}

fn reserve(number: u64, name: ThreadName) -> ReserveRequest {
    ReserveRequest {
        repo: "/r".into(),
        thread: name,
        anchor: Anchor::Head,
        target_thread: None,
        worktree: None,
        path: None,
        ttl_ms: Some(10_000),
        hold_for_pid: None,
        connection: None,
        peer: None,
        request: None,
        token: Some(token(number)),
        agent: Arc::new(AgentRecord::unknown()),
        wait: None,
    }
}

fn named(number: u64, request: ReserveRequest) -> ReserveRequest {
    let id = format!("request-{number}").parse().unwrap();
    let params = vec![(request.thread.shared(), 1)];
    ReserveRequest { request: Some(RequestRecord { id, params }), ..request }
}
