//! The coordinator: what callers ask of it is decided by the one writer, and what they read is the last committed state.
//!
//! ```text
//! server -> Coordinator -> (Git, liveness: on blocking workers) -> writer -> store
//!                       -> last committed Snapshot, for reads and heartbeats
//! ```

mod capture;
mod captures;
mod clean;
mod connections;
mod effect;
mod events;
mod failure;
mod figures;
mod identity;
mod inbox;
mod leases;
mod make;
mod merged;
mod message;
mod observer;
mod patience;
mod pool;
mod queue;
mod read;
mod ready;
mod recover;
mod removals;
mod reserve;
mod retention;
mod session;
mod shared;
mod slots;
mod snapshot;
#[cfg(test)]
mod tests;
mod threads;
mod timekeeper;
mod turns;
mod update;
mod verify;
mod wait;
mod waiting;
mod work;
mod worktrees;
mod writer;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use proto_schema::{Outcome, ReservationToken, Timestamp};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use capture::{CaptureCall, Captured};
pub use clean::{Cleaned, Stays};
pub use connections::Connected;
pub use events::{Followed, Follower, Interest};
pub use failure::Failure;
pub use read::{SessionFilter, SessionPage};
pub use ready::{Blocker, Readiness, ReadyCall};
pub use removals::Until;
pub use reserve::{ReserveRequest, Reserved};
pub use session::Heartbeat;
pub use snapshot::{Snapshot, View};
pub use threads::ThreadView;
pub use verify::{Orphan, OrphanReason, Verified};
pub use wait::{Patience, Stay};

use crate::clock::{Clock, LeaseClock};
use crate::liveness::Liveness;
use crate::metrics::Metrics;
use crate::registry::{Actor, Deadlines, HolderProcess, Lease, Registry, SessionRecord, TokenHash, before_era};
use crate::repo::{Claim, Located, Repo};
use crate::store::{Condition, OperationLog, Store};
use message::Message;
use pool::Pool;
use shared::Shared;
use timekeeper::Fence;
use writer::Writer;

/// How long the end of a holder's process may go unrecorded, so that the parent that reaps it can release the session with
/// the status it knows. Whoever asks for the thread does not wait for it: a reserve looks at the holder itself. Nor does who
/// waits for it, where the process cannot have succeeded.
const RELEASE_GRACE: Duration = Duration::from_millis(25);

/// How often that time is given at most to a parent that has not had a processor since: two seconds in all.
const MOST_GRACES: u32 = 80;

/// What the coordinator works with.
pub struct Dependencies {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who lives.
    pub liveness: Arc<dyn Liveness>,
    /// Git.
    pub repo: Arc<dyn Repo>,
    /// Where changes become durable.
    pub store: Box<dyn Store>,
    /// Where they are read back.
    pub log: Arc<dyn OperationLog>,
    /// How the store is.
    pub condition: Arc<Condition>,
    /// The processes that the watcher found dead.
    pub deaths: mpsc::UnboundedReceiver<HolderProcess>,
}

/// What is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many active sessions there may be.
    pub max_active: usize,
    /// How many callers may wait for a thread.
    pub max_waiters: usize,
    /// Below which directories worktrees may be made, besides beside the main worktree.
    pub worktree_roots: Vec<PathBuf>,
    /// The content filters, besides `lfs`, that may run at a capture.
    pub allowed_filters: Vec<String>,
    /// Below which directories repositories are served; everywhere when none.
    pub repos: Option<Vec<PathBuf>>,
    /// This registry, as it marks repositories.
    pub claim: Claim,
    /// The daemon's version, for the operation log.
    pub version: Arc<str>,
}

impl Settings {
    fn check_served(&self, repo: &Located) -> Result<(), Failure> {
        let is_below = |root: &PathBuf| {
            repo.git_dir.starts_with(root) || repo.worktree.as_ref().is_some_and(|worktree| worktree.starts_with(root))
        };
        if self.repos.as_ref().is_none_or(|roots| roots.iter().any(is_below)) {
            return Ok(());
        }
        Err(Failure::NotServed(repo.shown.to_string()))
    }
}

/// The way to the one writer, and to the last committed state. Cheap to clone.
#[derive(Clone)]
pub struct Coordinator {
    shared: Arc<Shared>,
}

