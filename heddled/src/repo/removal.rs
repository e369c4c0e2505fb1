//! Removing a linked worktree that holds no work, and saying why another stays.
//!
//! `git worktree remove` takes ignored files along without a word, and asks `git status` in the worktree, whose
//! configuration is the agent's. So it is done here: only what a checkout brings back is removed, file by file, and no
//! program runs but the one that [`Repo::status`](super::Repo::status) holds in check.
//!
//! The index is locked for the time of it, so that Git commits, switches and stashes nothing there. What is left is a file
//! of the index that another program overwrites in the moment between the look at its version and its removal.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use proto_schema::{ObjectId, ThreadName};
use rustix::fs::{Access, access};

use super::capture::{CaptureRefused, Captures, GitOperation};
use super::error::Error;
use super::files::{absent_as_none, read_small};
use super::inventory::{Finding, Folder, Inventory, Stop};
use super::opened::{Opened, shown};
use super::refs::Target;
use super::status::WorktreeStatus;
use super::target::locked_by;
use super::workplace::Stored;
use super::worktrees::{self, Worktree};

const OPERATION: &str = "remove the worktree";

/// How long a file's last change must be past, so that the next one shows.
const SETTLES: Duration = Duration::from_millis(25);

/// How often that is waited for.
const TRIES: usize = 4;

/// A linked worktree that is on a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedWorktree {
    /// Where it is, canonical; or where it was.
    pub path: PathBuf,
    /// The branch that its HEAD is attached to, or that a rebase or bisect in it will come back to.
    pub thread: ThreadName,
    /// The reason of its lock.
    pub locked: Option<String>,
}

/// Which worktree is to be removed.
#[derive(Clone, Copy, Debug)]
pub struct RemoveRequest<'a> {
    /// The repository: [`Located::git_dir`](super::Located::git_dir).
    pub git_dir: &'a Path,
    /// One of the repository's linked worktrees, as [`Repo::linked_worktrees`](super::Repo::linked_worktrees) says it.
    pub worktree: &'a Path,
    /// The thread that it must be on.
    pub thread: &'a ThreadName,
    /// Where the thread must be.
    pub tip: ObjectId,
    /// The reason of a lock that does not count.
    pub own_lock: Option<&'a str>,
    /// Whether it is only looked at.
    pub dry_run: bool,
    /// The content filters that may run beside `lfs`, as at a capture.
    pub allowed_filters: &'a [String],
    /// Set to true, it ends the look within a moment; what is being removed is removed.
    pub cancelled: &'a AtomicBool,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is gone, with its record; or would be.
    Removed,
    /// It stays.
    Kept(Kept),
}

/// Why a worktree stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing is at its place that leads to its record.
    Gone,
    /// It is locked.
    Locked {
        /// Why.
        reason: String,
    },
    /// Another program is writing its index.
    Busy {
        /// The lock file.
        lock: PathBuf,
    },
    /// It is in the middle of an operation.
    Operation(GitOperation),
    /// It is not at the state that was asked for.
    Moved,
    /// The index has conflicts.
    Conflicted {
        /// How many.
        count: usize,
    },
    /// It differs from HEAD, or has files that are untracked.
    Changed {
        /// The first of them.
        path: Arc<str>,
        /// How many.
        count: u64,
    },
    /// It has files that are ignored.
    Ignored {
        /// How many, a folder of nothing else as one.
        count: u64,
    },
    /// It has refs of its own, which would be lost with it.
    Refs,
    /// Whether it has changes cannot be told, for a content filter may not run.
    Filter {
        /// The filter driver's name.
        filter: String,
        /// A file that needs it.
        path: Arc<str>,
    },
    /// It has something that a checkout would not bring back.
    Found {
        /// What.
        finding: Finding,
        /// Where.
        path: Arc<str>,
    },
    /// It was changed while it was being removed. Files that are as in its branch may be gone by then.
    Disturbed {
        /// What is not as it was.
        path: Arc<str>,
    },
}

/// The linked worktrees that are on a branch whose name can be a thread's.
pub(super) fn linked(repository: &Opened) -> Result<Vec<LinkedWorktree>, Error> {
    let mut found = Vec::new();
    for worktree in worktrees::all(repository)?.into_iter().filter(|worktree| !worktree.is_main) {
        let name = match repository.refs.attached(&worktree.private)? {
            Some(Target::Symbolic(name)) => Some(name),
            Some(Target::Object(_)) => worktrees::under_way(&worktree.private)?.into_iter().next(),
            None => None,
        };
        let Some(thread) = name.as_deref().and_then(ThreadName::of_ref) else { continue };
        let locked = locked_by(&worktree)?.map(|reason| String::from_utf8_lossy(&reason).into_owned());
        found.push(LinkedWorktree { path: worktree.path, thread, locked });
    }
    found.sort_by(|one, other| (&one.thread, &one.path).cmp(&(&other.thread, &other.path)));
    Ok(found)
}

