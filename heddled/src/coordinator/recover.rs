//! What a start has to settle: first what concerns no repository, at once, and then each repository on its own, while the daemon
//! serves.
//!
//! Until a repository has answered, it is *pending*: nothing is granted, moved or captured in it, and its calls wait, for 30 s at
//! most. Its sessions stay, and those with an open intent cannot end, as if their Git work were under way. A repository that
//! cannot be read is asked again, later each time. A repository is pending once at most, and no more from then on: whoever has
//! seen that it is not may go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use proto_schema::{EndReason, SessionId, SessionStatus};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use super::failure::Failure;
use super::identity::{self, Presence};
use super::message::Message;
use super::pool::{self, PATIENCE};
use super::shared::Shared;
use super::writer::Writer;
use super::{Coordinator, Settings};
use crate::liveness::Verdict;
use crate::registry::{Change, Ending, HolderProcess, Intent, RepoId, RepoRecord, SessionRecord};
use crate::repo::{Cause, Error, Expected, Located, MarkSeen};

const OPERATION: &str = "settle what was left open there";

/// How many repositories are settled at one time, as long as they answer.
const AT_ONCE: usize = 8;

/// How long the next repository waits for one that does not answer.
const PACE: Duration = Duration::from_secs(1);

/// How long a repository that cannot be read is left alone: twice as long each time, up to the second.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The repositories that are pending.
pub(super) struct Recovery(watch::Sender<BTreeMap<RepoId, RepoRecord>>);

impl Default for Recovery {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }
}

impl Recovery {
    /// Whether a repository is pending.
    pub(super) fn is_pending(&self, repo: RepoId) -> bool {
        self.0.borrow().contains_key(&repo)
    }

    /// The pending repository that a located one may be: its record has the place or the key.
    pub(super) fn of(&self, there: &Located) -> Option<RepoId> {
        let has_mark = |repo: &RepoRecord| repo.mark.is_some_and(|mark| there.mark == MarkSeen::Id(mark));
        let is_it = |repo: &RepoRecord| repo.key == there.key || *repo.git_dir == *there.git_dir || has_mark(repo);
        self.0.borrow().values().find(|repo| is_it(repo)).map(|repo| repo.id)
    }

    /// Fails where a located repository may be a pending one.
    pub(super) fn refuse_pending(&self, there: &Located) -> Result<(), Failure> {
        self.of(there).map_or(Ok(()), |repo| Err(Failure::Recovering(repo)))
    }

    /// Waits until a repository is not pending any more.
    pub(super) async fn wait_for(&self, repo: RepoId) -> Result<(), Failure> {
        let Some(path) = self.0.borrow().get(&repo).map(|repo| Arc::clone(&repo.git_dir)) else { return Ok(()) };
        let mut pending = self.0.subscribe();
        let settled = timeout(PATIENCE, pending.wait_for(|pending| !pending.contains_key(&repo))).await;
        settled.map(drop).map_err(|_| pool::no_answer(&path, OPERATION))
    }

    /// A repository is not pending any more.
    pub(super) fn end(&self, repo: RepoId) {
        self.0.send_modify(|pending| drop(pending.remove(&repo)));
    }

    /// None is pending any more: nothing can be recorded, and nothing is granted either.
    pub(super) fn end_all(&self) {
        self.0.send_modify(BTreeMap::clear);
    }

    fn pending(&self) -> Vec<RepoId> {
        self.0.borrow().keys().copied().collect()
    }
}

/// What a repository says of what was left open in it.
pub(super) struct Recovered {
    pub(super) repo: RepoId,
    /// Its record, where its key is another than before.
    pub(super) seen: Option<RepoRecord>,
    /// Why this registry does not decide about it any more, where that is so.
    pub(super) lost: Option<&'static str>,
    /// What became of its open intents.
    pub(super) changes: Vec<Change>,
}

