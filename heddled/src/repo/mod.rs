//! Everything the daemon does to Git: finding repositories, reading and moving refs, making worktrees, capturing them.
//!
//! Methods block (on files, locks and the `git` program) and run on blocking workers. Refs and objects are handled in
//! process; the `git` program makes and locks worktrees, reads what a worktree has, and tells what the configuration says.
//!
//! # Invariants
//!
//! - G1: a ref is moved only from the state that its caller expected, compared under Git's own lock.
//! - G2: what is reported as done is on disk: the ref, its reflog entry, their directories, and what the ref leads to.
//! - G3: what cannot be read is an error; it never counts as absent.
//! - G4: an answer from a cache is the answer that the files give now; each call checks with a few stats.
//! - G5: no configuration or content of a repository makes the daemon run a command, and no `GIT_*` variable of its own
//!   environment changes what it does.
//! - G6: no lock is held during I/O but Git's own.
//!
//! Absent by intent: nothing here knows sessions or threads' records, reads a clock (the caller says what time it is), or
//! deletes what it did not make, but for a worktree that somebody asks to have removed and that a checkout brings back.

mod add_worktree;
mod cache;
mod capture;
mod compare;
mod discover;
mod durable;
mod error;
mod files;
mod find;
mod format;
mod git;
mod glance;
mod inspect;
mod inventory;
mod known;
mod mark;
mod marker;
mod names;
mod objects;
mod opened;
mod program;
mod reflog;
mod refs;
mod removal;
mod settings;
mod stamp;
mod status;
mod swap;
mod synced;
mod target;
#[cfg(test)]
mod tests;
mod trees;
mod workplace;
mod worktrees;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto_schema::{ObjectId, ThreadName};

pub use capture::{Capture, CaptureRefused, CaptureRequest, GitOperation, PreparedCapture};
pub use compare::{Comparison, Conflicts, MergeRequest, Pair};
pub use error::{Cause, Error};
pub use find::Whereabouts;
pub use git::{GitRepo, WallClock};
pub use inspect::{BranchFound, Head, Inspection, ThreadFound, ThreadToInspect, Upstream};
pub use inventory::Finding;
pub use mark::{Identity, MarkSeen, write_key};
pub use opened::shown;
pub use program::Environment;
pub use removal::{Kept, LinkedWorktree, Removal, RemoveRequest};
pub use status::{StatusRequest, WorktreeStatus};

use crate::registry::{Folding, MarkKey, RepoKey, RepositoryId};

/// A repository as seen from one path in it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Which repository it is.
    pub key: RepoKey,
    /// The common Git directory, canonical.
    pub git_dir: Arc<Path>,
    /// What the wire shows as `repo`: the main worktree, canonical, or the Git directory where there is none.
    pub shown: Arc<str>,
    /// The worktree that the path lies in, canonical; `None` for a path in a Git directory.
    pub worktree: Option<Arc<Path>>,
    /// What its ref store does not tell apart in the names of branches.
    pub folding: Folding,
    /// What its mark says of it.
    pub mark: MarkSeen,
    /// When its common Git directory was made, in nanoseconds, where the file system records it: an inode that was given to a
    /// new directory has another time.
    pub born: Option<i64>,
}

/// Where a session wants to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// At HEAD of the worktree that the path lies in.
    Head,
    /// At the thread's tip if it exists, else at HEAD.
    Tip,
    /// At any revision that Git understands.
    Revision(String),
}

/// What a reservation needs to know of a repository, read at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The repository.
    pub repo: Located,
    /// The commit that the anchor names.
    pub anchor: ObjectId,
    /// That commit's tree.
    pub root: ObjectId,
    /// The thread's tip; `None` when there is no such branch yet.
    pub tip: Option<ObjectId>,
    /// The branch that the worktree's HEAD is attached to, when its name can be a thread's.
    pub checked_out: Option<ThreadName>,
}

