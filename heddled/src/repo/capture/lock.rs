//! The worktree's `index.lock`, Git's own lock for everything that writes the index.
//!
//! The lock is a second name of the file [`OWN`] in the same directory: whoever finds one file under both names knows
//! that the lock is this daemon's, and can finish or undo what a crash cut off. The lock of another is never touched.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::fcntl::OFlag;
use parking_lot::Mutex;

use super::CaptureRefused;
use crate::repo::error::Error;
use crate::repo::files::{absent_as_none, sync, sync_directory};

const OPERATION: &str = "lock the index";

/// How long another writer of the index is waited for.
const WAIT: Duration = Duration::from_secs(5);

/// How often it is looked whether it is done.
const LOOK: Duration = Duration::from_millis(20);

/// The file that becomes the index.
const OWN: &str = "heddle-index";

/// The worktrees that are being captured, by their own Git directories.
pub(super) type Held = Arc<Mutex<BTreeSet<PathBuf>>>;

/// The lock of one worktree's index. Dropped, it is given back.
pub(in crate::repo) struct IndexLock {
    private: PathBuf,
    held: Held,
    file: File,
    is_kept: bool,
}

impl IndexLock {
    /// Takes the lock, waiting for whoever has it.
    pub(super) fn take(private: &Path, held: &Held, cancelled: &AtomicBool) -> Result<Self, Error> {
        let lock = private.join("index.lock");
        let failed = |source| Error::io(OPERATION, &lock, source);
        let mut waited = Duration::ZERO;
        loop {
            if held.lock().insert(private.to_owned()) {
                match attempt(private) {
                    Ok(Some(file)) => {
                        return Ok(Self { private: private.to_owned(), held: Arc::clone(held), file, is_kept: false });
                    }
                    not_taken => {
                        held.lock().remove(private);
                        not_taken.map_err(failed)?;
                    }
                }
            }
            if cancelled.load(Ordering::Acquire) {
                return Err(CaptureRefused::Cancelled.into());
            }
            if waited >= WAIT {
                return Err(CaptureRefused::WorktreeBusy { lock }.into());
            }
            // Nobody tells when another program removes its lock.
            std::thread::park_timeout(LOOK);
            waited += LOOK;
        }
    }

    /// Writes the content of the index that is to be, with the time at which Git wrote it: by that time Git tells which
    /// files may have changed in the moment after they were looked at. Durable on return.
    pub(super) fn write(&mut self, index: &Path) -> io::Result<()> {
        let mut content = File::open(index)?;
        io::copy(&mut content, &mut self.file)?;
        // As the index that is there, which may be shared with a group.
        if let Some(old) = absent_as_none(std::fs::metadata(self.private.join("index")))? {
            let mode = old.permissions().mode() & 0o666;
            self.file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        }
        self.file.set_modified(content.metadata()?.modified()?)?;
        sync(&self.file)?;
        sync_directory(&self.private)
    }

    /// Leaves the lock in place for [`finish`] or [`undo`].
    pub(super) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for IndexLock {
    fn drop(&mut self) {
        if !self.is_kept {
            // What stays behind is recognised by the next one.
            drop(undo(&self.private));
            self.held.lock().remove(&self.private);
        }
    }
}

/// Takes the lock if it is free; `None` when another has it.
fn attempt(private: &Path) -> io::Result<Option<File>> {
    let (own, lock) = (private.join(OWN), private.join("index.lock"));
    // What a capture left that was cut off before anybody recorded it: no other is under way.
    undo(private)?;
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = OpenOptions::new().write(true).create_new(true).custom_flags(flags.bits()).open(&own)?;
    match std::fs::hard_link(&own, &lock) {
        Ok(()) => Ok(Some(file)),
        Err(error) => {
            std::fs::remove_file(&own)?;
            if error.kind() == io::ErrorKind::AlreadyExists { Ok(None) } else { Err(error) }
        }
    }
}

/// Renames the lock over the index, if it is this daemon's. Durable on return.
pub(super) fn finish(private: &Path) -> io::Result<()> {
    if is_own(private, "index.lock")? {
        std::fs::rename(private.join("index.lock"), private.join("index"))?;
    }
    absent_as_none(std::fs::remove_file(private.join(OWN)))?;
    sync_directory(private)
}

/// Removes the lock, if it is this daemon's.
pub(super) fn undo(private: &Path) -> io::Result<()> {
    if is_own(private, "index.lock")? {
        std::fs::remove_file(private.join("index.lock"))?;
    }
    absent_as_none(std::fs::remove_file(private.join(OWN))).map(drop)
}

fn is_own(private: &Path, name: &str) -> io::Result<bool> {
    let identity = |name: &str| -> io::Result<Option<(u64, u64)>> {
        let data = absent_as_none(std::fs::symlink_metadata(private.join(name)))?;
        Ok(data.map(|data| (data.dev(), data.ino())))
    };
    let own = identity(OWN)?;
    Ok(own.is_some() && own == identity(name)?)
}
