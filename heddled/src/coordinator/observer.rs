//! Looks where the branches of threads are: plain Git moves them as it likes, and the registry says so in its log.
//!
//! Threads with an active session are looked at once a second, a thread whose session has ended once more, and all others
//! when somebody asks for them. Nobody waits for a look, and no grant does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto_schema::{ObjectId, SessionId, SessionStatus, ThreadName};
use tokio::sync::Notify;
use tracing::debug;

use super::message::Message;
use super::shared::Shared;
use super::snapshot::Snapshot;
use super::{Settings, is_taken_over};
use crate::registry::{Observation, Registry, RepoId, RepoRecord, SessionRecord, ThreadKey};
use crate::repo::{RefsVersion, folder_of};

/// How often the threads that are held are looked at, in milliseconds.
const EVERY_MS: u64 = 1000;

/// A look takes at most one part in this many of a core: where more threads are held than that allows, it comes later.
const SHARE: u64 = 20;

/// The most looks in a row that are left out: a ref that something else than Git writes in place leaves no sign in its folder.
const SKIPPED_AT_MOST: u32 = 30;

/// The threads whose sessions have ended since they were last looked at, each with its latest one.
#[derive(Default)]
pub(super) struct Left {
    threads: Mutex<BTreeMap<ThreadKey, SessionId>>,
    /// Told when one of them must not wait for the next look: whether it has changes decides what its thread is.
    abandoned: Notify,
}

impl Left {
    pub(super) fn add(&self, session: &SessionRecord) {
        self.threads.lock().insert(session.thread_key(), session.id);
        if session.status == SessionStatus::Abandoned {
            self.abandoned.notify_one();
        }
    }

    /// The session whose end the next look at the thread follows: whoever looks first says so.
    pub(super) fn session(&self, thread: &ThreadKey) -> Option<SessionId> {
        self.threads.lock().get(thread).copied()
    }
}

/// One thread to look at, and the session whose end is the reason.
type Look<'a> = (RepoId, &'a ThreadName, Option<SessionId>);

/// What the last look at the threads that are held found to be as recorded. While neither the registry nor any folder of
/// their branches has changed, there is nothing to look at: a daemon with thousands of sessions may be idle.
#[derive(Default)]
pub(super) struct Calm {
    /// The registry's revision then.
    revision: u64,
    /// How often nothing was looked at since.
    skipped: u32,
    repos: BTreeMap<RepoId, (BTreeSet<PathBuf>, Option<RefsVersion>)>,
}

impl Calm {
    /// Whether everything is still as it was.
    fn lasts(&mut self, shared: &Shared, registry: &Registry) -> bool {
        let same = |(repo, (folders, version)): (&RepoId, &(BTreeSet<PathBuf>, Option<RefsVersion>))| {
            let repo = registry.repo(*repo);
            version.is_some() && repo.is_some_and(|repo| shared.repo.version(&repo.git_dir, folders) == *version)
        };
        let lasts =
            self.revision == registry.revision() && self.skipped < SKIPPED_AT_MOST && self.repos.iter().all(same);
        self.skipped = if lasts { self.skipped + 1 } else { 0 };
        lasts
    }

    /// Notes what is about to be looked at.
    fn begin(shared: &Shared, registry: &Registry) -> Self {
        let mut repos: BTreeMap<RepoId, (BTreeSet<PathBuf>, Option<RefsVersion>)> = BTreeMap::new();
        for (repo, thread) in registry.held() {
            repos.entry(*repo).or_default().0.insert(folder_of(thread));
        }
        for (repo, (folders, version)) in &mut repos {
            *version = registry.repo(*repo).and_then(|repo| shared.repo.version(&repo.git_dir, folders));
        }
        Self { revision: registry.revision(), skipped: 0, repos }
    }
}