/// The coordinator's threads and tasks.
pub struct Running {
    writer: std::thread::JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl Coordinator {
    /// Starts on what the store has: settles what a crash left open, looks after every process, gives every lease its full
    /// time, records the start, and serves.
    ///
    /// # Errors
    /// The writer's thread cannot be made.
    pub fn start(
        registry: Registry,
        dependencies: Dependencies,
        settings: Settings,
    ) -> std::io::Result<(Self, Running)> {
        let Dependencies { clock, liveness, repo, store, log, condition, deaths } = dependencies;
        let metrics = Metrics::new().map_err(std::io::Error::other)?;
        let (inbox, outbox) = inbox::inbox(metrics.inbox());
        let lease_clock = LeaseClock::new(clock.monotonic_ms());
        // There are leases from the first moment on: should the start not become durable, heartbeats are taken all the same.
        let lease = |session: &Arc<SessionRecord>| Arc::new(Mutex::new(Lease::new(session, 0)));
        let leases = registry.active(None).map(|session| (session.fencing_token, lease(session))).collect();
        let committed = Snapshot { registry, leases, ..Snapshot::default() };
        let (unlocking, ended) = mpsc::unbounded_channel();
        let (publish, published) = watch::channel(committed.registry.revision());
        let settings = Arc::new(settings);
        let shared = Arc::new(Shared {
            clock: Arc::clone(&clock),
            lease_clock,
            liveness,
            repo,
            log,
            metrics,
            committed: ArcSwap::from_pointee(committed),
            inbox,
            work: Pool::start(pool::Limits::SHORT, Arc::clone(&clock))?,
            long_work: Pool::start(pool::Limits::LONG, Arc::clone(&clock))?,
            unsaved: Mutex::default(),
            deadlines: Mutex::new(Deadlines::default()),
            rearmed: tokio::sync::Notify::new(),
            worktrees: worktrees::Worktrees::new(unlocking),
            left: observer::Left::default(),
            connections: connections::Connections::default(),
            captures: captures::Captures::default(),
            removals: removals::Removals::default(),
            recovery: recover::Recovery::default(),
            looks: verify::Looks::default(),
            settings: ArcSwap::from(Arc::clone(&settings)),
            failed: ArcSwapOption::empty(),
            condition,
            published,
        });
        let (answers, answered) = mpsc::unbounded_channel();
        let mut writer = Writer::new(Arc::clone(&shared), store, answers);
        let unsaid = recover::begin(&shared, &mut writer, &settings);
        let writer = std::thread::Builder::new().name("writer".to_owned()).spawn(move || writer.run(&outbox))?;
        // It ends with the writer, whose last answers are still handed out.
        tokio::spawn(message::hand_out(answered, publish));
        let tasks = vec![
            tokio::spawn(timekeeper::run(Arc::clone(&shared))),
            tokio::spawn(recover::run(Arc::clone(&shared), Arc::clone(&settings))),
            tokio::spawn(observer::run(Arc::clone(&shared), Arc::clone(&settings))),
            tokio::spawn(forward(Arc::clone(&shared), deaths, unsaid)),
            tokio::spawn(worktrees::run(Arc::clone(&shared), ended)),
        ];
        Ok((Self { shared }, Running { writer, tasks }))
    }

    /// What is in force now. A call takes it once, so that it is under one configuration from its beginning to its end.
    fn settings(&self) -> Arc<Settings> {
        self.shared.settings.load_full()
    }

    /// Puts other settings in force, of the same registry.
    pub fn configure(&self, settings: Settings) {
        self.shared.settings.store(Arc::new(settings));
    }

    /// The clocks.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    /// The last committed state.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.committed.load_full()
    }

