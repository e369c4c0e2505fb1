//! The threads that work on repositories: whatever reads or changes a repository runs here, so that a repository whose file
//! system does not answer costs only those who ask for it.
//!
//! Each repository has a *lane*: a queue, and a bound of how many of its jobs run at one time. A job on a file system that
//! hangs keeps its thread until that answers, and no other repository's. What follows from that for its callers is decided
//! by [`Pool::sweep`], several times a second:
//!
//! - A caller of a read that has waited for [`PATIENCE`] is answered `repository_unavailable`, whether its job waits or runs.
//! - Where a lane is full and none of its jobs has begun or ended for [`Limits::stuck_after_ms`], the lane is *stuck*: its queue
//!   is refused with `limit_exceeded`, and so is who asks then.
//! - A job whose caller has gone is dropped, unless it runs.
//!
//! A change that runs has no time limit: its outcome must be recorded. Threads are made as they are needed and end when they
//! are idle. The more of them are busy, the fewer one lane may have ([`share`]): many sick repositories together leave threads
//! to the healthy ones. The last threads are for lanes that have answered before, so that no number of lanes takes all.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::failure::Failure;
use crate::clock::Clock;
use crate::priority::give_way;
use crate::repo::{Cause, Error, shown};

/// How many jobs of one lane run at one time.
pub(super) const PER_LANE: usize = 8;

/// How long a caller waits for a repository.
pub(super) const PATIENCE: Duration = Duration::from_millis(PATIENCE_MS);
const PATIENCE_MS: u64 = 30_000;

/// How long a thread that is not one of those kept stays without work.
const IDLE: Duration = Duration::from_secs(10);

/// The most threads of a pool.
const MOST_THREADS: usize = 384;

/// How many of the pool's threads are only for lanes that have [answered](State::answered): as many lanes as there are may
/// hang, all for one cause, and those that work go on.
const FOR_ANSWERED: usize = 64;

/// How many lanes are known to have answered.
const ANSWERED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// How many jobs of one lane may run while so many of the pool's threads are busy.
fn share(busy: usize) -> usize {
    match busy {
        0..128 => PER_LANE,
        128..256 => 2,
        256..MOST_THREADS => 1,
        _ => 0,
    }
}

/// What shares a queue and a bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// The calls that work in a repository, by its common Git directory.
    Calls(Arc<Path>),
    /// What the daemon itself does in a repository, one job at a time, by its common Git directory.
    Upkeep(Arc<Path>),
    /// Finding the repositories of paths that lie on a mounted file system, by its mount point.
    Mount(Arc<Path>),
    /// The calls with a path on a mounted file system that leads to no repository, as far as is known. Not those of
    /// [`Lane::Mount`]: should one of these wait after all, the others' repositories must still be found.
    NoRepository(Arc<Path>),
}

impl Lane {
    pub(super) fn path(&self) -> &Arc<Path> {
        match self {
            Self::Calls(path) | Self::Upkeep(path) | Self::Mount(path) | Self::NoRepository(path) => path,
        }
    }

    fn limit(&self, busy: usize) -> usize {
        match self {
            Self::Calls(_) | Self::Mount(_) | Self::NoRepository(_) => share(busy),
            Self::Upkeep(_) => share(busy).min(1),
        }
    }
}

/// What a pool is made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The name of its threads.
    pub(super) name: &'static str,
    /// How many threads are kept.
    pub(super) kept: usize,
    /// The most threads.
    pub(super) threads: usize,
    /// After how long without progress a full lane is stuck, in milliseconds.
    pub(super) stuck_after_ms: u64,
    /// Whether its threads yield to all others.
    pub(super) low_priority: bool,
}

impl Limits {
    /// Work that callers wait for. A read takes some microseconds: a few threads are kept, for waking more would take longer.
    pub(super) const SHORT: Self =
        Self { name: "git", kept: 4, threads: MOST_THREADS, stuck_after_ms: 10_000, low_priority: false };

