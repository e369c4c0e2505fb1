//! How long a capture is waited for, and a look at a worktree. What an agent has in its worktree or its repository, a FIFO in
//! the place of a file or a filter that does not end, can hold Git up for as long as it likes, and no end of a session may
//! come to tell.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proto_schema::SessionId;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

use super::Coordinator;
use super::captures::{Cancellable, Turn};
use super::failure::Failure;
use super::shared::Shared;
use crate::repo::{CaptureRefused, Cause, Error};

/// How long a capture keeps others from running. After that it goes on beside them.
pub(super) const ALONE: Duration = Duration::from_secs(30);

/// How long it may take in all.
pub(super) const MOST: Duration = Duration::from_secs(10 * 60);

/// How long its end is waited for after it was cancelled. What does not end by then is in the hands of the kernel: only its
/// worktree stays closed until it does.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Work in a worktree that is waited for.
pub(super) struct Waited<'a> {
    /// The session that it is done for.
    pub(super) session: SessionId,
    /// What cancels it.
    pub(super) cancellable: &'a Cancellable,
    /// The worktree.
    pub(super) worktree: PathBuf,
    /// Its repository's Git directory.
    pub(super) git_dir: Arc<Path>,
    /// What could not be done when it took too long.
    pub(super) operation: &'static str,
}

/// What blocks as long as it is done.
pub(super) type Working<T> = JoinHandle<Result<Result<T, Error>, Failure>>;

impl Coordinator {
    /// Waits until the work is done, is cancelled, or has taken too long. With its turn, which others wait for. What comes
    /// too late is undone.
    pub(super) async fn with_patience<T: Send + 'static>(
        &self,
        waited: Waited<'_>,
        mut work: Working<T>,
        mut turn: Turn,
        undo: impl FnOnce(T) + Send + 'static,
    ) -> Result<(T, Turn), Failure> {
        let is_late = tokio::select! {
            done = &mut work => return self.done_in_time(waited.session, done, turn),
            () = waited.cancellable.cancelled() => false,
            () = run_out(&mut turn) => true,
        };
        waited.cancellable.cancel();
        match timeout(GRACE, &mut work).await {
            Ok(Ok(Ok(Err(Error::Capture(CaptureRefused::Cancelled))))) => {}
            // It was faster than its end.
            Ok(done) => return self.done_in_time(waited.session, done, turn),
            Err(_) => leave(Arc::clone(&self.shared), &waited, work, turn, undo),
        }
        if !is_late {
            return Err(self.lost(waited.session));
        }
        let problem = "a filter, or a file without an end, held Git up";
        let cause = Cause::Malformed { path: waited.worktree, problem };
        Err(Error::Unavailable { operation: waited.operation, cause }.into())
    }

    fn done_in_time<T>(
        &self,
        session: SessionId,
        done: Result<Result<Result<T, Error>, Failure>, JoinError>,
        turn: Turn,
    ) -> Result<(T, Turn), Failure> {
        match done.unwrap_or(Err(Failure::Broken("working in the worktree")))? {
            Err(Error::Capture(CaptureRefused::Cancelled)) => Err(self.lost(session)),
            other => Ok((other?, turn)),
        }
    }
}

/// Lets what does not end go on by itself. Nobody else is let into its worktree before it is over.
fn leave<T: Send + 'static>(
    shared: Arc<Shared>,
    waited: &Waited<'_>,
    work: Working<T>,
    mut turn: Turn,
    undo: impl FnOnce(T) + Send + 'static,
) {
    turn.go_beside();
    let (session, git_dir) = (waited.session, Arc::clone(&waited.git_dir));
    tracing::warn!(%session, "work in a worktree does not end; the worktree stays closed to others until it does");
    tokio::spawn(async move {
        if let Ok(Ok(Ok(found))) = work.await {
            let undo = move || {
                undo(found);
                Ok(())
            };
            drop(shared.change_repo(&git_dir, "undo what came too late", undo).await);
        }
        drop(turn);
    });
}

/// Comes back when the work has taken too long.
async fn run_out(turn: &mut Turn) {
    // The time is what is waited for.
    let _elapsed = timeout(ALONE, std::future::pending::<()>()).await;
    turn.go_beside();
    let _elapsed = timeout(MOST.saturating_sub(ALONE), std::future::pending::<()>()).await;
}
