//! Whether a branch can be known under a name: one branch must not have two names, and a new one must not have a name that
//! Git or a shell takes for something else.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use proto_schema::ThreadName;

use super::error::Error;
use super::files::absent_as_none;
use super::format::Format;
use super::refs::Refs;
use crate::registry::Folding;

const OPERATION: &str = "read the ref";
const HEADS: &str = "refs/heads";

/// What the ref store of a repository does not tell apart: what its configuration says, and what its file system does, for
/// the configuration may come from another machine.
pub(super) fn folding(git_dir: &Path, format: &Format) -> Folding {
    if format.ignore_case || folds_case(git_dir) {
        Folding::Case
    } else if format.precompose_unicode || cfg!(target_os = "macos") {
        Folding::Unicode
    } else {
        Folding::None
    }
}

fn folds_case(git_dir: &Path) -> bool {
    let identity = |data: Metadata| (data.dev(), data.ino());
    let look = |name: &str| std::fs::symlink_metadata(git_dir.join(name)).map(identity);
    let by_other_case = look("refs/HEADS").is_ok_and(|other| look(HEADS).is_ok_and(|heads| heads == other));
    by_other_case || is_folding_folder(&git_dir.join(HEADS))
}

/// Whether a folder is marked so that names in it are compared without case: ext4, F2FS and tmpfs have such folders.
#[cfg(target_os = "linux")]
fn is_folding_folder(path: &Path) -> bool {
    /// `FS_CASEFOLD_FL` of linux/fs.h.
    const CASEFOLD: rustix::fs::IFlags = rustix::fs::IFlags::from_bits_retain(0x4000_0000);
    let flags = std::fs::File::open(path).and_then(|folder| Ok(rustix::fs::ioctl_getflags(folder)?));
    flags.is_ok_and(|flags| flags.contains(CASEFOLD))
}

#[cfg(not(target_os = "linux"))]
fn is_folding_folder(_: &Path) -> bool {
    false
}

/// Refuses a thread whose ref is reached through a symbolic link: the same file is a branch under another name, or of another
/// repository.
pub(super) fn refuse_link(refs: &Refs, thread: &ThreadName) -> Result<(), Error> {
    match linked_folder(refs, thread)? {
        None => Ok(()),
        Some(folder) => Err(Error::LinkedThread { folder: refs.loose_path(&folder) }),
    }
}

/// The first folder on the way to a thread's ref that is a symbolic link, relative to the Git directory.
pub(super) fn linked_folder(refs: &Refs, thread: &ThreadName) -> Result<Option<String>, Error> {
    let name = thread.ref_name();
    for (end, _) in name.match_indices('/') {
        if refs.is_link(&name[..end])? {
            return Ok(Some(name[..end].to_owned()));
        }
    }
    Ok(None)
}

/// Refuses a name that the ref store takes for that of another branch. A branch that is there in just this spelling is fine.
pub(super) fn refuse_other_spelling(refs: &Refs, thread: &ThreadName) -> Result<(), Error> {
    if refs.folding == Folding::None {
        return Ok(());
    }
    match other_spelling(refs, thread)? {
        None => Ok(()),
        Some(existing) => Err(Error::NameConflict { existing }),
    }
}

fn other_spelling(refs: &Refs, thread: &ThreadName) -> Result<Option<ThreadName>, Error> {
    let mut folder = refs.loose_path(HEADS);
    let mut parts = thread.as_str().split('/').peekable();
    while let Some(part) = parts.next() {
        match entry(refs.folding, &folder, part).map_err(|source| Error::io(OPERATION, &folder, source))? {
            Spelled::Absent => return refs.packed_confused_with(thread),
            Spelled::Exactly if parts.peek().is_none() => return Ok(None),
            Spelled::Exactly => folder.push(part),
            Spelled::Otherwise(path) => {
                let other = if path.is_dir() { super::refs::first_file(&path) } else { Some(path) };
                // Git removes an empty folder that stands in the way.
                let Some(other) = other else { return refs.packed_confused_with(thread) };
                return Ok(Some(refs.thread_at(&other).ok_or(Error::LinkedThread { folder: other })?));
            }
        }
    }
    Ok(None)
}

/// How a folder has a name.
enum Spelled {
    Absent,
    Exactly,
    Otherwise(PathBuf),
}

fn entry(folding: Folding, folder: &Path, name: &str) -> io::Result<Spelled> {
    let mut found = Spelled::Absent;
    let Some(entries) = absent_as_none(std::fs::read_dir(folder))? else { return Ok(found) };
    for entry in entries {
        let entry = entry?.file_name();
        if entry == *OsStr::new(name) {
            return Ok(Spelled::Exactly);
        }
        if entry.to_str().is_some_and(|entry| folding.same(entry, name)) {
            found = Spelled::Otherwise(folder.join(entry));
        }
    }
    Ok(found)
}

/// Refuses a name for a branch that is to be made: one that needs quotes, or that of a remote-tracking branch, which Git would
/// call ambiguous from then on.
pub(super) fn check_new(refs: &Refs, thread: &ThreadName) -> Result<(), Error> {
    thread
        .check_new()
        .map_err(|refused| Error::NewName { problem: refused.problem, suggestion: refused.suggestion })?;
    if thread.as_str().contains('/') && refs.look(&format!("refs/remotes/{thread}"))?.is_some() {
        let problem = "a remote-tracking branch has this name";
        return Err(Error::NewName { problem, suggestion: thread.as_str().replace('/', "-") });
    }
    Ok(())
}