    /// Work on worktrees, which takes as long as `git status` does.
    pub(super) const LONG: Self =
        Self { name: "worktree", kept: 0, threads: MOST_THREADS, stuck_after_ms: 30_000, low_priority: true };
}

/// What is known of a job before it runs.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Where it runs.
    pub(super) lane: Lane,
    /// What it does, as a verb phrase: "read the branch".
    pub(super) what: &'static str,
    /// Whether its caller waits for its end, however long it runs: it changes something, or has a time limit of its own.
    pub(super) to_its_end: bool,
}

/// Where the answer of a job goes.
pub(super) type ReplyTo<T> = oneshot::Sender<Result<T, Failure>>;

/// Who waits for a job. Whoever takes the sender first answers: the job, or the sweep.
trait Caller: Send + Sync {
    fn is_gone(&self) -> bool;
    fn refuse(&self, failure: Failure);
}

impl<T: Send> Caller for Mutex<Option<ReplyTo<T>>> {
    fn is_gone(&self) -> bool {
        self.lock().as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn refuse(&self, failure: Failure) {
        let reply = self.lock().take();
        // The caller may have gone just now.
        drop(reply.map(|reply| reply.send(Err(failure))));
    }
}

/// What a job does.
type Run = Box<dyn FnOnce() + Send>;

/// A job that waits.
struct Queued {
    since: u64,
    what: &'static str,
    to_its_end: bool,
    caller: Arc<dyn Caller>,
    run: Run,
}

/// A job that runs.
struct Running {
    id: u64,
    since: u64,
    what: &'static str,
    /// `None` once its caller was answered, and for what runs to its end.
    caller: Option<Arc<dyn Caller>>,
}

#[derive(Default)]
struct LaneState {
    queue: VecDeque<Queued>,
    running: Vec<Running>,
    /// When a job began or ended last.
    progress: u64,
    /// Whether it is in [`State::ready`].
    is_ready: bool,
}

struct State {
    lanes: HashMap<Lane, LaneState>,
    /// The lanes in which a job has ended since they were stuck.
    answered: LruCache<Lane, ()>,
    /// The lanes that have jobs to begin, in turn.
    ready: VecDeque<Lane>,
    threads: usize,
    idle: usize,
    busy: usize,
    next_id: u64,
    is_closed: bool,
}

struct Inner {
    state: Mutex<State>,
    /// Signalled when a job can begin.
    work: Condvar,
    limits: Limits,
    clock: Arc<dyn Clock>,
}

/// A pool of threads. They end when it is dropped.
pub(super) struct Pool(Arc<Inner>);

impl Pool {
    /// Starts the threads that are kept.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub(super) fn start(limits: Limits, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let state = Mutex::new(State::new(limits.kept));
        let pool = Self(Arc::new(Inner { state, work: Condvar::new(), limits, clock }));
        for _ in 0..limits.kept {
            pool.0.spawn()?;
        }
        Ok(pool)
    }

    /// Runs `work` in its lane, and answers with its result.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: Job,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let what = job.what;
        let (reply, answer) = oneshot::channel();
        // Fails when the caller has gone.
        self.submit(job, reply, work, |done, reply| drop(reply.send(done)));
        answer.await.unwrap_or(Err(Failure::Broken(what)))
    }

    /// Runs `work` in its lane, then `then` on the same thread with the result and the way to the caller. Neither runs once the
    /// caller was answered otherwise; a `work` that panics is a failure.
    pub(super) fn submit<T: Send + 'static, R>(
        &self,
        job: Job,
        reply: ReplyTo<T>,
        work: impl FnOnce() -> Result<R, Failure> + Send + 'static,
        then: impl FnOnce(Result<R, Failure>, ReplyTo<T>) + Send + 'static,
    ) {
        let Job { lane, what, to_its_end } = job;
        let caller = Arc::new(Mutex::new(Some(reply)));
        let slot = Arc::clone(&caller);
        let run = move || {
            if slot.is_gone() && !to_its_end {
                return;
            }
            let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Failure::Broken(what)));
            let reply = slot.lock().take();
            let Some(reply) = reply else { return };
            if catch_unwind(AssertUnwindSafe(|| then(done, reply))).is_err() {
                tracing::error!(what, "a job on a repository panicked");
            }
        };
        self.0.enqueue(lane, Queued { since: self.0.now(), what, to_its_end, caller, run: Box::new(run) });
    }

    /// Answers the callers that have waited for too long, and forgets those that have gone.
    pub(super) fn sweep(&self) {
        self.0.sweep();
    }

    /// How many jobs run.
    pub(super) fn busy(&self) -> usize {
        self.0.state.lock().busy
    }

    /// Waits until no job waits, and at most so many run.
    #[cfg(test)]
    pub(super) fn wait_until_busy(&self, at_most: usize) {
        let is_so = |state: &State| state.busy <= at_most && state.lanes.values().all(|lane| lane.queue.is_empty());
        while !is_so(&self.0.state.lock()) {
            std::thread::yield_now();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.state.lock().is_closed = true;
        self.0.work.notify_all();
    }
}

