//! The lock file `<state>/heddled.lock`: one daemon for each state directory, decided before the socket is touched.
//!
//! It may not remove the file, ever: a removed lock file is a second lock. Invariants: K1, whoever has a [`Lock`] is the
//! only daemon of its state directory, until the last clone of it is dropped or the process ends in any way; K2, the
//! file that is locked is the one that the path names.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::unistd::Uid;
use proto_schema::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// How often a lock file that was replaced between opening and locking is tried again.
const ATTEMPTS: usize = 16;

/// The most bytes of a record that are read.
const MAX_RECORD_BYTES: u64 = 8_192;

/// What the holder of the lock says about itself, for clients that cannot find its socket: one line of JSON.
///
/// ```
/// # use heddled::lifecycle::LockRecord;
/// let line = r#"{"pid":42,"socket":"/run/user/1000/heddle/heddled.sock","started_at":"2026-01-02T03:04:05.678Z"}"#;
/// let record: LockRecord = serde_json::from_str(line)?;
/// assert_eq!(record.pid, 42);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LockRecord {
    /// The daemon's pid.
    pub pid: u32,
    /// Where it listens.
    pub socket: PathBuf,
    /// When it took the lock.
    pub started_at: Timestamp,
}

impl LockRecord {
    /// Reads the record of a state directory. None if there is none or it is half written. That there is one does not
    /// mean that its daemon lives: it may have been killed.
    #[must_use]
    pub fn read(state_dir: &Path) -> Option<Self> {
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        read_record(&OpenOptions::new().read(true).custom_flags(flags).open(lock_path(state_dir)).ok()?)
    }
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("another heddled is running ({}); stop it with `heddlectl daemon stop`", describe(.0.as_ref()))]
    Held(Option<LockRecord>),
    /// The file there is not a regular file of ours.
    #[error("'{}' is not a regular file of our own; look who made it, and remove it", path.display())]
    Foreign {
        /// The lock file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {operation} the lock file '{}'", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The lock file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

fn describe(holder: Option<&LockRecord>) -> String {
    // Between locking and writing there is a moment in which a holder has not said who it is.
    holder.map_or_else(
        || "it has not written down its pid and socket".to_owned(),
        |record| format!("pid {}, socket {}", record.pid, record.socket.display()),
    )
}

#[derive(Debug)]
struct Held {
    file: File,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        // The record must not outlive its daemon; a lock that cannot be given back ends with the process.
        let (emptied, unlocked) = (self.file.set_len(0), flock(&self.file, FlockOperation::Unlock));
        if emptied.is_err() || unlocked.is_err() {
            tracing::warn!("the lock file could not be emptied and unlocked");
        }
    }
}

/// The right to be the daemon of a state directory. Clones share it.
#[derive(Clone, Debug)]
pub struct Lock(Arc<Held>);

impl Lock {
    /// Whether the path still names the file that is locked (K2). If not, another daemon can lock a new file there.
    #[must_use]
    pub fn is_current(&self) -> bool {
        is_named(&self.0.file, &self.0.path)
    }

    /// Takes the lock of a state directory, which must be there already (see [`crate::paths::secure_dir`]), and writes
    /// down who has it. Never waits.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] if another daemon has it, [`LockError::Foreign`] or [`LockError::Io`] if it cannot be used.
    pub fn acquire(state_dir: &Path, socket: &Path, started_at: Timestamp) -> Result<Self, LockError> {
        let path = lock_path(state_dir);
        let failed = |operation| {
            let path = path.clone();
            move |source| LockError::Io { operation, path, source }
        };
        for _ in 0..ATTEMPTS {
            let file = open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held(read_record(&file))),
                Err(error) => return Err(failed("lock")(error.into())),
            }
            // Somebody may have removed or replaced the file since it was opened (K2).
            if !is_named(&file, &path) {
                continue;
            }
            let held = Held { file, path: path.clone() };
            let record = LockRecord { pid: std::process::id(), socket: socket.to_owned(), started_at };
            write_record(&held.file, &record).map_err(failed("write"))?;
            return Ok(Self(Arc::new(held)));
        }
        Err(failed("keep hold of")(io::Error::other("it is replaced again and again")))
    }
}

/// Where the lock file of a state directory is.
#[must_use]
pub fn lock_path(state_dir: &Path) -> PathBuf {
    state_dir.join("heddled.lock")
}

fn open(path: &Path) -> Result<File, LockError> {
    let failed = |operation| move |source| LockError::Io { operation, path: path.to_owned(), source };
    // Not blocking, should somebody have put a pipe there; std opens with O_CLOEXEC.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags.bits());
    let file = options.open(path).map_err(|source| match source.raw_os_error().map(nix::errno::Errno::from_raw) {
        Some(nix::errno::Errno::ELOOP | nix::errno::Errno::EISDIR | nix::errno::Errno::ENXIO) => {
            LockError::Foreign { path: path.to_owned() }
        }
        _ => failed("open")(source),
    })?;
    let metadata = file.metadata().map_err(failed("look at"))?;
    if !metadata.is_file() || metadata.uid() != Uid::effective().as_raw() {
        return Err(LockError::Foreign { path: path.to_owned() });
    }
    if metadata.mode() & 0o777 != 0o600 {
        file.set_permissions(PermissionsExt::from_mode(0o600)).map_err(failed("set the mode of"))?;
    }
    Ok(file)
}

fn is_named(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), std::fs::symlink_metadata(path)) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

/// The new line first, then the end: a reader takes the first line, and finds it whole at every moment.
fn write_record(file: &File, record: &LockRecord) -> io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    file.write_all_at(&line, 0)?;
    file.set_len(line.len() as u64)
}

fn read_record(file: &File) -> Option<LockRecord> {
    let mut content = Vec::new();
    file.take(MAX_RECORD_BYTES).read_to_end(&mut content).ok()?;
    let (line, _) = content.split_at(content.iter().position(|byte| *byte == b'\n')?);
    serde_json::from_slice(line).ok()
}

#[cfg(test)]
mod tests;