/// Where a ref must be for it to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It must not exist.
    Absent,
    /// It must be exactly there.
    At(ObjectId),
}

impl Expected {
    fn state(self) -> Option<ObjectId> {
        match self {
            Self::Absent => None,
            Self::At(state) => Some(state),
        }
    }
}

/// A version of some branches of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefsVersion(Vec<Option<stamp::Stamp>>);

/// The folder of a thread's ref, relative to the Git directory. Git replaces a ref's file whenever it moves it, which shows in
/// the times of the folder.
#[must_use]
pub fn folder_of(thread: &ThreadName) -> PathBuf {
    let mut folder = PathBuf::from(thread.ref_name());
    folder.pop();
    folder
}

/// A registry, as it signs the repositories that it decides about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The registry's id: one line of text.
    pub id: Arc<str>,
    /// Its state directory, absolute.
    pub state_dir: PathBuf,
    /// What it signs with.
    pub key: MarkKey,
    /// Where it runs.
    pub surroundings: Surroundings,
}

impl Claim {
    fn owner(&self) -> Owner {
        Owner { id: Arc::clone(&self.id), state_dir: self.state_dir.clone() }
    }
}

/// A registry, as the mark of a repository names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The registry's id.
    pub id: Arc<str>,
    /// Its state directory, as its own daemon sees it.
    pub state_dir: PathBuf,
}

/// Where a daemon runs: what decides which directory a path leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The boot id of the machine.
    pub boot: Arc<str>,
    /// The number of the mount namespace; 0 where there are none.
    pub mounts: u64,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn current(boot: Arc<str>) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { boot, mounts: std::fs::metadata("/proc/self/ns/mnt").map_or(0, |data| data.ino()) }
    }

    /// Whether paths lead here to what they led to there. Namespaces are numbered anew at each boot; only the one that a machine
    /// starts with has the same number again.
    fn have_the_paths_of(&self, there: &Self) -> bool {
        /// The first numbers of proc(5), which the kernel gives to the namespaces that it starts with.
        const FIRST: u64 = 0xf000_0010;
        self.mounts == there.mounts && (self.boot == there.boot || self.mounts < FIRST)
    }
}

/// Whom a reflog entry names, and when, as far as the repository's own configuration does not say.
#[derive(Clone, Debug, Default)]
struct Signature {
    name: Option<String>,
    email: Option<String>,
    log_updates: Option<settings::LogUpdates>,
    seconds: i64,
}