impl Inner {
    fn now(&self) -> u64 {
        self.clock.monotonic_ms()
    }

    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        let inner = Arc::clone(self);
        let thread = std::thread::Builder::new().name(self.limits.name.to_owned());
        thread.spawn(move || inner.work()).map(drop)
    }

    fn enqueue(self: &Arc<Self>, lane: Lane, job: Queued) {
        let mut state = self.state.lock();
        if let Some(failure) = state.stuck(&lane, job.since, &self.limits) {
            drop(state);
            job.caller.refuse(failure);
            return;
        }
        let one = state.lanes.entry(lane.clone()).or_default();
        one.queue.push_back(job);
        if !std::mem::replace(&mut one.is_ready, true) {
            state.ready.push_back(lane);
        }
        self.wake(state);
    }

    /// Has a thread begin what can begin, where none is about to.
    fn wake(self: &Arc<Self>, mut state: parking_lot::MutexGuard<'_, State>) {
        let can_begin = state.can_begin();
        if can_begin == 0 {
            return;
        }
        if state.idle > 0 {
            self.work.notify_one();
        }
        if state.idle < can_begin && state.threads < self.limits.threads {
            state.threads += 1;
            drop(state);
            if let Err(error) = self.spawn() {
                // A thread that comes free does it; what waits for too long is answered by the sweep.
                self.state.lock().threads -= 1;
                tracing::warn!(%error, "a thread for work on a repository could not be made");
            }
        }
    }

    fn work(self: Arc<Self>) {
        if self.limits.low_priority {
            give_way();
        }
        let mut state = self.state.lock();
        loop {
            if state.is_closed {
                return;
            }
            if let Some((lane, id, run)) = state.begin(self.now()) {
                // Each job may be one that hangs: the next one is seen to before it begins.
                self.wake(state);
                run();
                state = self.state.lock();
                state.end(&lane, id, self.now());
                continue;
            }
            state.idle += 1;
            let is_over = if state.threads > self.limits.kept {
                self.work.wait_for(&mut state, IDLE).timed_out()
            } else {
                self.work.wait(&mut state);
                false
            };
            state.idle -= 1;
            if is_over && state.can_begin() == 0 {
                state.threads -= 1;
                return;
            }
        }
    }

    fn sweep(self: &Arc<Self>) {
        let now = self.now();
        let (mut refused, mut dropped) = (Vec::new(), Vec::new());
        let mut state = self.state.lock();
        if state.lanes.is_empty() {
            return;
        }
        let lanes: Vec<Lane> = state.lanes.keys().cloned().collect();
        for lane in lanes {
            let stuck = state.stuck(&lane, now, &self.limits);
            if stuck.is_some() {
                state.answered.pop(&lane);
            }
            let Some(one) = state.lanes.get_mut(&lane) else { continue };
            for job in std::mem::take(&mut one.queue) {
                if job.caller.is_gone() {
                    dropped.push(job);
                } else if let Some(failure) = &stuck {
                    refused.push((Arc::clone(&job.caller), failure.clone()));
                    dropped.push(job);
                } else if now.saturating_sub(job.since) >= PATIENCE_MS {
                    refused.push((Arc::clone(&job.caller), no_answer(lane.path(), job.what)));
                    dropped.push(job);
                } else {
                    one.queue.push_back(job);
                }
            }
            for job in one.running.iter_mut().filter(|job| now.saturating_sub(job.since) >= PATIENCE_MS) {
                refused.extend(job.caller.take().map(|caller| (caller, no_answer(lane.path(), job.what))));
            }
            state.forget(&lane);
        }
        self.wake(state);
        for (caller, failure) in refused {
            caller.refuse(failure);
        }
    }
}

