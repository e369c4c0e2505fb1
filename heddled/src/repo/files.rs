//! Files and directories as the rest of this folder needs them: identified, read without surprises, made durable.
//!
//! Nothing here follows a symbolic link in the last part of a path, waits for the writer of a FIFO, or leaves a
//! descriptor to a child process. What is not synced here is not durable.

use std::ffi::OsStr;
use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

/// The most bytes that are read of a file which Git keeps small (a ref, a `gitdir` file).
const SMALL_FILE: u64 = 64 * 1024;

/// Turns "there is no such file" into `None`; a file in the place of a parent directory means the same.
pub(super) fn absent_as_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a file for reading that a hostile repository may have replaced by a link or a FIFO. Fails for what is neither a regular
/// file nor a directory.
pub(super) fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if is_special(file.metadata()?.file_type()) { Err(special()) } else { Ok(file) }
}

/// Fails where a path leads to what is no file, before something else opens it and waits for ever: a FIFO, a device, a socket.
pub(super) fn refuse_special(path: &Path) -> io::Result<()> {
    match absent_as_none(std::fs::metadata(path))? {
        Some(data) if is_special(data.file_type()) => Err(special()),
        Some(_) | None => Ok(()),
    }
}

/// Whether it is neither a file, a directory nor a link.
pub(super) fn is_special(kind: FileType) -> bool {
    !(kind.is_file() || kind.is_dir() || kind.is_symlink())
}

fn special() -> io::Error {
    io::Error::other("it is a FIFO or a device, and no regular file")
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

/// Opens a folder beneath another. The way leads through no link, which an agent may have put there: what is written must not
/// land elsewhere. What is missing is made, if that is asked for; else there is none.
pub(super) fn folder_beneath(top: &Path, way: &Path, make: bool) -> io::Result<Option<OwnedFd>> {
    let follow = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = openat(CWD, top, follow, Mode::empty())?;
    for part in way {
        let open = || openat(&folder, part, follow | OFlags::NOFOLLOW, Mode::empty());
        folder = match open() {
            Err(Errno::NOENT) if !make => return Ok(None),
            Err(Errno::NOENT) => {
                match mkdirat(&folder, part, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open()?
            }
            other => other?,
        };
    }
    Ok(Some(folder))
}

/// Makes a file's content, or a directory's entries, durable.
pub(super) fn sync(file: &File) -> io::Result<()> {
    #[cfg(test)]
    seam::count(file);
    file.sync_all()
}

/// Makes the entries of a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    sync(&File::open(path)?)
}

/// Does two things that wait for the disk side by side: it takes both in little more than the time of one. Where no thread can
/// be made, one after the other.
pub(super) fn both<A, B: Send>(first: impl FnOnce() -> A, second: impl Fn() -> B + Sync) -> (A, B) {
    std::thread::scope(|scope| {
        let beside = std::thread::Builder::new().name("sync".to_owned());
        let beside = beside.spawn_scoped(scope, || {
            let done = second();
            #[cfg(test)]
            return (done, seam::take());
            #[cfg(not(test))]
            done
        });
        let first = first();
        let Ok(beside) = beside else { return (first, second()) };
        match beside.join() {
            #[cfg(test)]
            Ok((done, synced)) => {
                seam::add(synced);
                (first, done)
            }
            #[cfg(not(test))]
            Ok(done) => (first, done),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Asks the kernel to begin writing a file out, so that the commit which a later sync of another file causes has this
/// one's blocks in it. Only a hint: what it does not do, the file's own sync does.
pub(super) fn begin_sync(file: &File) {
    // Not for the cache: this is the one call without `unsafe` that starts writing and does not wait.
    #[cfg(target_os = "linux")]
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).unwrap_or_default();
    #[cfg(not(target_os = "linux"))]
    let _: &File = file;
}

/// Writes out everything that the file system of a directory has.
pub(super) fn sync_file_system(directory: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let directory = File::open(directory)?;
        #[cfg(test)]
        seam::count(&directory);
        Ok(rustix::fs::syncfs(&directory)?)
    }
    // Elsewhere no call both reaches everything and waits for it: to refuse is better than to promise.
    #[cfg(not(target_os = "linux"))]
    Err(io::Error::new(io::ErrorKind::Unsupported, format!("{}: too much to sync", directory.display())))
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

/// What this thread has synced, for tests.
#[cfg(test)]
pub(super) mod seam {
    use std::cell::RefCell;
    use std::fs::File;
    use std::os::unix::fs::MetadataExt as _;

    thread_local!(static SYNCED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) });

    pub(super) fn count(file: &File) {
        let inode = file.metadata().unwrap().ino();
        SYNCED.with_borrow_mut(|synced| synced.push(inode));
    }

    /// Counts what another thread has synced for this one.
    pub(super) fn add(inodes: Vec<u64>) {
        SYNCED.with_borrow_mut(|synced| synced.extend(inodes));
    }

    /// The inodes of what was synced since the last look, in order.
    pub(in crate::repo) fn take() -> Vec<u64> {
        SYNCED.take()
    }
}
