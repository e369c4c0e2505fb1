//! The files of a worktree, each with the version that was seen, and removing just these.
//!
//! Every folder is opened below the one before and no symbolic link is followed: what is looked at and removed lies in the
//! worktree, whatever is put in the place of a folder meanwhile. A file is removed only while it is the version that was
//! seen, and a folder only while it is empty: what comes in later than the look is never removed.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice as _;
use gix::index::entry::Flags;
use proto_schema::Timestamp;
use rustix::fs::{Access, AtFlags, Dir, FileType, Mode, OFlags, accessat, openat, unlinkat};

use super::stamp::Stamp;

/// The deepest that folders are looked into: each is kept open meanwhile.
const DEEPEST: usize = 256;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Something in a worktree that a checkout of its branch would not bring back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The index does not list it.
    Unlisted,
    /// A repository of its own: a submodule or an embedded one.
    Repository,
    /// A socket, a FIFO or a device.
    Special,
    /// Git was told not to look for changes in it: `assume-unchanged` or `skip-worktree`.
    Unwatched,
    /// Another file system.
    Mounted,
    /// A folder deeper than anybody looks.
    Deep,
    /// A folder in which nothing may be removed.
    ReadOnly,
    /// It is not what was seen a moment before, or was not there then.
    Changed,
}

/// Why a walk ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// By what was found at a path.
    Found(Finding, PathBuf),
    /// Something could not be read or removed.
    Failed(PathBuf, io::Error),
}

/// The files of a worktree, all of which its index lists, and the version of each.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    files: BTreeMap<Vec<u8>, Stamp>,
}

/// A worktree, kept open.
pub(super) struct Folder {
    path: PathBuf,
    open: OwnedFd,
    device: u64,
}

/// What a walk comes to. The worktree's own `.git` is no part of it.
enum Step<'a> {
    /// A folder, before what is in it.
    Enter { open: BorrowedFd<'a> },
    /// Anything else.
    File { folder: BorrowedFd<'a>, name: &'a CStr, kind: FileType, stamp: Stamp },
    /// A folder, after what is in it.
    Leave { folder: BorrowedFd<'a>, name: &'a CStr },
}

type Visit<'a> = dyn FnMut(&Path, Step<'_>) -> Result<(), Stop> + 'a;

impl Folder {
    /// Opens a worktree by its canonical path.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let open = openat(rustix::fs::CWD, path, FOLDER, Mode::empty())?;
        let (_, stamp) = Stamp::of_entry(&open, c".", path)?;
        Ok(Self { path: path.to_owned(), open, device: stamp.identity().0 })
    }

    fn walk(&self, visit: &mut Visit<'_>) -> Result<(), Stop> {
        visit(Path::new(""), Step::Enter { open: self.open.as_fd() })?;
        self.walk_in(self.open.as_fd(), Path::new(""), 0, visit)
    }

    fn walk_in(&self, open: BorrowedFd<'_>, at: &Path, depth: usize, visit: &mut Visit<'_>) -> Result<(), Stop> {
        let failed = |path: &Path, error: io::Error| Stop::Failed(self.path.join(path), error);
        let mut entries = Dir::read_from(open).map_err(|error| failed(at, error.into()))?;
        while let Some(entry) = entries.read() {
            let entry = entry.map_err(|error| failed(at, error.into()))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = at.join(OsStr::from_bytes(name.to_bytes()));
            if name.to_bytes().eq_ignore_ascii_case(b".git") {
                if depth == 0 && name.to_bytes() == b".git" {
                    continue;
                }
                return Err(Stop::Found(Finding::Repository, at.to_owned()));
            }
            let seen = Stamp::of_entry(open, name, &self.path.join(at));
            let (kind, stamp) = seen.map_err(|error| failed(&path, error))?;
            if kind != FileType::Directory {
                visit(&path, Step::File { folder: open, name, kind, stamp })?;
                continue;
            }
            if stamp.identity().0 != self.device {
                return Err(Stop::Found(Finding::Mounted, path));
            }
            if depth == DEEPEST {
                return Err(Stop::Found(Finding::Deep, path));
            }
            let inner = openat(open, name, FOLDER, Mode::empty()).map_err(|error| failed(&path, error.into()))?;
            visit(&path, Step::Enter { open: inner.as_fd() })?;
            self.walk_in(inner.as_fd(), &path, depth + 1, visit)?;
            visit(&path, Step::Leave { folder: open, name })?;
        }
        Ok(())
    }
}

