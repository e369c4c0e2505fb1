//! [`GitRepo`]: the [`Repo`] that works on real repositories.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto_schema::{ObjectId, ThreadName, Timestamp};

use super::cache::{Cache, Place};
use super::capture::{Capture, CaptureRequest, Captures, PreparedCapture};
use super::compare::{self, Comparison, Comparisons, Conflicts, MergeRequest, Pair};
use super::error::{Cause, Error};
use super::find::{self, Mounts, Whereabouts};
use super::inspect::{Inspection, ThreadToInspect};
use super::program::{Environment, Program};
use super::removal::{LinkedWorktree, Removal, RemoveRequest};
use super::settings::UserSettings;
use super::stamp::Stamp;
use super::status::{StatusRequest, WorktreeStatus};
use super::workplace::Workplaces;
use super::{Anchor, Claim, Expected, Identity, Located, RefsVersion, Repo, Sighting, Signature};
use super::{durable, glance, inspect, marker, names, removal, status, swap, target, worktrees};
use crate::registry::RepositoryId;

/// Tells the wall time, for reflog entries.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Git repositories on this machine, kept open within a bound.
pub struct GitRepo {
    program: Program,
    user: UserSettings,
    cache: Cache,
    now: WallClock,
    captures: Captures,
    workplaces: Workplaces,
    comparisons: Comparisons,
}

impl GitRepo {
    /// Makes it for a user's environment; `now` tells the wall time.
    #[must_use]
    pub fn new(environment: Environment, now: WallClock) -> Self {
        let program = Program::new(environment);
        Self {
            user: UserSettings::new(program.clone()),
            program,
            cache: Cache::new(Arc::clone(&now)),
            now,
            workplaces: Workplaces::new(None),
            captures: Captures::default(),
            comparisons: Comparisons::new(),
        }
    }

    /// Says where captures and looks at worktrees are prepared: a directory of the daemon's own, which is made when it is
    /// needed and must lie where no agent may write. Without it no worktree is captured or looked at.
    #[must_use]
    pub fn with_workplace(mut self, directory: PathBuf) -> Self {
        self.workplaces = Workplaces::new(Some(directory));
        self
    }

    /// Whom reflog entries name now.
    fn signature(&self) -> Signature {
        let user = self.user.current();
        Signature {
            name: user.name.clone(),
            email: user.email.clone(),
            log_updates: user.log_updates,
            seconds: (self.now)().unix_ms().div_euclid(1000),
        }
    }

    /// Removes a worktree, as `look` says that it is.
    pub(super) fn remove_looking(
        &self,
        request: &RemoveRequest<'_>,
        look: &dyn Fn() -> Result<WorktreeStatus, Error>,
    ) -> Result<Removal, Error> {
        removal::remove(&self.place(request.git_dir)?.repository, &self.captures, request, look)
    }

    fn place(&self, path: &Path) -> Result<Arc<Place>, Error> {
        self.cache.place(path, &self.user, self.program.environment().home.as_deref())
    }
}

/// Turns "no such commit" into the caller's mistake, where the caller named it.
fn named_by_caller(error: Error) -> Error {
    if let Error::Unavailable { cause: Cause::NoCommit { id }, .. } = error {
        return Error::AnchorNotFound { anchor: id.to_string() };
    }
    error
}

impl Repo for GitRepo {
    fn locate(&self, path: &Path) -> Result<Located, Error> {
        self.place(path)?.located()
    }

    fn remembered(&self, path: &Path) -> Option<Arc<Path>> {
        self.cache.remembered(path).map(|place| Arc::clone(&place.repository.git_dir))
    }

    fn mount_of(&self, path: &Path) -> Arc<Path> {
        Mounts::read().of(path).into()
    }

    fn find(&self, path: &Path, mount: &Path) -> Whereabouts {
        find::find(path, mount, &Mounts::read())
    }

