//! What tells one version of a file or directory from another, and how a kept directory's files are looked at.

use std::ffi::CStr;
#[cfg(target_os = "linux")]
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use proto_schema::Timestamp;
use rustix::fs::FileType;

use super::files::absent_as_none;

/// How coarse file times may be: two changes closer together can leave the same time.
const TIME_GRAIN_MS: i64 = 20;

/// What tells one version of a file or directory from another.
///
/// A file that is replaced gets another inode, one that is rewritten another size or time; the change time cannot be
/// set by a program, so that a restored modification time is noticed too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    owner: u32,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// A file's, or a directory's with its times: those of its last entry that was made or removed.
    pub(super) fn of_file(data: &Metadata) -> Self {
        Self {
            device: data.dev(),
            inode: data.ino(),
            owner: data.uid(),
            size: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        }
    }

    /// What stays the same when a file is appended to or a directory gets entries. The birth tells a new one from a removed
    /// one whose inode it got.
    pub(super) fn of_identity(data: &Metadata) -> Self {
        let born = data.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let born = born.map_or((0, 0), |at| (at.as_secs().cast_signed(), i64::from(at.subsec_nanos())));
        Self { device: data.dev(), inode: data.ino(), owner: data.uid(), size: 0, modified: born, changed: born }
    }

    fn of(data: &Metadata) -> Self {
        if data.is_dir() { Self::of_identity(data) } else { Self::of_file(data) }
    }

    /// The stamp of what the path leads to, symbolic links followed; `None` when there is nothing.
    pub(super) fn at(path: &Path) -> io::Result<Option<Self>> {
        absent_as_none(std::fs::metadata(path)).map(|data| data.as_ref().map(Self::of))
    }

    /// The same, of a directory with the times of its last entry that was made, replaced or removed.
    pub(super) fn with_times(path: &Path) -> io::Result<Option<Self>> {
        absent_as_none(std::fs::metadata(path)).map(|data| data.as_ref().map(Self::of_file))
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

    /// How long ago it was last written, in milliseconds, `now` being wall time.
    pub(super) fn age_ms(self, now: Timestamp) -> u64 {
        let (seconds, nanoseconds) = self.modified;
        u64::try_from(now.unix_ms() - (seconds * 1000 + nanoseconds / 1_000_000)).unwrap_or(0)
    }

    /// What an open folder has under a name, and its stamp with its times; a symbolic link is not followed. `path` is where
    /// the folder is, for systems that ask by paths alone.
    #[cfg(target_os = "linux")]
    pub(super) fn of_entry(folder: impl AsFd, name: &CStr, _: &Path) -> io::Result<(FileType, Self)> {
        use rustix::fs::{AtFlags, StatxFlags, statx};
        let data = statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
        Ok((FileType::from_raw_mode(data.stx_mode.into()), Self::of_statx(&data)))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn of_entry(_: impl AsFd, name: &CStr, path: &Path) -> io::Result<(FileType, Self)> {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;
        let data = std::fs::symlink_metadata(path.join(OsStr::from_bytes(name.to_bytes())))?;
        Ok((FileType::from_raw_mode(data.mode().try_into().unwrap_or_default()), Self::of_file(&data)))
    }

    #[cfg(target_os = "linux")]
    fn of_statx(data: &rustix::fs::Statx) -> Self {
        Self {
            device: rustix::fs::makedev(data.stx_dev_major, data.stx_dev_minor),
            inode: data.stx_ino,
            owner: data.stx_uid,
            size: data.stx_size,
            modified: (data.stx_mtime.tv_sec, data.stx_mtime.tv_nsec.into()),
            changed: (data.stx_ctime.tv_sec, data.stx_ctime.tv_nsec.into()),
        }
    }

    pub(super) fn identity(self) -> (u64, u64) {
        (self.device, self.inode)
    }

    pub(super) fn owner(self) -> u32 {
        self.owner
    }
}

/// A directory that is kept open: what lies in it is found by a short walk.
///
/// It stays this directory when its path leads elsewhere; who keeps it checks the path's own stamp.
#[derive(Debug)]
pub(super) struct Directory {
    #[cfg(target_os = "linux")]
    open: File,
    path: PathBuf,
}

impl Directory {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            #[cfg(target_os = "linux")]
            open: File::open(path)?,
            path: path.to_owned(),
        })
    }

    /// The stamp of a file in it, by a relative path; `None` when there is none.
    #[cfg(target_os = "linux")]
    pub(super) fn stamp(&self, name: &str, follow: bool) -> io::Result<Option<Stamp>> {
        use rustix::fs::{AtFlags, StatxFlags, statx};
        let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        let found = statx(&self.open, name, flags, StatxFlags::BASIC_STATS).map_err(io::Error::from);
        let Some(data) = absent_as_none(found)? else { return Ok(None) };
        // The rare case is left to the one place that knows what counts of a directory.
        if FileType::from_raw_mode(data.stx_mode.into()) == FileType::Directory {
            return Stamp::at(&self.path.join(name));
        }
        Ok(Some(Stamp::of_statx(&data)))
    }

    /// Whether what lies in it under a relative path is a symbolic link.
    #[cfg(target_os = "linux")]
    pub(super) fn is_link(&self, name: &str) -> io::Result<bool> {
        use rustix::fs::{AtFlags, StatxFlags, statx};
        let found = statx(&self.open, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE).map_err(io::Error::from);
        let data = absent_as_none(found)?;
        Ok(data.is_some_and(|data| FileType::from_raw_mode(data.stx_mode.into()) == FileType::Symlink))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn is_link(&self, name: &str) -> io::Result<bool> {
        let found = absent_as_none(std::fs::symlink_metadata(self.path.join(name)))?;
        Ok(found.is_some_and(|data| data.is_symlink()))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn stamp(&self, name: &str, follow: bool) -> io::Result<Option<Stamp>> {
        let path = self.path.join(name);
        if follow { Stamp::at(&path) } else { Stamp::at_link(&path) }
    }
}