/// What the daemon asks of Git. Every path is absolute, every method blocks.
///
/// `git_dir` is always [`Located::git_dir`]. Every method may fail with [`Error::NotFound`], for the repository may be
/// gone since it was located, and with [`Error::Unavailable`].
pub trait Repo: Send + Sync + 'static {
    /// Finds the repository that a path lies in: a worktree, a folder below one, a Git directory, a symbolic link to any.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    fn locate(&self, path: &Path) -> Result<Located, Error>;

    /// The common Git directory that a path was found to lead to before. Reads nothing: it may lead elsewhere by now.
    fn remembered(&self, path: &Path) -> Option<Arc<Path>>;

    /// The mount point that a path lies below, by its text. Touches no file system but `/proc`.
    fn mount_of(&self, path: &Path) -> Arc<Path>;

    /// Finds out which repository a path leads to, as far as the file system at `mount` says: no other one is touched.
    fn find(&self, path: &Path, mount: &Path) -> Whereabouts;

    /// Reads what a reservation needs: the anchor, its tree, and where the thread is. A thread that is at the anchor is
    /// durable there on return.
    ///
    /// # Errors
    /// In this order: [`Error::NotFound`]; [`Error::LinkedThread`], [`Error::SymbolicThread`]; [`Error::NameConflict`] with a branch
    /// in another spelling; [`Error::NewName`] for a thread that does not exist yet; [`Error::NoHead`] or
    /// [`Error::AnchorNotFound`]; [`Error::NameConflict`].
    fn sight(&self, path: &Path, thread: &ThreadName, anchor: &Anchor) -> Result<Sighting, Error>;

    /// What [`Repo::sight`] would answer, where that can be told without waiting for anything: the thread exists, all of it
    /// was read before, and a few stats on a local disk say that nothing has changed since. The repository is then known to
    /// be marked as this registry's, in that era. `None` in every other case, refusals included.
    fn glance(&self, path: &Path, thread: &ThreadName, anchor: &Anchor, registry: &Claim, era: u64)
    -> Option<Sighting>;

    /// The thread's tip; `None` when there is no such branch.
    ///
    /// # Errors
    /// [`Error::SymbolicThread`].
    fn tip(&self, git_dir: &Path, thread: &ThreadName) -> Result<Option<ObjectId>, Error>;

    /// The tips of several threads of one repository: one look at the repository and one at each branch.
    ///
    /// # Errors
    /// Of one thread: those of [`Repo::tip`].
    fn tips(&self, git_dir: &Path, threads: &[&ThreadName]) -> Result<Vec<Result<Option<ObjectId>, Error>>, Error>;

    /// A version of the branches in these folders, as [`folder_of`] names them: while it is the same, Git has moved none of
    /// them. `None` while that cannot be told, for something was changed a moment ago.
    fn version(&self, git_dir: &Path, folders: &BTreeSet<PathBuf>) -> Option<RefsVersion>;

    /// Moves the thread's ref from where it is expected to `new`, with a reflog entry; durable on return. A ref that is
    /// expected at `new` and is there is left as it is, and made durable.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::NameConflict`], [`Error::SymbolicThread`]; [`Error::AnchorNotFound`] when `new` is
    /// no commit. After [`Error::Unavailable`] the ref may have been moved: read it.
    fn compare_and_swap(
        &self,
        git_dir: &Path,
        thread: &ThreadName,
        expected: Expected,
        new: ObjectId,
        log: &str,
    ) -> Result<(), Error>;

    /// Removes the lock file that a [`Repo::compare_and_swap`] to `new` left when it was cut off, and says whether there
    /// was one. A lock file that says anything else is another's and stays. Nobody may be moving the thread by this
    /// registry meanwhile.
    ///
    /// # Errors
    /// None but those of every method.
    fn clear_lock(&self, git_dir: &Path, thread: &ThreadName, new: ObjectId) -> Result<bool, Error>;

    /// The tree of a commit.
    ///
    /// # Errors
    /// [`Error::AnchorNotFound`] when it is no commit of the repository.
    fn commit_root(&self, git_dir: &Path, state: ObjectId) -> Result<ObjectId, Error>;

    /// Writes the registry's mark into the repository on first use, or verifies it, and answers the repository's id. A mark of the
    /// same registry in another state directory is brought up to date when no daemon runs there. The mark says the era of the
    /// tokens that may be granted from then on.
    ///
    /// # Errors
    /// [`Error::Owned`]; [`Error::Replaced`] when it is not the repository of that identity.
    fn claim(&self, git_dir: &Path, registry: &Claim, era: u64, identity: Identity) -> Result<RepositoryId, Error>;

    /// The era of a mark that this registry has signed; none where there is no such mark.
    ///
    /// # Errors
    /// None but those of every method.
    fn own_era(&self, git_dir: &Path, registry: &Claim) -> Result<Option<u64>, Error>;

    /// The era that a registry in `era` must enter before it takes the repository over, so that its tokens are higher than all
    /// that were granted there. Looks at everything that [`Repo::adopt`] would refuse.
    ///
    /// # Errors
    /// Those of [`Repo::adopt`]; [`Error::Unavailable`] where the mark says an era that is not believed.
    fn era_to_adopt(&self, git_dir: &Path, registry: &Claim, era: u64) -> Result<u64, Error>;

    /// Takes the repository over from another registry whose daemon is not running and whose tokens are of an earlier era.
    ///
    /// # Errors
    /// [`Error::Owned`] when it runs, [`Error::OwnerHidden`] when that cannot be told.
    fn adopt(&self, git_dir: &Path, registry: &Claim, era: u64) -> Result<(), Error>;

    /// Whether two Git directories are one, seen at two places. Makes a file in one of them and removes it.
    ///
    /// # Errors
    /// None but those of every method.
    fn is_one(&self, one: &Path, other: &Path) -> Result<bool, Error>;

    /// Whether [`Repo::worktree`] could make or find the worktree now. Changes nothing.
    ///
    /// # Errors
    /// Those of [`Repo::worktree`].
    fn check_worktree(
        &self,
        repo: &Located,
        thread: &ThreadName,
        path: Option<&Path>,
        roots: &[PathBuf],
    ) -> Result<(), Error>;

    /// Makes a linked worktree of the thread, or finds the one that has it checked out, and locks it with the reason.
    ///
    /// # Errors
    /// [`Error::CheckedOut`] when the main worktree has the thread, or a linked one is in the middle of an operation on
    /// it; [`Error::WorktreeGone`], [`Error::PathNotAllowed`], [`Error::Occupied`].
    fn worktree(
        &self,
        repo: &Located,
        thread: &ThreadName,
        path: Option<&Path>,
        roots: &[PathBuf],
        lock_reason: &str,
    ) -> Result<PathBuf, Error>;

    /// Deletes a thread's branch with its reflog, if it is at `at` and no worktree uses it.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the branch is somewhere else, [`Error::CheckedOut`] when a worktree uses it.
    fn delete_branch(&self, git_dir: &Path, thread: &ThreadName, at: ObjectId) -> Result<(), Error>;

    /// Takes back the lock that [`Repo::worktree`] gave with the same reason. Another lock, or none, is left as it is.
    ///
    /// # Errors
    /// [`Error::WorktreeNotFound`].
    fn unlock_worktree(&self, repo: &Located, path: &Path, lock_reason: &str) -> Result<(), Error>;

    /// The canonical path of one of the repository's own worktrees, the main one included.
    ///
    /// # Errors
    /// [`Error::WorktreeNotFound`].
    fn registered_worktree(&self, repo: &Located, path: &Path) -> Result<PathBuf, Error>;

    /// The linked worktrees that are on a branch whose name can be a thread's, by the repository's own records.
    ///
    /// # Errors
    /// None but those of every method.
    fn linked_worktrees(&self, git_dir: &Path) -> Result<Vec<LinkedWorktree>, Error>;

    /// Removes a linked worktree with its record, if a checkout of its branch brings all of it back, ignored files included;
    /// says why it stays otherwise. What changes while it looks makes it stay. The branch stays in any case.
    ///
    /// # Errors
    /// [`Error::WorktreeNotFound`]; [`CaptureRefused::Cancelled`]. After [`Error::Unavailable`] files of the worktree may be
    /// gone: those that its branch has.
    fn remove_worktree(&self, request: &RemoveRequest<'_>) -> Result<Removal, Error>;

    /// The worktree that has the thread checked out, or is rebasing or bisecting it.
    ///
    /// # Errors
    /// None but those of every method.
    fn checked_out_at(&self, git_dir: &Path, thread: &ThreadName) -> Result<Option<PathBuf>, Error>;

    /// How a thread stands to its target. Answers about the same states are remembered: commits do not change.
    ///
    /// # Errors
    /// [`Error::AnchorNotFound`] when one of the states is no commit of the repository.
    fn compare(&self, git_dir: &Path, pair: Pair) -> Result<Arc<Comparison>, Error>;

    /// The target's commit that has the work of a thread. Where the target contains the thread's tip, that is the first commit
    /// of the target's own line that does; else a commit since the merge base whose tree is the thread's and not the merge
    /// base's own, as a squash makes it. None while the target lacks it. It is remembered as [`Repo::compare`] is, and walks
    /// the same commits.
    ///
    /// # Errors
    /// [`Error::AnchorNotFound`] when one of the states is no commit of the repository.
    fn merged_by(&self, git_dir: &Path, tip: ObjectId, target: ObjectId) -> Result<Option<ObjectId>, Error>;

    /// The paths at which merging a thread into its target conflicts, as `git merge-tree --write-tree` finds them, without the
    /// merge drivers of the repository, and with the attributes of the target. None for histories that have nothing in
    /// common: [`Comparison::merge_base`] says so. Nothing is written into the repository.
    ///
    /// # Errors
    /// [`Error::AnchorNotFound`] when one of the states is no commit of the repository;
    /// [`CaptureRefused::Cancelled`]. Git before 2.38 cannot tell, and some versions crash at some renames of folders:
    /// [`Error::Unavailable`].
    fn conflicts(&self, request: &MergeRequest<'_>) -> Result<Conflicts, Error>;

    /// What a worktree has that its HEAD has not. Changes nothing there, its index included.
    ///
    /// # Errors
    /// [`Error::WorktreeNotFound`] as at a capture; [`Error::Capture`] for a filter that may not run, and when cancelled.
    fn status(&self, request: &StatusRequest<'_>) -> Result<WorktreeStatus, Error>;

    /// What the repository that a path lies in says of itself, and of threads. Nothing is changed, and no command is run.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    fn inspect(&self, path: &Path, threads: &[ThreadToInspect]) -> Result<Inspection, Error>;

    /// Commits everything that Git would add in a worktree, and holds the worktree's `index.lock` with the index that
    /// goes with it. The commit is durable on return; no ref leads to it. The caller then records the intent, moves the
    /// thread by [`Repo::compare_and_swap`] from the parent to the new commit, and ends it with
    /// [`Repo::finish_capture`]; or with [`Repo::undo_capture`] when the ref was not moved. Waits 5 s for the lock.
    ///
    /// # Errors
    /// [`Error::WorktreeNotFound`] when the path is none of the repository's own worktrees, or when its `.git` no longer
    /// leads to the repository's record of it; [`Error::Capture`]; [`Error::Conflict`] when the thread is neither at the
    /// recorded state nor where the worktree's HEAD reflog ends. After an error branch, index and worktree are as they
    /// were.
    fn prepare_capture(&self, request: &CaptureRequest<'_>) -> Result<Capture, Error>;

    /// Completes a capture whose ref was moved: the HEAD reflog of the worktree, and its index. Durable on return; doing
    /// it again changes nothing.
    ///
    /// # Errors
    /// None but those of every method. The thread has the commit in any case.
    fn finish_capture(&self, git_dir: &Path, prepared: &PreparedCapture, log: &str) -> Result<(), Error>;

    /// Takes back a capture whose ref was not moved. Doing it again changes nothing; a lock of another is left as it is.
    ///
    /// # Errors
    /// None but those of every method.
    fn undo_capture(&self, git_dir: &Path, prepared: &PreparedCapture) -> Result<(), Error>;

    /// Takes back what captures left in the repository's worktrees that were cut off before anybody recorded them. Nobody
    /// may be capturing in the repository meanwhile.
    ///
    /// # Errors
    /// None but those of every method.
    fn clear_captures(&self, git_dir: &Path) -> Result<(), Error>;

    /// Finishes or undoes a capture that was cut off, by what the thread's ref says; true when it was finished. Nobody
    /// may be capturing that worktree by this registry meanwhile.
    ///
    /// # Errors
    /// [`Error::SymbolicThread`].
    fn recover_capture(
        &self,
        git_dir: &Path,
        thread: &ThreadName,
        prepared: &PreparedCapture,
        log: &str,
    ) -> Result<bool, Error> {
        let moved = self.tip(git_dir, thread)? == Some(prepared.new);
        let ended =
            if moved { self.finish_capture(git_dir, prepared, log) } else { self.undo_capture(git_dir, prepared) };
        ended.map(|()| moved)
    }
}