/// Removes a worktree, or says why it stays. `look` tells how it is, with the ignored files.
pub(super) fn remove(
    repository: &Opened,
    captures: &Captures,
    request: &RemoveRequest<'_>,
    look: &dyn Fn() -> Result<WorktreeStatus, Error>,
) -> Result<Removal, Error> {
    match attempt(repository, captures, request, look) {
        Ok(()) => Ok(Removal::Removed),
        Err(Not::Kept(kept)) => Ok(Removal::Kept(kept)),
        Err(Not::Failed(error)) => Err(error),
    }
}

/// Why a worktree was not removed.
enum Not {
    Kept(Kept),
    Failed(Error),
}

impl From<Error> for Not {
    fn from(error: Error) -> Self {
        let Error::Capture(refused) = error else { return Self::Failed(error) };
        match refused {
            CaptureRefused::WorktreeBusy { lock } => Self::Kept(Kept::Busy { lock }),
            CaptureRefused::FilterNotAllowed { filter, path } => {
                Self::Kept(Kept::Filter { filter, path: shown(&path) })
            }
            refused @ (CaptureRefused::OtherThread { .. }
            | CaptureRefused::OperationInProgress { .. }
            | CaptureRefused::IndexConflicted { .. }
            | CaptureRefused::IdentityMissing
            | CaptureRefused::FilterUnsteady { .. }
            | CaptureRefused::SigningRefused { .. }
            | CaptureRefused::Cancelled) => Self::Failed(refused.into()),
        }
    }
}

impl From<Stop> for Not {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Found(finding, path) => Self::Kept(Kept::Found { finding, path: shown(&path) }),
            Stop::Failed(path, error) => Self::Failed(Error::io(OPERATION, &path, error)),
        }
    }
}

fn attempt(
    repository: &Opened,
    captures: &Captures,
    request: &RemoveRequest<'_>,
    look: &dyn Fn() -> Result<WorktreeStatus, Error>,
) -> Result<(), Not> {
    let record = worktrees::recorded(repository, request.worktree)?;
    let failed = |source| Not::Failed(Error::io(OPERATION, &record.path, source));
    if record.is_main || !worktrees::leads_back(&record) {
        return Err(Not::Kept(Kept::Gone));
    }
    refuse_lock(&record, request)?;
    // With it held, what is looked at is what is removed.
    let _lock = if request.dry_run { None } else { Some(captures.lock_index(&record.private, request.cancelled)?) };
    let worktree = Folder::open(&record.path).map_err(failed)?;
    let inventory = settled(repository, &worktree, &record);
    // Its own words first: they say what it is, where the inventory says what is in the way.
    refuse_status(request, look()?)?;
    refuse_state(&record).map_err(failed)?.map_or(Ok(()), |kept| Err(Not::Kept(kept)))?;
    let inventory = inventory?;
    // All of it once more before the first file is removed: the look has taken its time.
    inventory.compare(&worktree)?;
    refuse_moved(repository, &record, request)?;
    refuse_lock(&record, request)?;
    if request.dry_run {
        return Ok(());
    }
    inventory.remove(&worktree).map_err(disturbed)?;
    remove_top(&record).map_err(failed)?.map_or(Ok(()), |kept| Err(Not::Kept(kept)))?;
    forget(repository, &record).map_err(failed)
}

fn refuse_lock(record: &Worktree, request: &RemoveRequest<'_>) -> Result<(), Not> {
    match locked_by(record)? {
        Some(reason) if request.own_lock.is_none_or(|own| own.as_bytes() != reason) => {
            Err(Not::Kept(Kept::Locked { reason: String::from_utf8_lossy(&reason).into_owned() }))
        }
        Some(_) | None => Ok(()),
    }
}

/// The index lock keeps Git from most that moves HEAD, and nobody from moving the branch.
fn refuse_moved(repository: &Opened, record: &Worktree, request: &RemoveRequest<'_>) -> Result<(), Not> {
    let is_on =
        |target: Option<Target>| matches!(target, Some(Target::Symbolic(name)) if name == request.thread.ref_name());
    let tip = repository.refs.tip(request.thread)?.map(|tip| tip.state);
    if is_on(repository.refs.attached(&record.private)?) && tip == Some(request.tip) {
        return Ok(());
    }
    Err(Not::Kept(Kept::Moved))
}