    fn sight(&self, path: &Path, thread: &ThreadName, anchor: &Anchor) -> Result<Sighting, Error> {
        let place = self.place(path)?;
        let repository = &place.repository;
        let tip = repository.refs.tip(thread)?;
        names::refuse_other_spelling(&repository.refs, thread)?;
        if tip.is_none() {
            names::check_new(&repository.refs, thread)?;
        }
        let head = place.head()?;
        let (anchor, commit) = match (anchor, tip) {
            (Anchor::Tip, Some(tip)) => (tip.state, repository.objects.commit(tip.state)?),
            (Anchor::Tip, None) | (Anchor::Head, _) => {
                let state = repository.refs.follow(head.target.clone())?.ok_or(Error::NoHead)?;
                (state, repository.objects.commit(state)?)
            }
            (Anchor::Revision(revision), _) => {
                let state = repository.objects.resolve(&place.private, revision)?;
                (state, repository.objects.commit(state).map_err(named_by_caller)?)
            }
        };
        match tip {
            None => repository.refs.refuse_conflict(thread)?,
            // This may be all that is done for the reserve: nothing else makes it durable.
            Some(tip) if tip.state == anchor && !(tip.durable && commit.durable) => {
                durable::branch(repository, &thread.ref_name(), anchor)?;
            }
            Some(_) => {}
        }
        if tip.is_none_or(|tip| tip.state == anchor) {
            durable::heads(repository, &place.private)?;
        }
        let (tip, checked_out) = (tip.map(|tip| tip.state), head.thread.clone());
        Ok(Sighting { repo: place.located()?, anchor, root: commit.root, tip, checked_out })
    }

    fn glance(
        &self,
        path: &Path,
        thread: &ThreadName,
        anchor: &Anchor,
        registry: &Claim,
        era: u64,
    ) -> Option<Sighting> {
        glance::glance(&*self.cache.remembered(path)?, thread, anchor, registry, era)
    }

    fn tip(&self, git_dir: &Path, thread: &ThreadName) -> Result<Option<ObjectId>, Error> {
        self.place(git_dir)?.repository.refs.tip(thread).map(|tip| tip.map(|tip| tip.state))
    }

    fn tips(&self, git_dir: &Path, threads: &[&ThreadName]) -> Result<Vec<Result<Option<ObjectId>, Error>>, Error> {
        let refs = &self.place(git_dir)?.repository.refs;
        Ok(threads.iter().map(|thread| refs.tip(thread).map(|tip| tip.map(|tip| tip.state))).collect())
    }

    fn version(&self, git_dir: &Path, folders: &BTreeSet<PathBuf>) -> Option<RefsVersion> {
        let now = (self.now)();
        let files = folders.iter().map(|folder| git_dir.join(folder)).chain([git_dir.join("packed-refs")]);
        let stamps = files.map(|file| {
            let stamp = Stamp::with_times(&file).ok()?;
            stamp.is_none_or(|stamp| stamp.is_settled(now)).then_some(stamp)
        });
        stamps.collect::<Option<_>>().map(RefsVersion)
    }

    fn compare_and_swap(
        &self,
        git_dir: &Path,
        thread: &ThreadName,
        expected: Expected,
        new: ObjectId,
        log: &str,
    ) -> Result<(), Error> {
        let place = self.place(git_dir)?;
        place.repository.objects.root(new).map_err(named_by_caller)?;
        swap::compare_and_swap(&place.repository, thread, expected, new, &self.signature(), log)
    }

    fn clear_lock(&self, git_dir: &Path, thread: &ThreadName, new: ObjectId) -> Result<bool, Error> {
        swap::clear_lock(&self.place(git_dir)?.repository, thread, new)
    }

    fn commit_root(&self, git_dir: &Path, state: ObjectId) -> Result<ObjectId, Error> {
        self.place(git_dir)?.repository.objects.root(state).map_err(named_by_caller)
    }

    fn claim(&self, git_dir: &Path, registry: &Claim, era: u64, identity: Identity) -> Result<RepositoryId, Error> {
        // A marker that is still the one which was verified says by itself that the repository is the same.
        if let Some(place) = self.cache.remembered(git_dir)
            && let Some(found) = place.repository.marker.holds(git_dir, registry, era)
            && (identity == Identity::New || identity == Identity::Known(Some(found)))
        {
            return Ok(found);
        }
        marker::claim(git_dir, registry, era, identity, &self.place(git_dir)?.repository.marker)
    }

    fn own_era(&self, git_dir: &Path, registry: &Claim) -> Result<Option<u64>, Error> {
        marker::own_era(git_dir, registry)
    }

    fn era_to_adopt(&self, git_dir: &Path, registry: &Claim, era: u64) -> Result<u64, Error> {
        marker::era_to_adopt(git_dir, registry, era)
    }

    fn adopt(&self, git_dir: &Path, registry: &Claim, era: u64) -> Result<(), Error> {
        marker::adopt(git_dir, registry, era, &self.place(git_dir)?.repository.marker)
    }

    fn is_one(&self, one: &Path, other: &Path) -> Result<bool, Error> {
        marker::is_one(one, other)
    }