    /// Why changes are refused, once the store has failed.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<String>> {
        self.shared.condition.failed().or_else(|| self.shared.failed.load_full())
    }

    /// Returns why checkpoints fail, while they do.
    #[must_use]
    pub fn checkpoint_failure(&self) -> Option<Arc<String>> {
        self.shared.condition.checkpoint_failed()
    }

    /// The wall time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.wall()
    }

    /// How long until that deadline, by the lease clock; a deadline that has passed is now.
    #[must_use]
    pub fn until(&self, deadline: u64) -> u64 {
        deadline.saturating_sub(self.shared.lease_now())
    }

    /// Takes a repository over from another registry whose daemon is not running.
    ///
    /// # Errors
    /// `Repo`: there is no repository, the other daemon runs, or the mark cannot be written.
    pub async fn adopt(&self, path: PathBuf) -> Result<(), Failure> {
        // What a crash left open there is settled first.
        self.find_repo(path.clone()).await?;
        let (shared, settings, there) = (Arc::clone(&self.shared), self.settings(), path.clone());
        let (repo, era) = self
            .shared
            .read_at(&there, "look who owns the repository", move || {
                let repo = shared.locate(&path)?.repo;
                settings.check_served(&repo)?;
                let now = shared.committed.load().registry.era();
                let era = shared.repo.era_to_adopt(&repo.git_dir, &settings.claim, now)?;
                Ok((repo, era))
            })
            .await?;
        self.enter_era(era).await?;
        let (shared, settings, git_dir) = (Arc::clone(&self.shared), self.settings(), Arc::clone(&repo.git_dir));
        self.shared
            .change_repo(&git_dir, "adopt the repository", move || {
                let era = shared.committed.load().registry.era();
                Ok(shared.repo.adopt(&repo.git_dir, &settings.claim, era)?)
            })
            .await
    }

    /// Has every fencing token from now on be of this era, or a later one. Before the repository is taken over: a holder
    /// of the other registry must not have the higher number.
    async fn enter_era(&self, era: u64) -> Result<(), Failure> {
        if self.snapshot().registry.era() >= era {
            return Ok(());
        }
        self.shared.post(Message::RaiseFencing(before_era(era)))?;
        self.barrier().await?;
        if self.snapshot().registry.era() >= era { Ok(()) } else { Err(Failure::Store(Outcome::Unknown)) }
    }

    /// Records the stop, makes everything durable and ends the writer. Calls after this are answered `ShuttingDown`.
    /// Answers whether the store closed well.
    pub async fn stop(&self, running: Running, by: Option<Actor>) -> bool {
        for task in &running.tasks {
            task.abort();
        }
        self.shared.captures.cancel_all();
        let (done, closed) = oneshot::channel();
        // However many wait: this is the last message.
        let closed = self.shared.inbox.send(Message::Stop { by, done }).is_ok() && closed.await.unwrap_or(false);
        let joined =
            blocking("stopping", move || running.writer.join().map_err(|_| Failure::Broken("the writer"))).await;
        closed && joined.is_ok()
    }
}

/// Runs something that waits for the daemon's own files, or for `/proc`, off the async workers. Never for a repository, whose
/// file system may hang: that is what [`pool`] is for.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Failure::Broken(what)))
}

/// The hash that a secret is stored and compared as.
#[must_use]
pub fn hash(token: &ReservationToken) -> TokenHash {
    TokenHash(Sha256::digest(token.secret()).into())
}

/// Tells the writer of every process that was found dead, once whoever started it has had the time to say how it ended. Of
/// those that ended while the daemon was not there, `unsaid` are given as much of it as there is: their parents look for the
/// daemon first.
async fn forward(
    shared: Arc<Shared>,
    mut deaths: mpsc::UnboundedReceiver<HolderProcess>,
    unsaid: BTreeSet<HolderProcess>,
) {
    while let Some(process) = deaths.recv().await {
        if shared.is_waited_for(&process) && !shared.liveness.may_have_succeeded(&process) {
            // Should the writer be behind, they hear of it below.
            drop(shared.post(Message::Gone(process.clone())));
        }
        let (shared, is_unsaid) = (Arc::clone(&shared), unsaid.contains(&process));
        tokio::spawn(async move {
            let mut looked_at = shared.clock.monotonic_ms();
            for _ in 0..MOST_GRACES {
                // The time is what is waited for.
                let _elapsed = tokio::time::timeout(RELEASE_GRACE, std::future::pending::<()>()).await;
                let now = shared.clock.monotonic_ms();
                let has_waited = Duration::from_millis(now.saturating_sub(std::mem::replace(&mut looked_at, now)));
                // Whoever wakes this late may have its word unread, too.
                let is_starved = has_waited > RELEASE_GRACE * 2;
                let may_be_told = is_unsaid && shared.liveness.may_have_succeeded(&process);
                if !is_starved && !may_be_told && !shared.liveness.is_being_reaped(&process) {
                    break;
                }
            }
            // What it said by then is taken first.
            Fence::new().pass().await;
            // A death must not be lost because the writer is behind. Fails only once the writer has stopped.
            drop(shared.inbox.send(Message::Died(process)));
        });
    }
}
