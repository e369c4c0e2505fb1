//! Looks where the branches of threads are: plain Git moves them as it likes, and the registry says so in its log.
//!
//! Threads with an active session are looked at once a second, a thread whose session has ended once more, and all others
//! when somebody asks for them. Nobody waits for a look, and no grant does.
//!
//! Each repository is looked at on its own, once at a time. A look that does not end delays no other repository's: the round
//! goes on without it, and its repository is left out until it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use proto_schema::{ObjectId, SessionId, SessionStatus, ThreadName};
use tokio::sync::Notify;
use tracing::debug;

use super::Settings;
use super::identity::Presence;
use super::message::Message;
use super::recover::is_taken_over;
use super::shared::Shared;
use super::snapshot::Snapshot;
use crate::registry::{Observation, Registry, RepoId, RepoRecord, SessionRecord, ThreadKey};
use crate::repo::{RefsVersion, folder_of};

/// How often the threads that are held are looked at, in milliseconds.
const EVERY_MS: u64 = 1000;

/// A look takes at most one part in this many of a core: where more threads are held than that allows, it comes later.
const SHARE: u64 = 20;

/// How many repositories are looked at at one time.
const AT_ONCE: usize = 4;

/// How long a round waits for the look at one repository.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most looks in a row that are left out: a ref that something else than Git writes in place leaves no sign in its folder.
const SKIPPED_AT_MOST: u32 = 30;

/// The threads whose sessions have ended since they were last looked at, each with its latest one.
#[derive(Default)]
pub(super) struct Left {
    threads: Mutex<BTreeMap<ThreadKey, SessionId>>,
    /// Notified when one of them must not wait for the next look: whether it has changes decides what its thread is.
    abandoned: Notify,
}

impl Left {
    pub(super) fn add(&self, session: &SessionRecord) {
        self.threads.lock().insert(session.thread_key(), session.id);
        if session.status == SessionStatus::Abandoned {
            self.abandoned.notify_one();
        }
    }

    /// Waits until a thread is to be looked at at once.
    pub(super) async fn must_not_wait(&self) {
        self.abandoned.notified().await;
    }

    /// The repositories that they are in.
    fn repositories(&self) -> BTreeSet<RepoId> {
        self.threads.lock().keys().map(|(repo, _)| *repo).collect()
    }

    /// Takes those of one repository.
    fn take(&self, repo: RepoId) -> BTreeMap<ThreadKey, SessionId> {
        let mut threads = self.threads.lock();
        let (taken, left) = std::mem::take(&mut *threads).into_iter().partition(|((of, _), _)| *of == repo);
        *threads = left;
        taken
    }

    /// The session whose end the next look at the thread follows: whoever looks first says so.
    pub(super) fn session(&self, thread: &ThreadKey) -> Option<SessionId> {
        self.threads.lock().get(thread).copied()
    }
}

/// One thread to look at, and the session whose end is the reason.
type Look<'a> = (&'a ThreadName, Option<SessionId>);

/// What the last look at the threads of a repository that are held found to be as recorded. While neither the registry nor any
/// folder of their branches has changed, there is nothing to look at: a daemon with thousands of sessions may be idle.
#[derive(Default)]
struct Calm {
    /// The registry's revision then.
    revision: u64,
    /// How often nothing was looked at since.
    skipped: u32,
    folders: BTreeSet<PathBuf>,
    version: Option<RefsVersion>,
}

impl Calm {
    /// Whether everything is still as it was.
    fn lasts(&mut self, shared: &Shared, registry: &Registry, repo: &RepoRecord) -> bool {
        let lasts = self.revision == registry.revision()
            && self.skipped < SKIPPED_AT_MOST
            && self.version.is_some()
            && shared.repo.version(&repo.git_dir, &self.folders) == self.version;
        self.skipped = if lasts { self.skipped + 1 } else { 0 };
        lasts
    }

    /// Notes what is about to be looked at.
    fn begin(shared: &Shared, registry: &Registry, repo: &RepoRecord) -> Self {
        let folders = registry.held(repo.id).map(folder_of).collect();
        let version = shared.repo.version(&repo.git_dir, &folders);
        Self { revision: registry.revision(), skipped: 0, folders, version }
    }
}

/// What is known of a repository between two looks.
#[derive(Default)]
struct Watched {
    calm: Mutex<Calm>,
    /// Whether a look at it is under way.
    is_busy: AtomicBool,
}

/// What is known of all repositories between two rounds.
#[derive(Default)]
struct AllWatched {
    repositories: BTreeMap<RepoId, Arc<Watched>>,
    /// Those with threads that were held at this revision.
    held: BTreeSet<RepoId>,
    revision: u64,
}

/// A look that is under way, for as long as this lives.
struct UnderWay(Arc<Watched>);

impl UnderWay {
    /// Begins a look, unless one is under way.
    fn begin(watched: &Arc<Watched>) -> Option<Self> {
        (!watched.is_busy.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(watched)))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Release);
    }
}

/// Runs for as long as the daemon does.
pub(super) async fn run(shared: Arc<Shared>, settings: Arc<Settings>) {
    let mut watched = AllWatched::default();
    let mut next = shared.clock.monotonic_ms() + EVERY_MS;
    loop {
        let wait = Duration::from_millis(next.saturating_sub(shared.clock.monotonic_ms()));
        let is_due = tokio::time::timeout(wait, shared.left.must_not_wait()).await.is_err();
        let took = round(&shared, &settings, &mut watched, is_due).await;
        if is_due {
            next = shared.clock.monotonic_ms() + EVERY_MS.max(took * SHARE);
        }
    }
}

