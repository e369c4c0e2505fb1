//! Capturing: committing what a worktree has onto its session's thread.
//!
//! What takes long, the reading of the worktree, is done before the intent: until then the session may end, which cancels
//! the capture and leaves everything as it was. From the intent to the outcome the session cannot end.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto_schema::{Attribution, ObjectId, SessionId};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::warn;

use super::Coordinator;
use super::captures::{Cancellable, Turn};
use super::failure::Failure;
use super::patience::Waited;
use super::pool::{self, PATIENCE};
use super::snapshot::View;
use crate::registry::{
    CaptureIntent, Command, Intent, Refusal, RepoRecord, SessionRecord, TokenHash, active, authorized, find,
};
use crate::repo::{Capture, CaptureRequest, Error, Expected, PreparedCapture, Repo};

/// What is to be captured, as the server took it from the wire.
#[derive(Clone, Debug, Default)]
pub struct CaptureCall {
    /// One of the repository's worktrees; the session's own where none is named.
    pub worktree: Option<PathBuf>,
    /// The message of the commit.
    pub message: Option<String>,
    /// How sure the agent is, 0 to 1.
    pub confidence: Option<f64>,
}

/// What a capture came to.
#[derive(Clone, Debug)]
pub struct Captured {
    /// The session.
    pub view: View,
    /// Whether there was anything to commit.
    pub created: bool,
    /// The thread's tip.
    pub state: ObjectId,
    /// The state before, where a commit was made.
    pub parent: Option<ObjectId>,
    /// The tip's tree.
    pub root: ObjectId,
    /// Which paths differ from the parent, the first 100 of them.
    pub changed_paths: Vec<String>,
    /// How many do.
    pub changed_count: u64,
}

/// What the writer, Git and the disk are to make of a commit that no ref leads to yet.
struct Ready {
    prepared: PreparedCapture,
    root: ObjectId,
    changed_paths: Vec<String>,
    changed_count: u64,
}

/// A capture that has begun.
struct Begun {
    session: SessionId,
    token: TokenHash,
    repo: Arc<RepoRecord>,
    cancellable: Arc<Cancellable>,
}

impl Coordinator {
    /// Commits everything that a worktree has onto the session's thread. On return the commit and the branch are durable,
    /// and Git sees nothing to commit.
    ///
    /// # Errors
    /// `Refused`: not found, token, inactive. `Stale`: the session ended meanwhile, and nothing was written. `Repo`: the
    /// worktree cannot be captured as it is, or the branch is elsewhere.
    pub async fn capture(&self, id: SessionId, token: TokenHash, call: CaptureCall) -> Result<Captured, Failure> {
        let committed = self.snapshot();
        let session = active(authorized(&committed.registry, id, token)?)?;
        let repo =
            committed.registry.repo(session.repo).cloned().ok_or(Failure::Broken("a session without repository"))?;
        self.progressed(&committed, session);
        self.shared.recovery.wait_for(repo.id).await?;
        let cancellable = Arc::new(Cancellable::new(&self.shared, id));
        let begun = Begun { session: id, token, repo, cancellable };
        let (coordinator, git_dir) = (self.clone(), Arc::clone(&begun.repo.git_dir));
        let (completing, completes) = oneshot::channel();
        // A task of its own: a caller that is dropped half way must not leave the worktree locked.
        let mut captured = tokio::spawn(async move { coordinator.capture_in_turn(begun, call, completing).await });
        let is_late = async {
            match completes.await {
                // The time is what is waited for. The outcome is recorded whenever the repository answers.
                Ok(()) => drop(timeout(PATIENCE, pending::<()>()).await),
                // It ends before that.
                Err(_) => pending().await,
            }
        };
        tokio::select! {
            captured = &mut captured => captured.unwrap_or(Err(Failure::Broken("capturing"))),
            () = is_late => Err(pool::no_answer(&git_dir, "complete the capture")),
        }
    }