/// Makes the state that was loaded the state of this daemon, as far as no repository has to be asked. Returns the holders that
/// have ended, and whose parents have not yet said how: their sessions have not ended.
pub(super) fn begin(shared: &Shared, writer: &mut Writer, settings: &Settings) -> BTreeSet<HolderProcess> {
    if shared.committed.load().registry.counters().mark_key.is_none() {
        writer.change(Change::MarkKeyDrawn(settings.claim.key));
        // Before anything is signed with it.
        writer.commit();
    }
    writer.change(Change::DaemonStarted { version: Arc::clone(&settings.version), pid: std::process::id() });
    let loaded = shared.committed.load_full();
    let pending = loaded.registry.repos().map(|repo| (repo.id, RepoRecord::clone(repo))).collect();
    shared.recovery.0.send_replace(pending);
    let mut unsaid = BTreeSet::new();
    for session in loaded.registry.active(None) {
        writer.begin(session);
        let Some(process) = &session.hold.process else { continue };
        match shared.liveness.check(process) {
            // The watch that has begun finds it, too.
            Verdict::Exited if shared.liveness.may_have_succeeded(process) => {
                unsaid.insert(process.clone());
            }
            Verdict::Exited => writer.end(session.id, EndReason::ProcessExited),
            Verdict::BootChanged => writer.end(session.id, EndReason::BootChanged),
            Verdict::OtherNamespace => writer.begin_with_unknown_holder(session),
            Verdict::Alive | Verdict::Unknown => {}
        }
    }
    writer.commit();
    unsaid
}

/// Settles every pending repository. One that does not answer keeps no other waiting for long.
pub(super) async fn run(shared: Arc<Shared>, settings: Arc<Settings>) {
    let repositories = futures_util::stream::iter(shared.recovery.pending());
    let settle = |repo| {
        // A task of its own: it goes on where it is not waited for any longer.
        let settled = tokio::spawn(settle(Arc::clone(&shared), Arc::clone(&settings), repo));
        async move { drop(timeout(PACE, settled).await) }
    };
    repositories.for_each_concurrent(AT_ONCE, settle).await;
}

async fn settle(shared: Arc<Shared>, settings: Arc<Settings>, id: RepoId) {
    let mut pause = AGAIN.0;
    while shared.recovery.is_pending(id) {
        let Some(repo) = shared.committed.load().registry.repo(id).cloned() else { return shared.recovery.end(id) };
        let (worker, settings, git_dir) = (Arc::clone(&shared), Arc::clone(&settings), Arc::clone(&repo.git_dir));
        let look = move || look(&worker, &settings, &repo).map_err(Failure::from);
        match shared.upkeep(&git_dir, OPERATION, look).await {
            // Fails only when the writer has stopped.
            Ok(recovered) => return drop(shared.inbox.send(Message::Recovered(Box::new(recovered)))),
            Err(failure) => {
                warn!(repo = %git_dir.display(), ?failure, "a repository stays closed until it can be read");
            }
        }
        // The time is what is waited for.
        let _elapsed = timeout(pause, std::future::pending::<()>()).await;
        pause = (pause * 2).min(AGAIN.1);
    }
}

/// Looks what became of what was left open in a repository, and brings it to its end. Fails where the repository cannot be read;
/// that it is gone is an answer.
pub(super) fn look(shared: &Shared, settings: &Settings, repo: &RepoRecord) -> Result<Recovered, Error> {
    let committed = shared.committed.load_full();
    let seen = match shared.repo.locate(&repo.git_dir) {
        Ok(there) => identity::seen_again(&committed.registry, repo, &there),
        Err(error @ Error::Unavailable { .. }) => return Err(error),
        Err(_) => None,
    };
    let mut recovered = Recovered { repo: repo.id, seen, lost: None, changes: Vec::new() };
    let mut sessions = committed.registry.active(None).filter(|session| session.repo == repo.id).peekable();
    if sessions.peek().is_none() {
        return Ok(recovered);
    }
    recovered.lost = if shared.presence(repo) == Presence::Replaced {
        Some(REPLACED)
    } else {
        is_taken_over(shared, settings, repo).then_some(TAKEN_OVER)
    };
    if recovered.lost.is_none() {
        recovered.changes = sessions.flat_map(|session| settle_intent(shared, repo, session)).collect();
        // After the captures that are recorded: what is left belongs to none of them.
        if let Err(error) = shared.repo.clear_captures(&repo.git_dir) {
            warn!(repo = %repo.shown, %error, "what a capture left behind could not be removed");
        }
    }
    Ok(recovered)
}

impl Coordinator {
    /// Waits until all repositories are settled, or for so long.
    pub async fn recovered(&self, within: Duration) {
        let mut pending = self.shared.recovery.0.subscribe();
        // Whether it was in time makes no difference here.
        let _settled = timeout(within, pending.wait_for(BTreeMap::is_empty)).await;
    }
}

