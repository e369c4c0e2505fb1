//! What is read: sessions from the last committed state, what happened from the operation log.

use std::path::PathBuf;
use std::sync::Arc;

use proto_schema::{FencingToken, SessionId, SessionStatus, ThreadName};

use super::failure::Failure;
use super::identity::Identified;
use super::message::Message;
use super::snapshot::{Snapshot, View};
use super::{Coordinator, blocking};
use crate::liveness::Verdict;
use crate::registry::{HolderProcess, Registry, RepoId, RepoKey, RepoRecord, SessionRecord};
use crate::store::{Filter, Page};

/// Which sessions to list.
#[derive(Clone, Debug, Default)]
pub struct SessionFilter {
    /// Only those of the repository there.
    pub repo: Option<PathBuf>,
    /// Only those of this thread.
    pub thread: Option<ThreadName>,
    /// Only those of this status.
    pub status: Option<SessionStatus>,
    /// End the dead ones first, and list only the active ones.
    pub alive_only: bool,
    /// Only those granted before this one.
    pub below: Option<FencingToken>,
    /// The most to list.
    pub limit: usize,
}

/// Sessions, newest first.
#[derive(Clone, Debug)]
pub struct SessionPage {
    /// The sessions.
    pub views: Vec<View>,
    /// Where the next page begins, if there is one.
    pub next: Option<FencingToken>,
    /// The revision that this shows.
    pub revision: u64,
}

impl Coordinator {
    /// The number of the repository at `path`; none when nothing was ever reserved in it.
    pub(super) async fn repo_id(&self, path: PathBuf) -> Result<Option<RepoId>, Failure> {
        self.find_repo(path).await.map(|(_, id)| id)
    }

    /// The repository at `path`, and its number unless nothing was ever reserved in it. One that was moved there is known to
    /// be there from then on.
    pub(super) async fn find_repo(&self, path: PathBuf) -> Result<(RepoKey, Option<RepoId>), Failure> {
        loop {
            match self.find_settled(path.clone()).await {
                Err(Failure::Recovering(repo)) => self.shared.recovery.wait_for(repo).await?,
                found => return found,
            }
        }
    }

    async fn find_settled(&self, path: PathBuf) -> Result<(RepoKey, Option<RepoId>), Failure> {
        let (shared, settings) = (Arc::clone(&self.shared), self.settings());
        let at = path.clone();
        let (key, id, moved) = self
            .shared
            .read_at(&at, "find the repository", move || {
                let there = shared.repo.locate(&path)?;
                settings.check_served(&there)?;
                shared.recovery.refuse_pending(&there)?;
                let Identified { repo: there, known, moved, .. } = shared.identify(there)?;
                // What has the mark of a known repository and another key may be a copy: only a reserve records its place.
                let moved = known.as_deref().filter(|known| moved && known.key == there.key).map(|known| {
                    let (git_dir, shown) = (Arc::clone(&there.git_dir), Arc::clone(&there.shown));
                    Arc::new(RepoRecord { git_dir, shown, born: there.born, ..known.clone() })
                });
                Ok((there.key, known.map(|known| known.id), moved))
            })
            .await?;
        if let Some(moved) = moved {
            self.shared.post(Message::RepoSeen(moved))?;
            self.barrier().await?;
        }
        Ok((key, id))
    }