    fn check_worktree(
        &self,
        repo: &Located,
        thread: &ThreadName,
        path: Option<&Path>,
        roots: &[PathBuf],
    ) -> Result<(), Error> {
        target::check(&self.place(&repo.git_dir)?.repository, thread, path, roots)
    }

    fn worktree(
        &self,
        repo: &Located,
        thread: &ThreadName,
        path: Option<&Path>,
        roots: &[PathBuf],
        lock_reason: &str,
    ) -> Result<PathBuf, Error> {
        let place = self.place(&repo.git_dir)?;
        target::make_or_find(&place.repository, &self.program, thread, path, roots, lock_reason)
    }

    fn delete_branch(&self, git_dir: &Path, thread: &ThreadName, at: ObjectId) -> Result<(), Error> {
        let repository = &self.place(git_dir)?.repository;
        if let Some((worktree, _)) = worktrees::using(repository, thread)? {
            return Err(Error::CheckedOut { worktree: worktree.path });
        }
        match repository.refs.tip(thread)?.map(|tip| tip.state) {
            Some(tip) if tip == at => self.program.delete_ref(git_dir, &thread.ref_name(), at),
            actual => Err(Error::Conflict { expected: Some(at), actual }),
        }
    }

    fn unlock_worktree(&self, repo: &Located, path: &Path, lock_reason: &str) -> Result<(), Error> {
        target::unlock(&self.place(&repo.git_dir)?.repository, path, lock_reason)
    }

    fn registered_worktree(&self, repo: &Located, path: &Path) -> Result<PathBuf, Error> {
        worktrees::registered(&self.place(&repo.git_dir)?.repository, path).map(|worktree| worktree.path)
    }

    fn linked_worktrees(&self, git_dir: &Path) -> Result<Vec<LinkedWorktree>, Error> {
        removal::linked(&self.place(git_dir)?.repository)
    }

    fn remove_worktree(&self, request: &RemoveRequest<'_>) -> Result<Removal, Error> {
        let (git_dir, worktree) = (request.git_dir, request.worktree);
        let (allowed_filters, cancelled) = (request.allowed_filters, request.cancelled);
        self.remove_looking(request, &|| {
            self.status(&StatusRequest { git_dir, worktree, ignored: true, allowed_filters, cancelled })
        })
    }

    fn checked_out_at(&self, git_dir: &Path, thread: &ThreadName) -> Result<Option<PathBuf>, Error> {
        let found = worktrees::using(&self.place(git_dir)?.repository, thread)?;
        Ok(found.map(|(worktree, _)| worktree.path))
    }

    fn compare(&self, git_dir: &Path, pair: Pair) -> Result<Arc<Comparison>, Error> {
        self.comparisons.compare(&self.place(git_dir)?.repository, pair).map_err(named_by_caller)
    }

    fn merged_by(&self, git_dir: &Path, tip: ObjectId, target: ObjectId) -> Result<Option<ObjectId>, Error> {
        self.comparisons.merged_by(&self.place(git_dir)?.repository, tip, target).map_err(named_by_caller)
    }

    fn conflicts(&self, request: &MergeRequest<'_>) -> Result<Conflicts, Error> {
        let place = self.place(request.git_dir)?;
        compare::conflicts(&place.repository, (&self.workplaces, &self.program), request).map_err(named_by_caller)
    }

    fn status(&self, request: &StatusRequest<'_>) -> Result<WorktreeStatus, Error> {
        status::status(&self.place(request.git_dir)?.repository, (&self.workplaces, &self.program), request)
    }

    fn inspect(&self, path: &Path, threads: &[ThreadToInspect]) -> Result<Inspection, Error> {
        inspect::inspect(&*self.place(path)?, threads)
    }

    fn prepare_capture(&self, request: &CaptureRequest<'_>) -> Result<Capture, Error> {
        let place = self.place(request.git_dir)?;
        self.captures.prepare(&place.repository, (&self.workplaces, &self.program), request, (self.now)())
    }

    fn finish_capture(&self, git_dir: &Path, prepared: &PreparedCapture, log: &str) -> Result<(), Error> {
        self.captures.finish(&self.place(git_dir)?.repository, prepared, &self.signature(), log)
    }

    fn clear_captures(&self, git_dir: &Path) -> Result<(), Error> {
        self.captures.clear(&self.place(git_dir)?.repository)
    }

    fn undo_capture(&self, _: &Path, prepared: &PreparedCapture) -> Result<(), Error> {
        self.captures.undo(prepared)
    }
}
