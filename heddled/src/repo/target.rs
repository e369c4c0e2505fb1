//! Where a linked worktree of a thread may be made, and making it.
//!
//! A caller in a sandbox must not get files made where programs start from: a path counts only after every symbolic
//! link in it is resolved, and must then lie below one of the allowed roots. The default, beside the main worktree, is
//! held to the same rule.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use proto_schema::ThreadName;
use rustix::fs::{Access, access};

use super::add_worktree;
use super::error::Error;
use super::files::{absent_as_none, read_small};
use super::opened::Opened;
use super::program::Program;
use super::worktrees::{self, Use, Worktree};

const OPERATION: &str = "make the worktree";

/// How the reasons begin with which sessions lock their worktrees.
const LOCKED_BY_SESSION: &[u8] = b"reserved by agent-";

/// Where a thread's worktree is, or can be.
enum Place {
    /// It is there.
    Made(Worktree),
    /// Nothing is there, or an empty directory.
    Free(PathBuf),
}

/// Refuses what [`make_or_find`] would refuse.
pub(super) fn check(
    repository: &Opened,
    thread: &ThreadName,
    path: Option<&Path>,
    roots: &[PathBuf],
) -> Result<(), Error> {
    place(repository, thread, path, roots).map(drop)
}

fn place(repository: &Opened, thread: &ThreadName, path: Option<&Path>, roots: &[PathBuf]) -> Result<Place, Error> {
    match worktrees::using(repository, thread)? {
        None => {}
        Some((worktree, usage)) if worktree.is_main || usage == Use::UnderWay => {
            return Err(Error::CheckedOut { worktree: worktree.path });
        }
        // To make it anew would throw away its record, and with that what was staged there and the reflog of its HEAD; and
        // its disk may only not be mounted.
        Some((worktree, _)) if !worktrees::leads_back(&worktree) => {
            let repo = repository.main.clone().unwrap_or_else(|| repository.git_dir.to_path_buf());
            return Err(Error::WorktreeGone { path: worktree.path, repo });
        }
        Some((worktree, _)) => return Ok(Place::Made(worktree)),
    }
    let target = allowed(repository, thread, path, roots)?;
    let is_occupied = match absent_as_none(std::fs::read_dir(&target)) {
        Ok(None) => std::fs::symlink_metadata(&target).is_ok(),
        Ok(Some(mut entries)) => entries.next().is_some(),
        Err(source) => return Err(Error::io(OPERATION, &target, source)),
    };
    if is_occupied {
        return Err(Error::Occupied { path: target });
    }
    refuse_read_only(&target)?;
    Ok(Place::Free(target))
}

/// Refuses a place whose nearest folder that is there cannot be written to: Git would fail once the branch was made.
fn refuse_read_only(target: &Path) -> Result<(), Error> {
    let Some(folder) = target.ancestors().find(|folder| folder.is_dir()) else { return Ok(()) };
    match access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Ok(()),
        Err(cause) => {
            Err(Error::ReadOnly { path: target.to_owned(), folder: folder.to_owned(), cause: io::Error::from(cause) })
        }
    }
}

/// Makes the thread's worktree or finds it, and locks it.
pub(super) fn make_or_find(
    repository: &Opened,
    program: &Program,
    thread: &ThreadName,
    path: Option<&Path>,
    roots: &[PathBuf],
    lock_reason: &str,
) -> Result<PathBuf, Error> {
    let target = match place(repository, thread, path, roots)? {
        Place::Made(worktree) => {
            lock(&worktree, lock_reason)?;
            return Ok(worktree.path);
        }
        Place::Free(target) => target,
    };
    add_worktree::add(repository, program, thread, &target, lock_reason)?;
    // What was made must be where it was allowed, even if a directory became a link meanwhile.
    match worktrees::registered(repository, &target) {
        Ok(worktree) if worktree.path == target => Ok(target),
        _ => Err(Error::malformed(OPERATION, &target, "it was moved while it was made")),
    }
}