    /// Lists sessions, newest first.
    ///
    /// # Errors
    /// `Repo`: there is no repository at the path given.
    pub async fn list(&self, filter: SessionFilter) -> Result<SessionPage, Failure> {
        let repo = match filter.repo.clone() {
            Some(path) => Some(self.repo_id(path).await?),
            None => None,
        };
        if filter.alive_only {
            self.end_dead(repo.flatten()).await?;
        }
        let committed = self.snapshot();
        let revision = committed.registry.revision();
        if repo == Some(None) {
            return Ok(SessionPage { views: Vec::new(), next: None, revision });
        }
        let repo = repo.flatten();
        let wanted = |session: &&Arc<SessionRecord>| {
            repo.is_none_or(|repo| session.repo == repo)
                && filter.thread.as_ref().is_none_or(|thread| session.thread == *thread)
                && filter.status.is_none_or(|status| session.status == status)
                && (!filter.alive_only || session.is_active())
        };
        let candidates = candidates(&committed.registry, repo, &filter);
        let mut views: Vec<View> =
            candidates.filter(wanted).take(filter.limit + 1).map(|session| committed.view(session)).collect();
        let next = (views.len() > filter.limit)
            .then(|| {
                views.pop();
                views.last().map(|view| view.session.fencing_token)
            })
            .flatten();
        Ok(SessionPage { views, next, revision })
    }

    /// Ends the sessions whose process is dead, without waiting for the watcher.
    pub(super) async fn end_dead(&self, repo: Option<RepoId>) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        // There may be a hundred thousand of them to look at.
        let dead: Vec<HolderProcess> = blocking("looking at the holders", move || {
            let committed = shared.committed.load_full();
            let mut dead: Vec<_> = committed
                .registry
                .active(None)
                .filter(|session| repo.is_none_or(|repo| session.repo == repo))
                .filter_map(|session| session.hold.process.as_ref())
                .filter(|process| matches!(shared.liveness.check(process), Verdict::Exited | Verdict::BootChanged))
                .cloned()
                .collect();
            dead.dedup();
            Ok(dead)
        })
        .await?;
        if dead.is_empty() {
            return Ok(());
        }
        for process in dead {
            self.shared.post(Message::Died(process))?;
        }
        self.barrier().await
    }

    /// Whether the daemon can see that the session's holder lives.
    #[must_use]
    pub fn is_unknown(&self, session: &SessionRecord) -> bool {
        let check = |process| matches!(self.shared.liveness.check(process), Verdict::Unknown | Verdict::OtherNamespace);
        session.is_active() && session.hold.process.as_ref().is_some_and(check)
    }

    /// The first revisions of the parts of the operation log that were found unreadable.
    #[must_use]
    pub fn unreadable_operations(&self) -> Vec<u64> {
        self.shared.log.unreadable()
    }

    /// Reads the operation log: after a revision, or the newest.
    ///
    /// # Errors
    /// `Repo`: there is no repository. `Broken`: the log cannot be read.
    pub async fn operations(
        &self,
        repo: Option<PathBuf>,
        thread: Option<ThreadName>,
        session: Option<SessionId>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<(Page, Arc<Snapshot>), Failure> {
        let repo = match repo {
            Some(path) => self.repo_id(path).await?.or(Some(RepoId(u32::MAX))),
            None => None,
        };
        let filter = Filter { repo, thread, session };
        let log = Arc::clone(&self.shared.log);
        let page = blocking("reading the operation log", move || {
            let page = match after {
                Some(after) => log.after(&filter, after, limit),
                None => log.newest(&filter, limit),
            };
            page.map_err(|error| {
                tracing::error!(%error, "the operation log cannot be read");
                Failure::Broken("reading the operation log")
            })
        })
        .await?;
        Ok((page, self.snapshot()))
    }
}

/// The fewest sessions that an index gives for what is asked.
fn candidates<'a>(
    registry: &'a Registry,
    repo: Option<RepoId>,
    filter: &SessionFilter,
) -> Box<dyn Iterator<Item = &'a Arc<SessionRecord>> + 'a> {
    let only_active = filter.alive_only || filter.status == Some(SessionStatus::Active);
    match (repo, &filter.thread, only_active) {
        (Some(repo), Some(thread), _) => Box::new(registry.sessions_of((repo, thread.clone()), filter.below)),
        (_, _, true) => Box::new(registry.active(filter.below)),
        _ => Box::new(registry.sessions(filter.below)),
    }
}