/// Whether another registry decides about a repository now.
pub(super) fn is_taken_over(shared: &Shared, settings: &Settings, repo: &RepoRecord) -> bool {
    // Or by a copy of this one, restored from a backup into another state directory.
    let by_a_copy = |cause: &Cause| matches!(cause, Cause::LaterEra { elsewhere: true, .. });
    match shared.claim_known(settings, repo) {
        Err(Error::Owned { .. }) => true,
        Err(Error::Unavailable { cause, .. }) => by_a_copy(&cause),
        Ok(()) | Err(_) => false,
    }
}

/// Another registry decides about the repository now.
pub(super) const TAKEN_OVER: &str = "another registry took the repository over";
/// The repository is gone.
pub(super) const REPLACED: &str = "the repository was removed, and another one is at its place";

/// The end of a session whose repository this registry does not decide about any more.
pub(super) fn ended_with_repository(session: SessionId, why: &str) -> Change {
    let note = why.parse().ok();
    let (status, reason) = (SessionStatus::Abandoned, EndReason::Evicted);
    Change::Ended(Box::new(Ending { session, status, reason, by: None, note }))
}

/// Brings a change of Git that a crash left open to its end, by what the branch says.
fn settle_intent(shared: &Shared, repo: &RepoRecord, session: &SessionRecord) -> Vec<Change> {
    let Some(intent) = &session.intent else { return Vec::new() };
    let id = session.id;
    let new = match intent {
        Intent::Move { new, .. } => *new,
        Intent::Capture(capture) => capture.new,
        Intent::Create | Intent::Worktree => session.anchor_state,
    };
    let tip = {
        match shared.repo.clear_lock(&repo.git_dir, &session.thread, new) {
            Ok(true) => info!(session = %id, thread = %session.thread, "a lock that a crash left behind was removed"),
            Ok(false) => {}
            Err(error) => warn!(session = %id, %error, "a lock that a crash left behind could not be removed"),
        }
        let tip = shared.repo.tip(&repo.git_dir, &session.thread);
        // Where the branch is there already, the daemon may have been killed before it had waited for the disk.
        if matches!(tip, Ok(Some(tip)) if tip == new) && *intent != Intent::Worktree {
            let (log, there) = (format!("heddle: settled {id}"), Expected::At(new));
            if let Err(error) = shared.repo.compare_and_swap(&repo.git_dir, &session.thread, there, new, &log) {
                warn!(session = %id, %error, "a branch that a crash cut off could not be made durable");
            }
        }
        tip
    };
    let ended = |reason| {
        let status = SessionStatus::Abandoned;
        Change::Ended(Box::new(Ending { session: id, status, reason, by: None, note: None }))
    };
    let settled = |created| {
        let settled = Change::Settled { session: id, created, path: None };
        match session.request {
            // Its caller never had an answer and will not ask again: no ghosts.
            None => vec![settled, ended(EndReason::ConnectionLost)],
            Some(_) => vec![settled],
        }
    };
    match (intent, tip) {
        (Intent::Create, Ok(Some(tip))) if tip == session.anchor_state => settled(true),
        (Intent::Create, Ok(None)) if session.request.is_some() => {
            let (log, absent) = (format!("heddle: reserved by {id}"), Expected::Absent);
            match shared.repo.compare_and_swap(&repo.git_dir, &session.thread, absent, session.anchor_state, &log) {
                Ok(()) => settled(true),
                Err(error) => {
                    warn!(session = %id, %error, "a reserve that was cut off could not be finished");
                    vec![ended(EndReason::ReserveFailed)]
                }
            }
        }
        (Intent::Create, Ok(None)) => vec![ended(EndReason::ConnectionLost)],
        (Intent::Create, ..) => vec![ended(EndReason::ReserveFailed)],
        (Intent::Worktree, ..) => settled(false),
        (Intent::Move { expected, new }, Ok(Some(tip))) if tip == *new => {
            vec![Change::Moved { session: id, before: *expected, after: *new }]
        }
        (Intent::Capture(capture), Ok(tip)) => {
            let (prepared, log) = (super::capture::prepared(capture), super::capture::log(id));
            if let Err(error) = shared.repo.recover_capture(&repo.git_dir, &session.thread, &prepared, &log) {
                warn!(session = %id, %error, "a capture that was cut off could not be brought to its end");
            }
            let is_moved = tip == Some(capture.new);
            vec![if is_moved { capture.change(id) } else { Change::MoveDropped { session: id } }]
        }
        (Intent::Move { .. } | Intent::Capture(_), ..) => vec![Change::MoveDropped { session: id }],
    }
}