/// Locks a worktree, as Git does. A lock that another session of the thread left is taken over, for that one has ended; any
/// other stays.
fn lock(worktree: &Worktree, reason: &str) -> Result<(), Error> {
    let file = worktree.private.join("locked");
    let failed = |source| Error::io("lock the worktree", &file, source);
    match locked_by(worktree)? {
        Some(found) if !found.starts_with(LOCKED_BY_SESSION) => return Ok(()),
        Some(_) => drop(absent_as_none(std::fs::remove_file(&file)).map_err(failed)?),
        None => {}
    }
    // As a whole or not at all: a lock without its reason is another's, and no end of a session would remove it.
    let mode = std::fs::Permissions::from_mode(0o666);
    let made = tempfile::Builder::new().prefix("locked.").permissions(mode).tempfile_in(&worktree.private);
    let mut made = made.map_err(failed)?;
    writeln!(made, "{reason}").map_err(failed)?;
    match made.persist_noclobber(&file) {
        Ok(_) => Ok(()),
        // Someone else was first, which is as good.
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(refused) => Err(failed(refused.error)),
    }
}

/// Unlocks a worktree that is locked with just this reason, even one that is gone: `git worktree prune` may forget it then.
pub(super) fn unlock(repository: &Opened, path: &Path, reason: &str) -> Result<(), Error> {
    let worktree = worktrees::recorded(repository, path)?;
    if locked_by(&worktree)?.is_none_or(|found| found != reason.trim().as_bytes()) {
        return Ok(());
    }
    let file = worktree.private.join("locked");
    let removed = absent_as_none(std::fs::remove_file(&file));
    removed.map(drop).map_err(|source| Error::io("unlock the worktree", &file, source))
}

/// The reason of a worktree's lock; `None` when it is not locked.
pub(super) fn locked_by(worktree: &Worktree) -> Result<Option<Vec<u8>>, Error> {
    let file = worktree.private.join("locked");
    let content = read_small(&file).map_err(|source| Error::io("read the worktree's lock", &file, source))?;
    Ok(content.map(|content| content.trim_ascii().to_vec()))
}

/// The canonical path at which the worktree is made.
fn allowed(repository: &Opened, thread: &ThreadName, path: Option<&Path>, roots: &[PathBuf]) -> Result<PathBuf, Error> {
    let (wanted, roots) = match path {
        Some(path) => (path.to_owned(), roots.to_vec()),
        None => {
            let mut base: OsString = repository.main.as_deref().unwrap_or(&repository.git_dir).into();
            base.push(".worktrees");
            (Path::new(&base).join(thread.as_str()), vec![PathBuf::from(base)])
        }
    };
    let refused = || Error::PathNotAllowed { path: wanted.clone(), roots: roots.clone() };
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !wanted.is_absolute() || !wanted.components().all(is_plain) {
        return Err(refused());
    }
    let target = resolve(&wanted).ok_or_else(refused)?;
    let is_below = |root: &PathBuf| {
        // The default's own base must not be a link: nobody configured where it leads.
        let root = if path.is_some() { resolve(root) } else { Some(root.clone()) };
        root.is_some_and(|root| target != root && target.starts_with(&root))
    };
    if roots.iter().any(is_below) { Ok(target) } else { Err(refused()) }
}

/// A path with every symbolic link in it resolved, as far as it exists; `None` when that cannot be told.
fn resolve(path: &Path) -> Option<PathBuf> {
    for ancestor in path.ancestors() {
        match std::fs::symlink_metadata(ancestor) {
            Ok(_) => {
                let missing = path.strip_prefix(ancestor).ok()?;
                let resolved = std::fs::canonicalize(ancestor).ok()?;
                let is_self = missing.as_os_str().is_empty();
                return Some(if is_self { resolved } else { resolved.join(missing) });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return None,
        }
    }
    None
}