    /// Signals `completing` before the branch is moved.
    async fn capture_in_turn(
        &self,
        begun: Begun,
        call: CaptureCall,
        completing: oneshot::Sender<()>,
    ) -> Result<Captured, Failure> {
        let worktree = self.worktree_of(begun.session, &begun.repo, call.worktree.clone()).await?;
        let turn = tokio::select! {
            turn = self.shared.captures.turn(&worktree, &begun.repo.git_dir) => turn,
            () = begun.cancellable.cancelled() => return Err(self.lost(begun.session)),
        };
        // Again: it may have ended before it could be cancelled, and what it recorded may have changed.
        let session = match active(find(&self.snapshot().registry, begun.session)?) {
            Ok(session) => Arc::clone(session),
            Err(_) => return Err(self.lost(begun.session)),
        };
        // Nobody else captures there until this is over.
        let (prepared, _turn) = self.prepare(&begun, session, worktree, call, turn).await?;
        let captured = match prepared {
            Capture::Nothing { state, root } => {
                let view = self.view_of(begun.session)?;
                let changed_paths = Vec::new();
                Captured { view, created: false, state, parent: None, root, changed_paths, changed_count: 0 }
            }
            Capture::Prepared { prepared, root, changed_paths, changed_count } => {
                // Fails when the caller has gone.
                completing.send(()).unwrap_or_default();
                self.complete(&begun, Ready { prepared, root, changed_paths, changed_count }).await?
            }
        };
        Ok(captured)
    }

    /// The worktree that a call is about: one of the repository's own, the session's where none is named.
    pub(super) async fn worktree_of(
        &self,
        session: SessionId,
        repo: &Arc<RepoRecord>,
        named: Option<PathBuf>,
    ) -> Result<PathBuf, Failure> {
        let (shared, settings, repo) = (Arc::clone(&self.shared), self.settings(), Arc::clone(repo));
        let own = find(&self.snapshot().registry, session)?.path.clone();
        let path = named.or_else(|| own.map(|path| PathBuf::from(&*path)));
        let git_dir = Arc::clone(&repo.git_dir);
        self.shared
            .read_repo(&git_dir, "find the worktree", move || {
                // Without one, the session was reserved in a Git directory.
                let path = path.ok_or_else(|| Error::WorktreeNotFound { path: repo.git_dir.to_path_buf() })?;
                shared.check_known(&settings, &repo)?;
                let there = shared.repo.locate(&repo.git_dir)?;
                Ok(shared.repo.registered_worktree(&there, &path)?)
            })
            .await
    }

    /// Makes the commit, and locks the index.
    async fn prepare(
        &self,
        begun: &Begun,
        session: Arc<SessionRecord>,
        worktree: PathBuf,
        call: CaptureCall,
        turn: Turn,
    ) -> Result<(Capture, Turn), Failure> {
        let (shared, settings) = (Arc::clone(&self.shared), self.settings());
        let (repo, cancellable) = (Arc::clone(&begun.repo), Arc::clone(&begun.cancellable));
        let (path, shared_too, git_dir) = (worktree.clone(), Arc::clone(&shared), Arc::clone(&repo.git_dir));
        let prepare = move || {
            let message = call.message.unwrap_or_else(|| format!("capture of {}", session.thread));
            Ok(shared.repo.prepare_capture(&CaptureRequest {
                git_dir: &repo.git_dir,
                worktree: &path,
                thread: &session.thread,
                recorded_state: session.recorded_state,
                message: &message,
                trailers: &trailers(&session, call.confidence),
                allowed_filters: &settings.allowed_filters,
                cancelled: cancellable.flag(),
            }))
        };
        let work =
            tokio::spawn(async move { shared_too.work_in_worktree(&git_dir, "capture the worktree", prepare).await });
        let (shared, repo) = (Arc::clone(&self.shared), Arc::clone(&begun.repo));
        let undo = move |late| {
            if let Capture::Prepared { prepared, .. } = late {
                // Else the next capture does it.
                drop(shared.repo.undo_capture(&repo.git_dir, &prepared));
            }
        };
        let (session, cancellable) = (begun.session, &*begun.cancellable);
        let (git_dir, operation) = (Arc::clone(&begun.repo.git_dir), "capture the worktree in ten minutes");
        let waited = Waited { session, cancellable, worktree, git_dir, operation };
        self.with_patience(waited, work, turn, undo).await
    }

