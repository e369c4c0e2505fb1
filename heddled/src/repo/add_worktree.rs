//! Makes a linked worktree by `git worktree add`: again where another Git process is in the way, and with nothing left of one
//! that failed.
//!
//! Git fails where it reads a record of another worktree that is half written ("failed to read commondir"). This daemon makes
//! one worktree of a repository at a time, but a Git process of somebody else can be at it, too.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto_schema::ThreadName;

use super::error::{Cause, Error};
use super::files::{absent_as_none, read_path};
use super::opened::Opened;
use super::program::Program;

/// How often it is tried.
const TRIES: u32 = 20;

/// How much longer each pause before another try is than the one before: all tries take two seconds.
const PAUSE: Duration = Duration::from_millis(10);

/// Adds a worktree of `thread` at `target`, locked with `reason`.
pub(super) fn add(
    repository: &Opened,
    program: &Program,
    thread: &ThreadName,
    target: &Path,
    reason: &str,
) -> Result<(), Error> {
    let before = Before::of(repository, target).map_err(|source| Error::io("make the worktree", target, source))?;
    let words = ["add", "--quiet", "--lock", "--reason", reason, "--"].map(OsStr::new);
    let words = [&words[..], &[target.as_os_str(), OsStr::new(thread.as_str())]].concat();
    let mut tries = 1;
    loop {
        let Err(error) = program.worktree(&repository.git_dir, &words) else { return Ok(()) };
        before.restore(repository, target);
        if !is_disturbed(&error) || tries == TRIES {
            let lacking = || Error::LacksObjects { path: target.to_owned(), new_branch_at: None };
            return Err(if lacks_objects(&error) { lacking() } else { error });
        }
        std::thread::park_timeout(PAUSE * tries);
        tries += 1;
    }
}

/// What Git wrote when it failed; it speaks English to us.
fn complaint(error: &Error) -> &str {
    if let Error::Unavailable { cause: Cause::Program { stderr, .. }, .. } = error { stderr } else { "" }
}

/// Whether it failed because another Git process makes or removes a worktree, or writes the configuration, right now.
fn is_disturbed(error: &Error) -> bool {
    let complaint = complaint(error);
    let is_half_made = complaint.contains("failed to read") && complaint.contains("worktrees");
    is_half_made || complaint.contains("could not lock config file")
}

/// Whether a partial clone lacks objects, which are not fetched here.
fn lacks_objects(error: &Error) -> bool {
    complaint(error).contains("from promisor remote")
}

/// What was there before.
struct Before {
    /// The names of the records of worktrees.
    records: BTreeSet<OsString>,
    /// The folders above the worktree that were not there, the deepest first.
    missing: Vec<PathBuf>,
}

impl Before {
    fn of(repository: &Opened, target: &Path) -> io::Result<Self> {
        let is_missing = |folder: &&Path| std::fs::symlink_metadata(folder).is_err();
        let missing = target.ancestors().skip(1).take_while(is_missing).map(Path::to_owned).collect();
        Ok(Self { records: records(repository)?, missing })
    }

    /// Removes what Git has left of a worktree that it could not make. Git does so itself, unless it was killed.
    fn restore(&self, repository: &Opened, target: &Path) {
        let dot_git = target.join(".git");
        for name in records(repository).unwrap_or_default().difference(&self.records) {
            let record = repository.git_dir.join("worktrees").join(name);
            // Another Git process may have made one of its own meanwhile.
            if !matches!(read_path(&record.join("gitdir"), b"", &record), Ok(Some(path)) if path == dot_git) {
                continue;
            }
            let leads_there = matches!(read_path(&dot_git, b"gitdir: ", target), Ok(Some(path)) if path == record);
            if leads_there {
                // It was checked out a moment ago, by the process that we started.
                drop(std::fs::remove_dir_all(target));
            }
            drop(std::fs::remove_dir_all(&record));
        }
        // Only what is empty goes.
        for folder in self.missing.iter().map(PathBuf::as_path).chain([&*repository.git_dir.join("worktrees")]) {
            drop(std::fs::remove_dir(folder));
        }
    }
}

fn records(repository: &Opened) -> io::Result<BTreeSet<OsString>> {
    let entries = absent_as_none(std::fs::read_dir(repository.git_dir.join("worktrees")))?;
    entries.into_iter().flatten().map(|entry| entry.map(|entry| entry.file_name())).collect()
}
