//! Work on repositories: which lane of which pool it runs in.
//!
//! Nothing else in this folder reads or changes a repository off the async worker, so that each repository is under the bound
//! of [`super::pool`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Coordinator;
use super::failure::Failure;
use super::pool::{Job, Lane};
use super::shared::Shared;
use crate::repo::Whereabouts;

/// How often the way from a path to its repository may lead to another file system.
const MOST_FILE_SYSTEMS: usize = 16;

/// How often it is looked whether work has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Coordinator {
    /// Waits until no work on repositories is under way, or for so long: what is left then is cut off by the end of the process.
    pub async fn work_ended(&self, within: Duration) {
        let until = self.clock().monotonic_ms() + u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let is_busy = || self.shared.work.busy() + self.shared.long_work.busy() > 0;
        while is_busy() && self.clock().monotonic_ms() < until {
            // The time is what is waited for.
            let _elapsed = tokio::time::timeout(LOOK_AGAIN, std::future::pending::<()>()).await;
        }
    }
}

impl Shared {
    /// Reads a repository, given by its common Git directory. The caller waits for 30 s at most.
    pub(super) async fn read_repo<T: Send + 'static>(
        &self,
        git_dir: &Arc<Path>,
        what: &'static str,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.work.run(Job { lane: Lane::Calls(Arc::clone(git_dir)), what, to_its_end: false }, work).await
    }

    /// Changes a repository. Once it has begun it is waited for, however long it takes: its outcome must be known.
    pub(super) async fn change_repo<T: Send + 'static>(
        &self,
        git_dir: &Arc<Path>,
        what: &'static str,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.work.run(Job { lane: Lane::Calls(Arc::clone(git_dir)), what, to_its_end: true }, work).await
    }

    /// Does something for the daemon itself, one job at a time in a repository. It is waited for, however long it takes.
    pub(super) async fn upkeep<T: Send + 'static>(
        &self,
        git_dir: &Arc<Path>,
        what: &'static str,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.work.run(Job { lane: Lane::Upkeep(Arc::clone(git_dir)), what, to_its_end: true }, work).await
    }

    /// Does what takes as long as `git status` does, at a low priority. Its time limit is the caller's business.
    pub(super) async fn work_in_worktree<T: Send + 'static>(
        &self,
        git_dir: &Arc<Path>,
        what: &'static str,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.long_work.run(Job { lane: Lane::Calls(Arc::clone(git_dir)), what, to_its_end: true }, work).await
    }

    /// Reads the repository that a path leads to. The caller waits for 30 s at most, and as long for finding it.
    pub(super) async fn read_at<T: Send + 'static>(
        self: &Arc<Self>,
        path: &Path,
        what: &'static str,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let lane = self.lane_of(path).await?;
        self.work.run(Job { lane, what, to_its_end: false }, work).await
    }

    /// The lane of the repository that a path leads to, if that is known without reading anything.
    pub(super) fn known_lane_of(&self, path: &Path) -> Option<Lane> {
        self.repo.remembered(path).map(Lane::Calls)
    }

    /// The lane of the repository that a path leads to.
    pub(super) async fn lane_of(self: &Arc<Self>, path: &Path) -> Result<Lane, Failure> {
        if let Some(lane) = self.known_lane_of(path) {
            return Ok(lane);
        }
        let mut path = path.to_owned();
        for _ in 0..MOST_FILE_SYSTEMS {
            let mount = self.repo.mount_of(&path);
            let (asked, shared) = (Arc::clone(&mount), Arc::clone(self));
            let job = Job { lane: Lane::Mount(Arc::clone(&mount)), what: "find the repository", to_its_end: false };
            match self.work.run(job, move || Ok(shared.repo.find(&path, &asked))).await? {
                Whereabouts::GitDir(git_dir) => return Ok(Lane::Calls(git_dir)),
                Whereabouts::Elsewhere(there) => path = there,
                // That there is none, or what is wrong with it, is found out there.
                Whereabouts::Unknown => return Ok(Lane::NoRepository(mount)),
            }
        }
        Ok(Lane::NoRepository(Path::new("/").into()))
    }
}