impl State {
    fn new(threads: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            answered: LruCache::new(ANSWERED),
            ready: VecDeque::new(),
            threads,
            idle: 0,
            busy: 0,
            next_id: 0,
            is_closed: false,
        }
    }

    /// How many jobs of a lane may run now.
    fn limit(&self, lane: &Lane) -> usize {
        if self.busy + FOR_ANSWERED >= MOST_THREADS && !self.answered.contains(lane) {
            0
        } else {
            lane.limit(self.busy)
        }
    }

    /// Why a further job of a lane would not begin, where the lane is stuck.
    fn stuck(&self, lane: &Lane, now: u64, limits: &Limits) -> Option<Failure> {
        let one = self.lanes.get(lane)?;
        let (running, limit) = (one.running.len(), self.limit(lane));
        let is_stuck = running > 0 && running >= limit && now.saturating_sub(one.progress) >= limits.stuck_after_ms;
        is_stuck.then(|| Failure::RepositoryBusy {
            repo: shown(lane.path()).to_string(),
            value: running + one.queue.len() + 1,
            max: running,
        })
    }

    fn may_begin(&self, lane: &Lane) -> bool {
        let limit = self.limit(lane);
        self.lanes.get(lane).is_some_and(|one| !one.queue.is_empty() && one.running.len() < limit)
    }

    /// How many lanes have a job that can begin.
    fn can_begin(&self) -> usize {
        self.ready.iter().filter(|lane| self.may_begin(lane)).count()
    }

    /// Takes the next job.
    fn begin(&mut self, now: u64) -> Option<(Lane, u64, Run)> {
        let at = self.ready.iter().position(|lane| self.may_begin(lane))?;
        let lane = self.ready.remove(at)?;
        let id = self.next_id;
        let one = self.lanes.get_mut(&lane)?;
        let job = one.queue.pop_front()?;
        let caller = (!job.to_its_end).then_some(job.caller);
        one.running.push(Running { id, since: job.since, what: job.what, caller });
        one.progress = now;
        one.is_ready = !one.queue.is_empty();
        // The other lanes have their turns first.
        if one.is_ready {
            self.ready.push_back(lane.clone());
        }
        self.next_id += 1;
        self.busy += 1;
        Some((lane, id, job.run))
    }

    /// Notes that a job has ended.
    fn end(&mut self, lane: &Lane, id: u64, now: u64) {
        self.busy -= 1;
        if let Some(one) = self.lanes.get_mut(lane) {
            one.running.retain(|job| job.id != id);
            one.progress = now;
        }
        self.answered.put(lane.clone(), ());
        self.forget(lane);
    }

    /// Forgets a lane that has nothing to do.
    fn forget(&mut self, lane: &Lane) {
        let Some(one) = self.lanes.get_mut(lane) else { return };
        if one.queue.is_empty() && std::mem::take(&mut one.is_ready) {
            self.ready.retain(|ready| ready != lane);
        }
        if self.lanes.get(lane).is_some_and(|one| one.queue.is_empty() && one.running.is_empty()) {
            self.lanes.remove(lane);
        }
    }
}

/// What a caller is answered that has waited for [`PATIENCE`].
pub(super) fn no_answer(path: &Path, operation: &'static str) -> Failure {
    let cause = Cause::NoAnswer { path: path.to_owned(), after_s: PATIENCE.as_secs() };
    Error::Unavailable { operation, cause }.into()
}

#[cfg(test)]
#[path = "pool/tests.rs"]
mod tests;
