//! Events are the operation log, live: a follower has a place in the log, and moves on when the log has grown.
//!
//! The writer tells the newest revision and nothing more (`message::hand_out`), so it neither waits for a follower nor keeps
//! anything for one; a follower reads the operations itself, those of late from memory and the rest on a blocking worker.
//!
//! # Invariants
//!
//! - V1: a follower is given each operation that matches once, in the order of their revisions, and none is left out: it
//!   reads from its own place on, and its place moves only over what was read.
//! - V2: nobody is told of an operation before it is durable (R3) and part of the committed state.
//! - V3: what is no longer kept is said to be so, and not passed over.

use std::path::PathBuf;
use std::sync::Arc;

use proto_schema::{SessionId, ThreadName};
use tokio::sync::watch;

use super::failure::Failure;
use super::shared::Shared;
use super::{Coordinator, blocking};
use crate::registry::{OperationRecord, RepoKey};
use crate::store::{Filter, Page};

/// The most operations that are given at once from memory: they are made into messages in one turn.
const MOST: usize = 32;

/// The most that are read from the disk at once.
const MOST_READ: usize = 256;

/// What a follower follows.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    /// Only what is about the repository there.
    pub repo: Option<PathBuf>,
    /// Only what is about this thread.
    pub thread: Option<ThreadName>,
    /// Only what is about this session.
    pub session: Option<SessionId>,
}

/// A place in the operation log, and what is wanted of what comes after it.
pub struct Follower {
    shared: Arc<Shared>,
    published: watch::Receiver<u64>,
    filter: Filter,
    /// The repository that is wanted, as long as nothing was reserved in it: it has no number yet.
    unknown: Option<RepoKey>,
    /// Everything up to here was looked at.
    place: u64,
    /// The newest revision when it began to follow.
    began: u64,
}

/// What a follower is given.
#[derive(Debug)]
pub enum Followed {
    /// What happened, oldest first: one operation at least.
    Operations(Vec<Arc<OperationRecord>>),
    /// What comes next is no longer kept.
    Compacted,
    /// The daemon has stopped, and all of it was given.
    Stopped,
}

impl Coordinator {
    /// Follows the operation log after a revision, or from now on.
    ///
    /// # Errors
    /// `Repo`: there is no repository. `Compacted`: what came after that revision is no longer kept. `Invalid`: there is no
    /// such revision yet. `Broken`: the log cannot be read.
    pub async fn follow(&self, interest: Interest, after: Option<u64>) -> Result<Follower, Failure> {
        let Interest { repo, thread, session } = interest;
        let (key, repo) = match repo {
            Some(path) => self.find_repo(path).await.map(|(key, id)| (Some(key), id))?,
            None => (None, None),
        };
        let shared = Arc::clone(&self.shared);
        let began = shared.committed.load().registry.revision();
        let follower = Follower {
            published: shared.published.clone(),
            shared,
            filter: Filter { repo, thread, session },
            unknown: key.filter(|_| repo.is_none()),
            place: after.unwrap_or(began),
            began,
        };
        if let Some(after) = after {
            let Page { oldest, newest_seen, .. } = follower.read(0, 0).await?;
            if newest_seen < after {
                // Whoever asks has it from another registry, and would wait for what is not its.
                let expected = "a revision that there is; daemon.info tells the newest";
                return Err(Failure::Invalid { field: "after", expected });
            }
            if after + 1 < oldest {
                return Err(Failure::Compacted { after, oldest });
            }
        }
        Ok(follower)
    }
}

impl Follower {
    /// Waits for the next operations that match.
    ///
    /// # Errors
    /// `Broken`: the log cannot be read; the place is what it was.
    pub async fn next(&mut self) -> Result<Followed, Failure> {
        loop {
            let newest = *self.published.borrow_and_update();
            if newest <= self.place {
                if self.published.changed().await.is_err() && *self.published.borrow() <= self.place {
                    return Ok(Followed::Stopped);
                }
                continue;
            }
            if self.is_of_nobody() {
                self.place = newest;
                continue;
            }
            let mut page = self.read(MOST, MOST_READ).await?;
            if page.oldest > self.place + 1 {
                return Ok(Followed::Compacted);
            }
            // V2: what is in the log may not be published yet.
            page.operations.retain(|operation| operation.revision <= newest);
            self.place = self.place.max(page.newest_seen.min(newest));
            if !page.operations.is_empty() {
                return Ok(Followed::Operations(page.operations));
            }
        }
    }

    /// Where it is: everything up to this revision was given.
    #[must_use]
    pub fn place(&self) -> u64 {
        self.place
    }

    /// How much has happened since it began to follow that it was not given, were it at `place`. What it had to catch up with
    /// at its beginning does not count.
    #[must_use]
    pub fn behind(&self, place: u64) -> u64 {
        self.published.borrow().saturating_sub(place.max(self.began))
    }

    /// Waits until more has happened; for ever when nothing will any more.
    pub async fn more(&mut self) {
        if self.published.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it follows a repository in which nothing ever happened.
    fn is_of_nobody(&mut self) -> bool {
        let Some(key) = self.unknown else { return false };
        // After the look at the newest revision: what happened up to there is in this state.
        let Some(repo) = self.shared.committed.load().registry.repo_at(key).map(|repo| repo.id) else { return true };
        self.filter.repo = Some(repo);
        self.unknown = None;
        false
    }

    /// Reads on from its place, at most so many from memory and so many from the disk.
    async fn read(&self, limit: usize, from_disk: usize) -> Result<Page, Failure> {
        let log = Arc::clone(&self.shared.log);
        if let Some(page) = log.recent(&self.filter, self.place, limit) {
            // All of it is in memory, so nothing is missing.
            return Ok(Page { oldest: page.oldest.min(self.place + 1), ..page });
        }
        let (filter, place) = (self.filter.clone(), self.place);
        blocking("reading the operation log", move || {
            log.after(&filter, place, from_disk).map_err(|error| {
                tracing::error!(%error, "the operation log cannot be read");
                Failure::Broken("reading the operation log")
            })
        })
        .await
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("filter", &self.filter).field("place", &self.place).finish_non_exhaustive()
    }
}
