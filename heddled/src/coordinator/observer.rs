//! Looks where the branches of threads are: plain Git moves them as it likes, and the registry says so in its log.
//!
//! Threads with an active session are looked at once a second, a thread whose session has ended once more, and all others
//! when somebody asks for them. Nobody waits for a look, and no grant does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto_schema::{ObjectId, SessionId, SessionStatus, ThreadName};
use tokio::sync::Notify;
use tracing::debug;

use super::message::Message;
use super::shared::Shared;
use super::snapshot::Snapshot;
use crate::registry::{Observation, Registry, RepoId, SessionRecord, ThreadKey};

/// How often the threads that are held are looked at, in milliseconds.
const EVERY_MS: u64 = 1000;

/// A look takes at most one part in this many of a core: where more threads are held than that allows, it comes later.
const SHARE: u64 = 20;

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
}

/// One thread to look at, and the session whose end is the reason.
type Look<'a> = (RepoId, &'a ThreadName, Option<SessionId>);

/// Runs for as long as the daemon does.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut next = shared.clock.monotonic_ms() + EVERY_MS;
    loop {
        let wait = Duration::from_millis(next.saturating_sub(shared.clock.monotonic_ms()));
        let is_due = tokio::time::timeout(wait, shared.left.abandoned.notified()).await.is_err();
        let began = shared.clock.monotonic_ms();
        let worker = Arc::clone(&shared);
        // A failure is that of a worker which has said why.
        let _looked = super::blocking("looking at the branches", move || {
            look(&worker, is_due);
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
pub(super) fn look(shared: &Shared, held: bool) {
    let left = std::mem::take(&mut *shared.left.threads.lock());
    let committed = shared.committed.load_full();
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
    }
}

/// Those of one repository's threads that are not where their records say.
fn news(shared: &Shared, committed: &Snapshot, looks: &[Look<'_>]) -> Vec<Observation> {
    let Some(repo) = looks.first().and_then(|(repo, ..)| committed.registry.repo(*repo)) else { return Vec::new() };
    let threads: Vec<&ThreadName> = looks.iter().map(|(_, thread, _)| *thread).collect();
    // Another repository may have taken its place.
    let is_there = shared.repo.locate(&repo.git_dir).is_ok_and(|there| there.key == repo.key);
    let Some(tips) = is_there.then(|| shared.repo.tips(&repo.git_dir, &threads).ok()).flatten() else {
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