/// Runs for as long as the daemon does.
pub(super) async fn run(shared: Arc<Shared>, settings: Arc<Settings>) {
    let calm = Arc::new(Mutex::new(Calm::default()));
    let mut next = shared.clock.monotonic_ms() + EVERY_MS;
    loop {
        let wait = Duration::from_millis(next.saturating_sub(shared.clock.monotonic_ms()));
        let is_due = tokio::time::timeout(wait, shared.left.abandoned.notified()).await.is_err();
        let began = shared.clock.monotonic_ms();
        let (worker, settings, calm) = (Arc::clone(&shared), Arc::clone(&settings), Arc::clone(&calm));
        // A failure is that of a worker which has said why.
        let _looked = super::blocking("looking at the branches", move || {
            let mut calm = calm.lock();
            look(&worker, is_due, &mut calm);
            if is_due {
                look_at_owners(&worker, &settings, &calm);
            }
            Ok(())
        })
        .await;
        if is_due {
            let done = shared.clock.monotonic_ms();
            next = done + EVERY_MS.max(done.saturating_sub(began) * SHARE);
        }
    }
}

/// Looks at the threads that were left, and with `held` at those that are held, and tells the writer what is news.
pub(super) fn look(shared: &Shared, held: bool, calm: &mut Calm) {
    let left = std::mem::take(&mut *shared.left.threads.lock());
    let committed = shared.committed.load_full();
    let held = held && !calm.lasts(shared, &committed.registry);
    if held {
        // Before the look: what changes meanwhile shows at the next one.
        *calm = Calm::begin(shared, &committed.registry);
    }
    let left = left.iter().map(|((repo, thread), session)| (*repo, thread, Some(*session)));
    let mut looks: Vec<Look<'_>> = left.collect();
    if held {
        looks.extend(committed.registry.held().map(|(repo, thread)| (*repo, thread, None)));
        looks.sort_by_key(|(repo, ..)| *repo);
    }
    let news: Vec<Observation> =
        looks.chunk_by(|one, other| one.0 == other.0).flat_map(|looks| news(shared, &committed, looks)).collect();
    if !news.is_empty()
        && let Err(failure) = shared.post(Message::Observed(news))
    {
        debug!(?failure, "what plain Git did is told at the next look");
        *calm = Calm::default();
    }
}

/// Looks whether another registry has taken over a repository with sessions. It cannot while it sees this daemon run, but this
/// daemon may have started while the repository was away, or lost its state directory's name.
fn look_at_owners(shared: &Shared, settings: &Settings, calm: &Calm) {
    let registry = &shared.committed.load().registry;
    let is_lost = |repo: &RepoId| {
        let there = registry.repo(*repo).filter(|repo| is_there(shared, repo));
        there.is_some_and(|repo| is_taken_over(shared, settings, repo))
    };
    let lost: Vec<RepoId> = calm.repos.keys().copied().filter(is_lost).collect();
    if !lost.is_empty()
        && let Err(failure) = shared.post(Message::TakenOver(lost))
    {
        debug!(?failure, "sessions of a repository that was taken over end at the next look");
    }
}

/// Whether a repository is where its record says: another may have taken its place.
fn is_there(shared: &Shared, repo: &RepoRecord) -> bool {
    shared.repo.locate(&repo.git_dir).is_ok_and(|there| there.key == repo.key)
}

/// Those of one repository's threads that are not where their records say.
fn news(shared: &Shared, committed: &Snapshot, looks: &[Look<'_>]) -> Vec<Observation> {
    let Some(repo) = looks.first().and_then(|(repo, ..)| committed.registry.repo(*repo)) else { return Vec::new() };
    let threads: Vec<&ThreadName> = looks.iter().map(|(_, thread, _)| *thread).collect();
    let Some(tips) = is_there(shared, repo).then(|| shared.repo.tips(&repo.git_dir, &threads).ok()).flatten() else {
        return Vec::new();
    };
    let readable = looks.iter().zip(tips).filter_map(|(look, tip)| Some((look, tip.ok()?)));
    let observed = readable.filter_map(|((repo, thread, ended), tip)| {
        let observation = observation(&committed.registry, (*repo, (*thread).clone()), tip)?;
        Some(Observation { ended: *ended, ..observation })
    });
    observed.collect()
}

/// What a thread's tip, read after `registry` was, says that the thread's record does not.
pub(super) fn observation(registry: &Registry, thread: ThreadKey, tip: Option<ObjectId>) -> Option<Observation> {
    let record = registry.thread(&thread)?;
    (record.current_state != tip).then(|| Observation { thread, tip, seen: registry.revision(), ended: None })
}