/// The files, once each of them was changed so long ago that a further change shows.
fn settled(repository: &Opened, worktree: &Folder, record: &Worktree) -> Result<Inventory, Not> {
    let mut tries = 0;
    loop {
        let inventory = Inventory::take(worktree, &index_of(repository, record)?)?;
        let Some(path) = inventory.unsettled((repository.now)()) else { return Ok(inventory) };
        tries += 1;
        if tries == TRIES {
            return Err(Stop::Found(Finding::Changed, path).into());
        }
        std::thread::park_timeout(SETTLES);
    }
}

/// What the index lists. A split one lists too little, and its worktree stays.
fn index_of(repository: &Opened, record: &Worktree) -> Result<gix::index::State, Error> {
    let (path, hash) = (record.private.join("index"), repository.format.hash);
    let stored = Stored::read(&path, &path, hash)?;
    // None lists nothing.
    stored.map_or_else(|| Ok(gix::index::State::new(hash)), |stored| stored.state(hash))
}

fn refuse_status(request: &RemoveRequest<'_>, status: WorktreeStatus) -> Result<(), Not> {
    let kept = if let Some(operation) = status.operation {
        Kept::Operation(operation)
    } else if !status.conflicted.is_empty() {
        Kept::Conflicted { count: status.conflicted.len() }
    } else if status.branch.as_deref() != Some(request.thread.as_str()) || status.head != Some(request.tip) {
        Kept::Moved
    } else if status.changed_count > 0 {
        let path = status.changed_paths.first().cloned().unwrap_or_default();
        Kept::Changed { path, count: status.changed_count }
    } else if status.ignored_count > 0 {
        Kept::Ignored { count: status.ignored_count }
    } else {
        return Ok(());
    };
    Err(Not::Kept(kept))
}

/// What its own Git directory has that is nowhere else: refs, a stash, repositories of submodules. Or its place may not be
/// removed.
fn refuse_state(record: &Worktree) -> io::Result<Option<Kept>> {
    for folder in ["refs/worktree", "refs/bisect", "refs/rewritten"] {
        if has_files(&record.private.join(folder))? {
            return Ok(Some(Kept::Refs));
        }
    }
    if absent_as_none(std::fs::symlink_metadata(record.private.join("MERGE_AUTOSTASH")))?.is_some() {
        return Ok(Some(Kept::Refs));
    }
    let found = |finding, path: &Path| Some(Kept::Found { finding, path: shown(path) });
    if has_files(&record.private.join("modules"))? {
        return Ok(found(Finding::Repository, &record.private.join("modules")));
    }
    let parent = record.path.parent().unwrap_or(&record.path);
    let may = access(parent, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    Ok(if may { None } else { found(Finding::ReadOnly, parent) })
}

fn has_files(folder: &Path) -> io::Result<bool> {
    let Some(entries) = absent_as_none(std::fs::read_dir(folder))? else { return Ok(false) };
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir() || has_files(&entry.path())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is found while files are being removed came in just then.
fn disturbed(stop: Stop) -> Not {
    match stop {
        Stop::Found(_, path) => Not::Kept(Kept::Disturbed { path: shown(&path) }),
        failed @ Stop::Failed(..) => failed.into(),
    }
}

/// Removes the worktree's `.git` and its directory, which must be empty then; else the `.git` comes back.
fn remove_top(record: &Worktree) -> io::Result<Option<Kept>> {
    let dot_git = record.path.join(".git");
    let content = read_small(&dot_git)?.ok_or(io::ErrorKind::NotFound)?;
    std::fs::remove_file(&dot_git)?;
    match std::fs::remove_dir(&record.path) {
        Ok(()) => Ok(None),
        Err(error) => {
            std::fs::write(&dot_git, content)?;
            if error.kind() == io::ErrorKind::DirectoryNotEmpty {
                return Ok(Some(Kept::Disturbed { path: shown(&record.path) }));
            }
            Err(error)
        }
    }
}

/// Removes the repository's record of a worktree that is gone, as Git does.
fn forget(repository: &Opened, record: &Worktree) -> io::Result<()> {
    std::fs::remove_dir_all(&record.private)?;
    // Only when it was the last.
    drop(std::fs::remove_dir(repository.git_dir.join("worktrees")));
    Ok(())
}
