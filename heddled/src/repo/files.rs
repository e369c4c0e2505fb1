//! Files and directories as the rest of this folder needs them: identified, read without surprises, made durable.
//!
//! Nothing here follows a symbolic link in the last part of a path, waits for the writer of a FIFO, or leaves a
//! descriptor to a child process. What is not synced here is not durable.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lru::LruCache;
use nix::fcntl::OFlag;
use parking_lot::Mutex;
use proto_schema::Timestamp;

/// The most bytes that are read of a file which Git keeps small (a ref, a `gitdir` file).
const SMALL_FILE: u64 = 64 * 1024;

/// The most directories of one repository that are remembered as synced.
const SYNCED_DIRECTORIES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// How coarse file times may be: two changes closer together can leave the same time.
const TIME_GRAIN_MS: i64 = 20;

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

    /// Whether the last change is so long ago that a further one would show in the times, `now` being wall time.
    pub(super) fn is_settled(&self, now: Timestamp) -> bool {
        let (seconds, nanoseconds) = self.changed;
        seconds * 1000 + nanoseconds / 1_000_000 + TIME_GRAIN_MS < now.unix_ms()
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

/// The directories below one Git directory whose own entries are known to be durable.
///
/// A directory that was removed and made anew has another identity, and is synced again.
#[derive(Debug)]
pub(super) struct Synced(Mutex<LruCache<PathBuf, Stamp>>);

impl Synced {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(SYNCED_DIRECTORIES)))
    }

    /// Makes a file's entry in its directory durable, and the entries of the directories above it up to `top`: those may
    /// have been made a moment ago, here or by another process that does not sync them.
    pub(super) fn sync_parents(&self, file: &Path, top: &Path) -> io::Result<()> {
        let mut parents = file.ancestors().skip(1).take_while(|directory| directory.starts_with(top)).peekable();
        if let Some(parent) = parents.peek() {
            sync_directory(parent)?;
        }
        while let (Some(directory), Some(above)) = (parents.next(), parents.peek()) {
            // The stamp is taken before the sync, so that it cannot be that of a later directory of this name.
            let stamp = Stamp::at(directory)?;
            if stamp.is_some() && self.0.lock().get(directory).copied() == stamp {
                continue;
            }
            sync_directory(above)?;
            if let Some(stamp) = stamp {
                self.0.lock().put(directory.to_owned(), stamp);
            }
        }
        Ok(())
    }
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
