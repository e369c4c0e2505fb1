//! A worktree that is kept open, and its files as they are read without leaving it.
//!
//! A path is walked a folder at a time, no symbolic link is followed, and nothing waits for the writer of a FIFO: what
//! is read lies in the worktree, whatever its agent puts in the place of a folder meanwhile.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat, readlinkat};

use crate::repo::files::absent_as_none;

/// The most bytes that a `.git` file has.
const POINTER: u64 = 64 * 1024;

/// How a folder is opened that may have been replaced by a link.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const PLAIN: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// What a worktree has at a path.
pub(in crate::repo) enum Content {
    /// A plain file.
    File(File),
    /// A symbolic link, and where it leads.
    Link(Vec<u8>),
}

/// A worktree, kept open: it stays this directory when its path leads elsewhere.
pub(in crate::repo) struct Beneath {
    path: PathBuf,
    directory: OwnedFd,
}

impl Beneath {
    /// Opens a worktree by its canonical path.
    pub(in crate::repo) fn open(path: &Path) -> io::Result<Self> {
        let directory = openat(rustix::fs::CWD, path, FOLDER, Mode::empty())?;
        Ok(Self { path: path.to_owned(), directory })
    }

    pub(in crate::repo) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a child process finds it. On Linux that is the directory itself, wherever its path leads by then.
    pub(in crate::repo) fn current_dir(&self) -> PathBuf {
        if cfg!(target_os = "linux") {
            PathBuf::from(format!("/proc/self/fd/{}", self.directory.as_raw_fd()))
        } else {
            self.path.clone()
        }
    }

    /// Whether its `.git` is a Git directory or leads to it. Nobody can say that of a folder in which they may not write.
    pub(in crate::repo) fn leads_to(&self, git_dir: &Path) -> io::Result<bool> {
        let wanted = std::fs::metadata(git_dir)?;
        let found = match openat(&self.directory, ".git", PLAIN, Mode::empty()).map(File::from) {
            Ok(file) => {
                let data = file.metadata()?;
                if data.is_dir() { Some(data) } else { self.pointed(file)? }
            }
            Err(rustix::io::Errno::LOOP) => absent_as_none(std::fs::metadata(self.path.join(".git")))?,
            Err(error) => absent_as_none(Err(error.into()))?,
        };
        Ok(found.is_some_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino())))
    }

    fn pointed(&self, file: File) -> io::Result<Option<std::fs::Metadata>> {
        let mut content = Vec::new();
        file.take(POINTER).read_to_end(&mut content)?;
        let Some(target) = content.strip_prefix(b"gitdir: ") else { return Ok(None) };
        absent_as_none(std::fs::metadata(self.path.join(OsStr::from_bytes(target.trim_ascii_end()))))
    }

    /// What is at a path that Git names; `None` when there is nothing that Git would commit, or the way there leads
    /// through a symbolic link.
    pub(in crate::repo) fn content(&self, path: &[u8]) -> io::Result<Option<Content>> {
        let mut parts = path.split(|byte| *byte == b'/').peekable();
        let mut folder: Option<OwnedFd> = None;
        while let Some(part) = parts.next() {
            if matches!(part, b"" | b"." | b"..") {
                return Ok(None);
            }
            let (from, name) = (folder.as_ref().unwrap_or(&self.directory), OsStr::from_bytes(part));
            if parts.peek().is_none() {
                return content(from, name);
            }
            match openat(from, name, FOLDER, Mode::empty()) {
                Ok(next) => folder = Some(next),
                // Git could not read in it either, or it is a link or a file by now.
                Err(error) => return absent(error),
            }
        }
        Ok(None)
    }
}

fn content(folder: &OwnedFd, name: &OsStr) -> io::Result<Option<Content>> {
    match openat(folder, name, PLAIN, Mode::empty()).map(File::from) {
        Ok(file) => Ok(if file.metadata()?.is_file() { Some(Content::File(file)) } else { None }),
        Err(rustix::io::Errno::LOOP) => match readlinkat(folder, name, Vec::new()) {
            Ok(target) => Ok(Some(Content::Link(target.into_bytes()))),
            Err(error) => absent(error),
        },
        Err(error) => absent(error),
    }
}

fn absent(error: rustix::io::Errno) -> io::Result<Option<Content>> {
    use rustix::io::Errno;
    match error {
        // A socket answers NXIO; INVAL is a link that was replaced after it was seen.
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::INVAL => Ok(None),
        other => Err(other.into()),
    }
}
