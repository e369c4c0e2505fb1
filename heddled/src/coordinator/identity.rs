//! Which repository is at a path. Device and inode are a quick key, and may lie: another mount shows others, and a new directory
//! gets those of one that was removed. The id in the repository's mark decides.
//!
//! What reads files here runs on blocking workers; the last part is the writer's.

use std::path::Path;
use std::sync::Arc;

use proto_schema::SessionId;
use tokio::sync::oneshot;
use tracing::warn;

use super::Settings;
use super::failure::Failure;
use super::message::Message;
use super::recover::{REPLACED, ended_with_repository};
use super::shared::Shared;
use super::writer::Writer;
use crate::registry::{Change, Registry, RepoId, RepoKey, RepoRecord, SessionRecord};
use crate::repo::{self, Identity, Located, MarkSeen};

/// How many commits are looked for at most, to tell a repository without its mark from a new one in its place.
const WITNESSES: usize = 8;

/// A repository that was found at a path.
pub(super) struct Identified {
    /// Where it is: where its record says, if this path is another way to the same directory.
    pub(super) repo: Located,
    pub(super) known: Option<Arc<RepoRecord>>,
    /// What it is to be claimed as.
    pub(super) identity: Identity,
    /// Whether it is known at another path that is no longer it.
    pub(super) moved: bool,
}

/// What is at the place of a known repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Here,
    /// Something else, or nothing: it may have been moved, or its disk may be away.
    Away,
    /// Another repository, with its device and inode: it was removed.
    Replaced,
}

impl Shared {
    /// Finds the repository that a path lies in, and which of the known ones it is.
    pub(super) fn locate(&self, path: &Path) -> Result<Identified, Failure> {
        self.identify(self.repo.locate(path)?)
    }

    /// Says which of the known repositories one is. Where it took the place of another, the sessions of that one have ended on
    /// return.
    pub(super) fn identify(&self, there: Located) -> Result<Identified, Failure> {
        let committed = self.committed.load_full();
        // What a start has to settle first is not recorded yet.
        if let Some(known) = self.recovery.of(&there).and_then(|id| committed.registry.repo(id)) {
            return Ok(found(there, Arc::clone(known), false));
        }
        let by_key = committed.registry.repo_at(there.key);
        let is_known = by_key.map(|known| self.is_of(known, &there)).transpose()?;
        if let Some(known) = by_key.filter(|_| is_known == Some(true)) {
            let is_elsewhere = *known.git_dir != *there.git_dir && !self.is_still_there(known)?;
            let moved = is_elsewhere || known.born != there.born;
            return Ok(found(there, Arc::clone(known), moved));
        }
        if let Some(gone) = by_key {
            self.replaced(gone.id)?;
        }
        let MarkSeen::Id(mark) = there.mark else { return Ok(unknown(there, Identity::New)) };
        let Some(known) = committed.registry.repo_marked(mark).cloned() else {
            return Ok(unknown(there, Identity::New));
        };
        if *known.git_dir == *there.git_dir {
            // Its disk has another number since.
            let known = self.seen_at(&known, &there)?;
            return Ok(found(there, known, false));
        }
        if !self.is_still_there(&known)? {
            // It was moved to another file system, or this is a copy and the original is away for a moment.
            if committed.registry.active(None).any(|session| session.repo == known.id) {
                return Err(repo::Error::MayBeCopy { recorded: known.git_dir.to_path_buf() }.into());
            }
            return Ok(found(there, known, true));
        }
        if !self.repo.is_one(&known.git_dir, &there.git_dir)? {
            return Ok(unknown(there, Identity::Copy));
        }
        let (git_dir, shown) = (Arc::clone(&known.git_dir), Arc::clone(&known.shown));
        Ok(found(Located { key: known.key, git_dir, shown, born: known.born, ..there }, known, false))
    }

    /// Whether what has a known repository's key is that repository. Anybody can remove or replace a mark: that ends nothing
    /// where the directory was made at the same time and has the commits that were reserved at.
    fn is_of(&self, known: &RepoRecord, there: &Located) -> Result<bool, repo::Error> {
        match (known.mark, there.mark) {
            (Some(known), MarkSeen::Id(mark)) if known == mark => Ok(true),
            // A record of an older version: whatever is reserved in has had a mark since.
            (None, mark) => Ok(mark != MarkSeen::Absent),
            (Some(_), _) => {
                Ok(known.born.is_some() && known.born == there.born && self.has_commits_of(known, &there.git_dir)?)
            }
        }
    }

