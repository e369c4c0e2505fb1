//! `<common Git directory>/heddle-registry`: which registry decides about the repository.
//!
//! Two lines, the registry's id and its state directory. The file is made whole and exclusively (written aside, synced,
//! then linked), replaced only by rename, and never followed when it is a symbolic link. While another registry's
//! daemon may be running, its marker stands.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use gix::lock::acquire::Fail;
use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;

use super::Claim;
use super::error::{Cause, Error};
use super::files::{absent_as_none, open_plain, read_small, sync_directory};
use super::stamp::Stamp;
use super::swap::LOCK_WAIT;

const OPERATION: &str = "read the repository's registry marker";
const WRITE: &str = "write the repository's registry marker";
const NAME: &str = "heddle-registry";

/// The version of the marker that was last found to be a registry's own, and that registry.
#[derive(Debug, Default)]
pub(super) struct Verified(Mutex<Option<(Stamp, Claim)>>);

impl Verified {
    /// Whether the marker is still the one that was found to be this registry's: one stat.
    pub(super) fn holds(&self, git_dir: &Path, registry: &Claim) -> bool {
        let known = self.0.lock().clone();
        known.is_some_and(|(version, whose)| {
            whose == *registry && matches!(Stamp::at_link(&git_dir.join(NAME)), Ok(Some(now)) if now == version)
        })
    }
}

/// Writes the marker on first use, or verifies that it is this registry's: one stat when it was so before.
pub(super) fn claim(git_dir: &Path, registry: &Claim, verified: &Verified) -> Result<(), Error> {
    let path = git_dir.join(NAME);
    let failed = |source| Error::io(OPERATION, &path, source);
    let stamp = Stamp::at_link(&path).map_err(failed)?;
    let owner = match read(&path)? {
        Some(owner) => owner,
        None => {
            create(git_dir, &path, registry)?;
            // Either this one or one that came first.
            read(&path)?.ok_or_else(|| Error::malformed(OPERATION, &path, "it was removed"))?
        }
    };
    if owner.id != registry.id {
        return Err(Error::Owned { state_dir: owner.state_dir });
    }
    if owner.state_dir != registry.state_dir {
        // The same registry in another place: moved, or copied, and then the original may be running.
        replace(git_dir, &path, registry)?;
    }
    // Only a version from before the content was read may be remembered.
    if let Some(stamp) = stamp {
        *verified.0.lock() = Some((stamp, registry.clone()));
    }
    Ok(())
}

/// Puts this registry's marker in another's place, when that one's daemon is not running.
pub(super) fn adopt(git_dir: &Path, registry: &Claim, verified: &Verified) -> Result<(), Error> {
    let path = git_dir.join(NAME);
    match read(&path)? {
        Some(owner) if owner != *registry => replace(git_dir, &path, registry)?,
        _ => {}
    }
    claim(git_dir, registry, verified)
}

fn read(path: &Path) -> Result<Option<Claim>, Error> {
    let malformed = |problem| Error::malformed(OPERATION, path, problem);
    match std::fs::symlink_metadata(path) {
        Ok(data) if !data.is_file() => return Err(malformed("it is no regular file")),
        Ok(_) | Err(_) => {}
    }
    let content = read_small(path).map_err(|source| Error::io(OPERATION, path, source))?;
    let Some(content) = content else { return Ok(None) };
    let content = content.strip_suffix(b"\n").ok_or_else(|| malformed("it is cut off"))?;
    let at = content.iter().position(|byte| *byte == b'\n').ok_or_else(|| malformed("it has one line"))?;
    let id = std::str::from_utf8(&content[..at]).map_err(|_| malformed("its first line is no id"))?;
    let state_dir = PathBuf::from(OsStr::from_bytes(&content[at + 1..]));
    if id.is_empty() || !state_dir.is_absolute() {
        return Err(malformed("it names no registry"));
    }
    Ok(Some(Claim { id: id.into(), state_dir }))
}

fn content(registry: &Claim) -> Vec<u8> {
    let mut content = format!("{}\n", registry.id).into_bytes();
    content.extend(registry.state_dir.clone().into_os_string().into_vec());
    content.push(b'\n');
    content
}

/// Makes the marker unless there is one. A hard link cannot replace anything, so the first of several wins.
fn create(git_dir: &Path, path: &Path, registry: &Claim) -> Result<(), Error> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let aside = loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let aside = git_dir.join(format!("{NAME}.{}-{number}", std::process::id()));
        let mut options = OpenOptions::new();
        let written = options.write(true).create_new(true).mode(0o644).open(&aside).and_then(|mut file| {
            file.write_all(&content(registry))?;
            file.sync_all()
        });
        match written {
            Ok(()) => break aside,
            // Left by a process of the same number that was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(Error::io(WRITE, &aside, source)),
        }
    };
    let linked = std::fs::hard_link(&aside, path);
    let removed = std::fs::remove_file(&aside);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(Error::io(WRITE, path, error)),
        _ => {}
    }
    removed.and_then(|()| sync_directory(git_dir)).map_err(|source| Error::io(WRITE, path, source))
}

/// Replaces the marker, holding the owner's daemon lock so that its daemon cannot start meanwhile.
fn replace(git_dir: &Path, path: &Path, registry: &Claim) -> Result<(), Error> {
    // One that replaces at a time: the owner may not change between the look and the rename.
    let wait = Fail::AfterDurationWithBackoff(LOCK_WAIT);
    let mut marker = gix::lock::File::acquire_to_update_resource(path, wait, None, 0).map_err(|_| {
        let cause = Cause::Locked { path: git_dir.join(format!("{NAME}.lock")) };
        Error::Unavailable { operation: WRITE, cause }
    })?;
    let owner = read(path)?.ok_or_else(|| Error::malformed(WRITE, path, "it was removed"))?;
    // This daemon holds the lock of its own state directory, where an earlier registry may have been.
    let _held = if owner.state_dir == registry.state_dir { None } else { hold_daemon_lock(&owner)? };
    let written = marker.with_mut(|file| {
        file.write_all(&content(registry))?;
        file.sync_all()
    });
    written.map_err(|source| Error::io(WRITE, path, source))?;
    marker.commit().map_err(|failed| Error::io(WRITE, path, failed.error))?;
    sync_directory(git_dir).map_err(|source| Error::io(WRITE, path, source))
}

/// Takes the lock that a registry's running daemon holds; without the file there is no daemon. What cannot be told
/// counts as running.
fn hold_daemon_lock(owner: &Claim) -> Result<Option<Flock<std::fs::File>>, Error> {
    let owned = || Error::Owned { state_dir: owner.state_dir.clone() };
    let lock = owner.state_dir.join("heddled.lock");
    let Some(file) = absent_as_none(open_plain(&lock)).map_err(|_| owned())? else { return Ok(None) };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(held)),
        Err(_) => Err(owned()),
    }
}