impl Inventory {
    /// Takes down every file, as long as the index lists it and a checkout would bring it back.
    pub(super) fn take(worktree: &Folder, index: &gix::index::State) -> Result<Self, Stop> {
        let mut inventory = Self::default();
        worktree.walk(&mut |path, step| {
            match step {
                Step::Enter { open } => {
                    let may = Access::WRITE_OK | Access::EXEC_OK;
                    if accessat(open, c".", may, AtFlags::empty()).is_err() {
                        return Err(Stop::Found(Finding::ReadOnly, path.to_owned()));
                    }
                }
                Step::File { kind, stamp, .. } => {
                    let found = finding(index, path, kind);
                    if let Some(found) = found {
                        return Err(Stop::Found(found, path.to_owned()));
                    }
                    inventory.files.insert(path.as_os_str().as_bytes().to_vec(), stamp);
                }
                Step::Leave { .. } => {}
            }
            Ok(())
        })?;
        Ok(inventory)
    }

    /// A file that was changed so shortly before `now` that a further change may not show.
    pub(super) fn unsettled(&self, now: Timestamp) -> Option<PathBuf> {
        let found = self.files.iter().find(|(_, stamp)| !stamp.is_settled(now));
        found.map(|(path, _)| PathBuf::from(OsStr::from_bytes(path)))
    }

    /// Lets a worktree pass that has just these files in just these versions.
    pub(super) fn compare(&self, worktree: &Folder) -> Result<(), Stop> {
        let mut seen = 0;
        worktree.walk(&mut |path, step| {
            if let Step::File { stamp, .. } = step {
                self.check(path, stamp)?;
                seen += 1;
            }
            Ok(())
        })?;
        // One that is gone says that somebody is at work, too.
        if seen == self.files.len() { Ok(()) } else { Err(Stop::Found(Finding::Changed, PathBuf::new())) }
    }

    /// Removes these files, as long as they are in these versions, and their folders, as long as these are empty then.
    pub(super) fn remove(&self, worktree: &Folder) -> Result<(), Stop> {
        worktree.walk(&mut |path, step| {
            let failed = |error: rustix::io::Errno| match error {
                rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST => {
                    Stop::Found(Finding::Changed, path.to_owned())
                }
                other => Stop::Failed(worktree.path.join(path), other.into()),
            };
            match step {
                Step::Enter { .. } => Ok(()),
                Step::File { folder, name, stamp, .. } => {
                    self.check(path, stamp)?;
                    unlinkat(folder, name, AtFlags::empty()).map_err(failed)
                }
                Step::Leave { folder, name } => unlinkat(folder, name, AtFlags::REMOVEDIR).map_err(failed),
            }
        })
    }

    fn check(&self, path: &Path, stamp: Stamp) -> Result<(), Stop> {
        if self.files.get(path.as_os_str().as_bytes()) == Some(&stamp) {
            return Ok(());
        }
        Err(Stop::Found(Finding::Changed, path.to_owned()))
    }
}

/// Why a checkout would not bring a file back as it is, as far as the index tells.
fn finding(index: &gix::index::State, path: &Path, kind: FileType) -> Option<Finding> {
    if !matches!(kind, FileType::RegularFile | FileType::Symlink) {
        return Some(Finding::Special);
    }
    match index.entry_by_path(path.as_os_str().as_bytes().as_bstr()) {
        None => Some(Finding::Unlisted),
        Some(entry) if entry.flags.intersects(Flags::ASSUME_VALID | Flags::SKIP_WORKTREE) => Some(Finding::Unwatched),
        Some(_) => None,
    }
}