    /// Whether a Git directory has a commit that a session was reserved at in a known repository.
    fn has_commits_of(&self, known: &RepoRecord, git_dir: &Path) -> Result<bool, repo::Error> {
        let registry = &self.committed.load().registry;
        let anchors =
            registry.active(None).filter(|session| session.repo == known.id).map(|session| session.anchor_state);
        for anchor in anchors.take(WITNESSES) {
            match self.repo.commit_root(git_dir, anchor) {
                Ok(_) => return Ok(true),
                Err(repo::Error::AnchorNotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Whether a repository that is known is where its record says. What cannot be read is no answer.
    fn is_still_there(&self, known: &RepoRecord) -> Result<bool, repo::Error> {
        let is_it = |there: &Located| match known.mark {
            Some(mark) => there.mark == MarkSeen::Id(mark),
            None => there.key == known.key,
        };
        match self.repo.locate(&known.git_dir) {
            Ok(there) => Ok(is_it(&there)),
            Err(repo::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is at the place of a known repository now.
    pub(super) fn presence(&self, known: &RepoRecord) -> Presence {
        match self.repo.locate(&known.git_dir) {
            Ok(there) if there.key != known.key => Presence::Away,
            Ok(there) => match self.is_of(known, &there) {
                Ok(true) => Presence::Here,
                Ok(false) => Presence::Replaced,
                Err(_) => Presence::Away,
            },
            Err(_) => Presence::Away,
        }
    }

    /// Lets only the repository of a session pass, and only if this registry decides about it: before anything is done there in
    /// the session's name. A mark that was removed is made again.
    pub(super) fn claim_known(&self, settings: &Settings, known: &RepoRecord) -> Result<(), repo::Error> {
        let era = self.committed.load().registry.era();
        let claimed = self.repo.claim(&known.git_dir, &settings.claim, era, Identity::Known(known.mark));
        let is_unmarked = || {
            let there = self.repo.locate(&known.git_dir).ok()?;
            let is_it = there.mark == MarkSeen::Absent && there.key == known.key;
            (is_it && self.is_of(known, &there).ok()?).then_some(known.mark?)
        };
        match (claimed, known.mark) {
            (Err(error @ repo::Error::Replaced { .. }), Some(_)) => match is_unmarked() {
                Some(mark) => self.repo.claim(&known.git_dir, &settings.claim, era, Identity::Unmarked(mark)).map(drop),
                None => Err(error),
            },
            (claimed, _) => claimed.map(drop),
        }
    }

    /// The same at the beginning of a call, where nothing is under way yet: the sessions of a repository that is gone end.
    pub(super) fn check_known(&self, settings: &Settings, known: &RepoRecord) -> Result<(), Failure> {
        let claimed = self.claim_known(settings, known);
        if matches!(claimed, Err(repo::Error::Replaced { .. })) && self.presence(known) == Presence::Replaced {
            self.replaced(known.id)?;
        }
        Ok(claimed?)
    }

    /// Has the writer end the sessions of a repository that is gone, and waits until it has.
    fn replaced(&self, repo: RepoId) -> Result<(), Failure> {
        self.record(Message::Replaced(vec![repo]))
    }

    /// Has the writer record that a repository is at another place, under another key.
    fn seen_at(&self, known: &RepoRecord, there: &Located) -> Result<Arc<RepoRecord>, Failure> {
        let (key, git_dir, shown) = (there.key, Arc::clone(&there.git_dir), Arc::clone(&there.shown));
        let seen = Arc::new(RepoRecord { key, git_dir, shown, born: there.born, ..known.clone() });
        self.record(Message::RepoSeen(Arc::clone(&seen)))?;
        Ok(seen)
    }

    fn record(&self, message: Message) -> Result<(), Failure> {
        let (done, passed) = oneshot::channel();
        self.post(message)?;
        self.post(Message::Barrier(done))?;
        passed.blocking_recv().map_err(|_| Failure::ShuttingDown)
    }
}

/// The record of a repository whose path leads to another key than before a restart: devices get other numbers when a machine
/// starts again.
pub(super) fn seen_again(registry: &Registry, known: &RepoRecord, there: &Located) -> Option<RepoRecord> {
    let is_it = match (known.mark, there.mark) {
        (Some(known), mark) => mark == MarkSeen::Id(known),
        (None, MarkSeen::Id(mark)) => registry.repo_marked(mark).is_none(),
        (None, MarkSeen::Unsigned) => registry.repo_at(there.key).is_none(),
        (None, MarkSeen::Absent) => false,
    };
    (is_it && there.key != known.key).then(|| RepoRecord { key: there.key, born: there.born, ..known.clone() })
}

fn found(repo: Located, known: Arc<RepoRecord>, moved: bool) -> Identified {
    let identity = match (repo.mark, known.mark) {
        (MarkSeen::Absent, Some(mark)) => Identity::Unmarked(mark),
        _ => Identity::Known(known.mark),
    };
    Identified { repo, known: Some(known), identity, moved }
}

fn unknown(repo: Located, identity: Identity) -> Identified {
    Identified { repo, known: None, identity, moved: false }
}

impl Writer {
    /// Ends the sessions of repositories that are gone. What is at their places now is another repository.
    pub(super) fn replaced(&mut self, repos: &[RepoId]) {
        self.end_sessions_of(repos, REPLACED);
        if self.failed {
            return;
        }
        for repo in repos {
            let known = self.candidate.registry.repo(*repo).filter(|known| !known.key.is_nowhere());
            if let Some(known) = known.cloned() {
                let key = RepoKey::nowhere(known.id);
                self.change(Change::RepoSeen(Arc::new(RepoRecord { key, ..RepoRecord::clone(&known) })));
            }
        }
    }

    /// Ends the sessions of repositories that this registry does not decide about any more. The next look finds those that are
    /// in the middle of a change of their branch.
    pub(super) fn end_sessions_of(&mut self, repos: &[RepoId], why: &'static str) {
        if self.failed {
            return;
        }
        let registry = &self.candidate.registry;
        let is_lost = |session: &&Arc<SessionRecord>| repos.contains(&session.repo) && session.intent.is_none();
        let lost: Vec<SessionId> = registry.active(None).filter(is_lost).map(|session| session.id).collect();
        for session in lost {
            warn!(%session, why, "a session ended");
            self.change(ended_with_repository(session, why));
        }
    }

    /// Records where a repository is now, unless its record has changed since.
    pub(super) fn repo_seen(&mut self, repo: Arc<RepoRecord>) {
        let is_it = |known: &RepoRecord| known.key == repo.key || (known.mark.is_some() && known.mark == repo.mark);
        let is_news = |known: &Arc<RepoRecord>| is_it(known) && *known != repo;
        if !self.failed && self.candidate.registry.repo(repo.id).is_some_and(is_news) {
            self.change(Change::RepoSeen(repo));
        }
    }
}