    /// Records the intent, moves the branch, replaces the index, records the outcome.
    async fn complete(&self, begun: &Begun, ready: Ready) -> Result<Captured, Failure> {
        let Ready { prepared, root, changed_paths, changed_count } = ready;
        let (parent, new) = (prepared.parent, prepared.new);
        let worktree_git_dir = Arc::from(prepared.worktree_git_dir.as_path());
        let intent = Intent::Capture(Box::new(CaptureIntent { worktree_git_dir, parent, new, changed_count }));
        let begin = Command::BeginMove { session: begun.session, token_hash: begun.token, intent };
        let session = match self.shared.done(begin).await {
            Ok(done) => done.session,
            Err(failure) => {
                self.undo(begun, prepared).await;
                // It was active when the call came in: it lost its right on the way.
                let is_late = matches!(failure, Failure::Refused(Refusal::Inactive(_)));
                return Err(if is_late { self.lost(begun.session) } else { failure });
            }
        };
        let (shared, settings) = (Arc::clone(&self.shared), self.settings());
        let repo = Arc::clone(&begun.repo);
        let git_dir = Arc::clone(&repo.git_dir);
        let swapped = self
            .shared
            .change_repo(&git_dir, "move the branch", move || {
                // Another registry may have granted the thread to somebody else.
                let owned = shared.claim_known(&settings, &repo);
                Ok(swap(&*shared.repo, owned, &repo.git_dir, &session, &prepared))
            })
            .await;
        let moved = swapped.as_ref().is_ok_and(|(moved, _)| *moved);
        let finished = self.shared.finish(Command::FinishMove { session: begun.session, moved }).await;
        swapped?.1?;
        finished.map_err(Failure::after_git)?;
        let committed = self.snapshot();
        let session = find(&committed.registry, begun.session)?;
        if session.is_active() {
            // Its time may have run out while it was captured.
            self.progressed(&committed, session);
        }
        let view = committed.view(session);
        Ok(Captured { view, created: true, state: new, parent: Some(parent), root, changed_paths, changed_count })
    }

    async fn undo(&self, begun: &Begun, prepared: PreparedCapture) {
        let (shared, repo) = (Arc::clone(&self.shared), Arc::clone(&begun.repo));
        let git_dir = Arc::clone(&repo.git_dir);
        let work = move || Ok(shared.repo.undo_capture(&repo.git_dir, &prepared)?);
        let undone = self.shared.change_repo(&git_dir, "undo a capture", work).await;
        if let Err(error) = undone {
            warn!(session = %begun.session, ?error, "a capture could not be undone; the next one does it");
        }
    }

    /// Why a capture was cancelled.
    pub(super) fn lost(&self, session: SessionId) -> Failure {
        match find(&self.snapshot().registry, session) {
            Ok(session) if session.is_active() => Failure::ShuttingDown,
            Ok(session) => Failure::Stale(Arc::clone(session)),
            Err(refusal) => refusal.into(),
        }
    }

    fn view_of(&self, session: SessionId) -> Result<View, Failure> {
        let committed = self.snapshot();
        let session = find(&committed.registry, session)?;
        if session.is_active() {
            self.progressed(&committed, session);
        }
        Ok(committed.view(session))
    }
}

/// Moves the branch, if the repository is this registry's, and finishes or undoes the rest by what became of that. Whether it
/// was moved, and why not.
fn swap(
    repo: &dyn Repo,
    owned: Result<(), Error>,
    git_dir: &Path,
    session: &SessionRecord,
    prepared: &PreparedCapture,
) -> (bool, Result<(), Error>) {
    let (thread, log, new) = (&session.thread, log(session.id), prepared.new);
    let swapped = owned.and_then(|()| repo.compare_and_swap(git_dir, thread, Expected::At(prepared.parent), new, &log));
    let moved = match &swapped {
        Ok(()) => true,
        // It may have been moved all the same.
        Err(Error::Unavailable { .. }) => repo.tip(git_dir, thread).is_ok_and(|tip| tip == Some(new)),
        Err(_) => false,
    };
    let ended = if moved { repo.finish_capture(git_dir, prepared, &log) } else { repo.undo_capture(git_dir, prepared) };
    if let Err(error) = ended {
        // The thread has the commit, or has it not: the index stays locked until the next capture, which mends it.
        warn!(session = %session.id, %error, "the index of a worktree could not be replaced");
    }
    (moved, swapped)
}

/// What the reflogs say of a capture.
pub(super) fn log(session: SessionId) -> String {
    format!("heddle: captured by {session}")
}

/// A capture as its intent recorded it.
pub(super) fn prepared(intent: &CaptureIntent) -> PreparedCapture {
    let worktree_git_dir = intent.worktree_git_dir.to_path_buf();
    PreparedCapture { worktree_git_dir, parent: intent.parent, new: intent.new }
}

/// Who made the commit, under which right.
fn trailers(session: &SessionRecord, confidence: Option<f64>) -> Vec<(&'static str, String)> {
    let agent = &session.agent;
    let name = |part: &Option<Attribution>| part.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let agent = [name(&agent.harness), name(&agent.provider), name(&agent.model)].join("/");
    let mut trailers = vec![("Heddle-Session", session.id.to_string()), ("Heddle-Agent", agent)];
    trailers.extend(confidence.map(|confidence| ("Heddle-Confidence", confidence.to_string())));
    trailers.push(("Heddle-Fencing-Token", session.fencing_token.to_string()));
    trailers
}