/// Looks at the repositories with threads that were left, and with `held` at those with threads that are held. Returns for how
/// long threads were busy with it, in milliseconds.
async fn round(shared: &Arc<Shared>, settings: &Arc<Settings>, watched: &mut AllWatched, held: bool) -> u64 {
    let committed = shared.committed.load_full();
    let mut repositories = shared.left.repositories();
    if held {
        if watched.revision != committed.registry.revision() {
            watched.revision = committed.registry.revision();
            watched.held = committed.registry.held_repositories();
        }
        repositories.extend(&watched.held);
        watched.repositories.retain(|repo, _| repositories.contains(repo));
    }
    let took = Arc::new(AtomicU64::new(0));
    let mut looks = Vec::new();
    for repo in repositories.into_iter().filter_map(|repo| committed.registry.repo(repo).cloned()) {
        if shared.recovery.is_pending(repo.id) {
            continue;
        }
        let Some(under_way) = UnderWay::begin(watched.repositories.entry(repo.id).or_default()) else { continue };
        let (shared, settings, took) = (Arc::clone(shared), Arc::clone(settings), Arc::clone(&took));
        let (worker, git_dir) = (Arc::clone(&shared), Arc::clone(&repo.git_dir));
        let work = move || {
            let began = worker.clock.monotonic_ms();
            let mut calm = under_way.0.calm.lock();
            look(&worker, &repo, held, &mut calm);
            if held {
                look_at_owner(&worker, &settings, &repo);
            }
            took.fetch_add(worker.clock.monotonic_ms().saturating_sub(began), Ordering::Relaxed);
            Ok(())
        };
        looks.push(async move {
            // A task of its own: it goes on where it is not waited for any longer. The pool logs a failure.
            let look = tokio::spawn(async move { shared.upkeep(&git_dir, "look at the branches", work).await });
            drop(tokio::time::timeout(PATIENCE, look).await);
        });
    }
    futures_util::stream::iter(looks).for_each_concurrent(AT_ONCE, |look| look).await;
    took.load(Ordering::Relaxed)
}

/// Looks at all repositories, one after the other.
#[cfg(test)]
pub(super) fn look_at_all(shared: &Shared) {
    let committed = shared.committed.load_full();
    committed.registry.repos().for_each(|repo| look(shared, repo, true, &mut Calm::default()));
}

/// Looks at the threads of a repository that were left, and with `held` at those that are held, and sends the writer what is
/// news.
fn look(shared: &Shared, repo: &RepoRecord, held: bool, calm: &mut Calm) {
    let left = shared.left.take(repo.id);
    let committed = shared.committed.load_full();
    let held = held && !calm.lasts(shared, &committed.registry, repo);
    if held {
        // Before the look: what changes meanwhile shows at the next one.
        *calm = Calm::begin(shared, &committed.registry, repo);
    }
    let mut looks: Vec<Look<'_>> = left.iter().map(|((_, thread), session)| (thread, Some(*session))).collect();
    if held {
        looks.extend(committed.registry.held(repo.id).map(|thread| (thread, None)));
    }
    let news = news(shared, &committed, repo, &looks);
    if !news.is_empty()
        && let Err(failure) = shared.post(Message::Observed(news))
    {
        debug!(?failure, "what plain Git did is recorded at the next look");
        *calm = Calm::default();
    }
}

/// Looks whether another registry has taken over a repository with sessions. It cannot while it sees this daemon run, but this
/// daemon may have started while the repository was away, or lost its state directory's name.
fn look_at_owner(shared: &Shared, settings: &Settings, repo: &RepoRecord) {
    let message = match shared.presence(repo) {
        // Its sessions were in the middle of a change when it was found to be gone.
        _ if repo.key.is_nowhere() => Message::Replaced(vec![repo.id]),
        Presence::Replaced => Message::Replaced(vec![repo.id]),
        Presence::Here if is_taken_over(shared, settings, repo) => Message::TakenOver(vec![repo.id]),
        Presence::Here | Presence::Away => return,
    };
    if let Err(failure) = shared.post(message) {
        debug!(?failure, "sessions of a repository that is another's end at the next look");
    }
}

/// Whether a repository is where its record says: another may have taken its place.
fn is_there(shared: &Shared, repo: &RepoRecord) -> bool {
    shared.presence(repo) == Presence::Here
}

/// Those of one repository's threads that are not where their records say.
fn news(shared: &Shared, committed: &Snapshot, repo: &RepoRecord, looks: &[Look<'_>]) -> Vec<Observation> {
    if looks.is_empty() {
        return Vec::new();
    }
    let threads: Vec<&ThreadName> = looks.iter().map(|(thread, _)| *thread).collect();
    let Some(tips) = is_there(shared, repo).then(|| shared.repo.tips(&repo.git_dir, &threads).ok()).flatten() else {
        return Vec::new();
    };
    let readable = looks.iter().zip(tips).filter_map(|(look, tip)| Some((look, tip.ok()?)));
    let observed = readable.filter_map(|((thread, ended), tip)| {
        let observation = observation(&committed.registry, (repo.id, (*thread).clone()), tip)?;
        Some(Observation { ended: *ended, ..observation })
    });
    observed.collect()
}

/// What a thread's tip, read after `registry` was, says that the thread's record does not.
pub(super) fn observation(registry: &Registry, thread: ThreadKey, tip: Option<ObjectId>) -> Option<Observation> {
    let record = registry.thread(&thread)?;
    (record.current_state != tip).then(|| Observation { thread, tip, seen: registry.revision(), ended: None })
}
