//! What a worktree has that its HEAD has not, as `git status` would tell it, without trusting the worktree.
//!
//! Git is run as for a capture, in a private Git directory with a copy of the index: what the index knows of the files'
//! times holds, and the worktree's own index is neither written nor locked. Two things differ from a plain `git status`:
//!
//! - Of a submodule only counts which commit it is at, as that is all a capture would record: to tell what has changed
//!   within, Git would work under the submodule's own configuration. What `.gitmodules` wants to be overlooked counts.
//! - A file that is renamed is two paths, the old and the new one.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proto_schema::ObjectId;

use super::capture::{GitOperation, under_way};
use super::error::{Cause, Error};
use super::opened::{Opened, shown};
use super::program::Program;
use super::refs::Target;
use super::workplace::{Limits, Listed, Purpose, Snapshot, Work, Workplaces, filters, registered, rules};

/// The most paths that are kept; all are counted.
const MOST: usize = 1000;

/// Which worktree is looked at, and how.
#[derive(Clone, Copy, Debug)]
pub struct StatusRequest<'a> {
    /// The repository: [`Located::git_dir`](super::Located::git_dir).
    pub git_dir: &'a Path,
    /// One of the repository's own worktrees, canonical.
    pub worktree: &'a Path,
    /// Whether files that are ignored count, too.
    pub ignored: bool,
    /// The content filters that may run beside `lfs`, as at a capture.
    pub allowed_filters: &'a [String],
    /// Set to true, it ends the look within a moment, as [`CaptureRefused::Cancelled`](super::CaptureRefused::Cancelled).
    pub cancelled: &'a AtomicBool,
}

/// How a worktree is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorktreeStatus {
    /// The branch that HEAD is attached to, without `refs/heads/`; none when it is detached.
    pub branch: Option<String>,
    /// The commit that HEAD leads to; none where nothing was committed yet.
    pub head: Option<ObjectId>,
    /// What it is in the middle of.
    pub operation: Option<GitOperation>,
    /// The paths at which the index has conflicts.
    pub conflicted: Vec<PathBuf>,
    /// Which paths differ from HEAD, in the index or in the worktree, untracked ones included: the first 1,000, as the wire
    /// shows them.
    pub changed_paths: Vec<Arc<str>>,
    /// How many do.
    pub changed_count: u64,
    /// How many paths are there that are ignored, a folder that is ignored itself as one; 0 where they were not asked for.
    pub ignored_count: u64,
}

impl WorktreeStatus {
    /// Whether there is something to capture.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.changed_count > 0 || !self.conflicted.is_empty()
    }
}

/// Looks at a worktree.
pub(super) fn status(
    repository: &Opened,
    (places, program): (&Workplaces, &Program),
    request: &StatusRequest<'_>,
) -> Result<WorktreeStatus, Error> {
    let (record, worktree) = registered(repository, request.worktree)?;
    let target = repository.refs.attached(&record.private)?;
    let branch = match &target {
        Some(Target::Symbolic(name)) => Some(name.strip_prefix("refs/heads/").unwrap_or(name).to_owned()),
        Some(Target::Object(_)) | None => None,
    };
    let head = repository.refs.follow(target)?;
    let operation = under_way(&record.private)?;
    let limits = Limits { allowed_filters: request.allowed_filters, cancelled: request.cancelled };
    let work = Work::new(places, program, repository, (&record, worktree), limits)?;
    let snapshot = work.lay_out(Purpose::Look { head })?;
    // Before Git follows what it lists.
    let index = work.index()?;
    let listed = Listed::of(&index)?;
    rules::refuse_special(&work, &index)?;
    let told = Told::parse(&ask(&work, &snapshot, &listed, request.ignored)?).ok_or_else(|| {
        Error::malformed("look at the worktree", request.worktree, "Git told what nobody understands")
    })?;
    if !told.files.is_empty() {
        filters::refuse(&work, &snapshot, &listed, &told.files)?;
    }
    let path_of = |path: &Vec<u8>| PathBuf::from(OsStr::from_bytes(path));
    Ok(WorktreeStatus {
        branch,
        head,
        operation,
        conflicted: told.conflicted.iter().map(path_of).collect(),
        changed_paths: told.changed.iter().take(MOST).map(|path| shown(&path_of(path))).collect(),
        changed_count: told.changed.len() as u64,
        ignored_count: told.ignored,
    })
}

/// What `git status` says.
fn ask(work: &Work<'_>, snapshot: &Snapshot, listed: &Listed, ignored: bool) -> Result<Vec<u8>, Error> {
    let mut command = work.git();
    // Nothing is to be written, and nobody will use an index that was brought up to date.
    command.args(["--no-optional-locks", "status", "--porcelain=v2", "-z", "--no-renames", "--untracked-files=all"]);
    command.args(["--ignore-submodules=dirty", if ignored { "--ignored=matching" } else { "--ignored=no" }]);
    match work.run(command, "status") {
        Err(error @ Error::Unavailable { cause: Cause::Program { .. }, .. }) if snapshot.refuses_filters() => {
            let index = work.index()?;
            let paths: Vec<Vec<u8>> = index.entries().iter().map(|entry| entry.path(&index).to_vec()).collect();
            filters::refuse(work, snapshot, listed, &paths)?;
            Err(error)
        }
        other => other,
    }
}

/// What Git told of the paths.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    changed: BTreeSet<Vec<u8>>,
    conflicted: BTreeSet<Vec<u8>>,
    ignored: u64,
    /// Those of the changed that may be plain files in the worktree.
    files: Vec<Vec<u8>>,
}

impl Told {
    /// Reads what `git status --porcelain=v2 -z` says; `None` when that is something else.
    fn parse(said: &[u8]) -> Option<Self> {
        let mut told = Self::default();
        for entry in said.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
            match entry[0] {
                b'1' => drop(told.tracked(entry, 8, 5)?),
                b'u' => {
                    let path = told.tracked(entry, 10, 6)?;
                    told.conflicted.insert(path);
                }
                b'?' => {
                    let path = entry.strip_prefix(b"? ")?.to_vec();
                    // A folder is a repository of its own.
                    if !path.ends_with(b"/") {
                        told.files.push(path.clone());
                    }
                    told.changed.insert(path);
                }
                b'!' => told.ignored += 1,
                b'#' => {}
                _ => return None,
            }
        }
        Some(told)
    }

    /// A path that the index or HEAD has, and the mode that it has in the worktree, by the numbers of their fields.
    fn tracked(&mut self, entry: &[u8], path: usize, mode: usize) -> Option<Vec<u8>> {
        let fields: Vec<&[u8]> = entry.splitn(path + 1, |byte| *byte == b' ').collect();
        let (path, is_file) = (fields.get(path)?.to_vec(), fields.get(mode)?.starts_with(b"100"));
        if is_file {
            self.files.push(path.clone());
        }
        self.changed.insert(path.clone());
        Some(path)
    }
}
