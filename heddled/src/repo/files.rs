//! Files and directories as the rest of this folder needs them: identified, read without surprises, made durable.
//!
//! Nothing here follows a symbolic link in the last part of a path, waits for the writer of a FIFO, or leaves a
//! descriptor to a child process. What is not synced here is not durable.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// The most bytes that are read of a file which Git keeps small (a ref, a `gitdir` file).
const SMALL_FILE: u64 = 64 * 1024;

/// What tells one version of a file or directory from another.
///
/// A file that is replaced gets another inode, one that is rewritten another size or time; the change time cannot be
/// set by a program, so that a restored modification time is noticed too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    owner: u32,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of_file(data: &Metadata) -> Self {
        Self {
            device: data.dev(),
            inode: data.ino(),
            owner: data.uid(),
            size: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        }
    }

    /// A directory's times change with every entry: only its identity counts. Its birth tells a new directory from a
    /// removed one whose inode it got.
    fn of_directory(data: &Metadata) -> Self {
        let born = data.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let born = born.map_or((0, 0), |at| (at.as_secs().cast_signed(), i64::from(at.subsec_nanos())));
        Self { device: data.dev(), inode: data.ino(), owner: data.uid(), size: 0, modified: born, changed: born }
    }

    fn of(data: &Metadata) -> Self {
        if data.is_dir() { Self::of_directory(data) } else { Self::of_file(data) }
    }

    /// The stamp of what the path leads to, symbolic links followed; `None` when there is nothing.
    pub(super) fn at(path: &Path) -> io::Result<Option<Self>> {
        absent_as_none(std::fs::metadata(path)).map(|data| data.as_ref().map(Self::of))
    }

    /// The stamp of the path itself, a symbolic link not followed; `None` when there is nothing.
    pub(super) fn at_link(path: &Path) -> io::Result<Option<Self>> {
        absent_as_none(std::fs::symlink_metadata(path)).map(|data| data.as_ref().map(Self::of))
    }

    pub(super) fn identity(self) -> (u64, u64) {
        (self.device, self.inode)
    }

    pub(super) fn owner(self) -> u32 {
        self.owner
    }
}

/// Turns "there is no such file" into `None`; a file in the place of a parent directory means the same.
pub(super) fn absent_as_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a file for reading that a hostile repository may have replaced by a link or a FIFO.
pub(super) fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

/// Reads a small file, a symbolic link not followed; `None` when there is none.
pub(super) fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = absent_as_none(open_plain(path))? else { return Ok(None) };
    let mut content = Vec::with_capacity(256);
    // One byte more than allowed tells a file of exactly that size from a larger one.
    file.take(SMALL_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > SMALL_FILE {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(Some(content))
}

/// Reads a file that holds one path, as Git writes them; a relative one is relative to `base`.
pub(super) fn read_path(file: &Path, prefix: &[u8], base: &Path) -> io::Result<Option<PathBuf>> {
    let Some(content) = read_small(file)? else { return Ok(None) };
    let content = content.strip_prefix(prefix).ok_or(io::ErrorKind::InvalidData)?.trim_ascii_end();
    if content.is_empty() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Some(base.join(OsStr::from_bytes(content))))
}

/// Makes the entries of a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes the entries of every directory from `file`'s parent up to `top` durable.
///
/// All of them each time: another process may have made one a moment ago without syncing it, and the sync of a clean
/// directory costs little.
pub(super) fn sync_parents(file: &Path, top: &Path) -> io::Result<()> {
    for directory in file.ancestors().skip(1).take_while(|directory| directory.starts_with(top)) {
        sync_directory(directory)?;
    }
    Ok(())
}

/// Removes a directory in which there are only empty directories, as Git does when a branch needs its name.
pub(super) fn remove_empty_tree(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        remove_empty_tree(&entry.path())?;
    }
    std::fs::remove_dir(path)
}
