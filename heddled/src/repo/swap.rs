//! The compare-and-swap of a thread's ref, by Git's own lock protocol.
//!
//! The order is what makes it safe: make durable what `new` leads to, take `<ref>.lock`, read the ref under it, compare,
//! write the new id into the lock file, append to the reflog, sync both, rename, sync the directories. Whatever ends this in between, the ref is whole and either old or new; at worst a lock file stays behind (which
//! is removed only by [`clear_lock`], for it may be another's) or a reflog has an entry for a change that did not
//! happen, as it would with Git.
//!
//! It is also what makes it fast: everything but the rename is in the file system when the lock file is synced, so that the
//! disk is waited for twice, and a journal which commits everything at once (ext4) does so twice.

use std::fs::create_dir_all;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gix::lock::acquire::Fail;
use proto_schema::{ObjectId, ThreadName};

use super::error::{Cause, Error};
use super::files::{absent_as_none, both, open_plain, remove_empty_tree, sync};
use super::opened::Opened;
use super::refs::Target;
use super::stamp::Stamp;
use super::{Expected, Signature, durable, names, reflog};

const OPERATION: &str = "move the ref";

/// How long another writer of the same ref is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// More than the longest id and its line's end.
const READ: u64 = 128;

/// How often a lock is tried again when the directories above it come and go.
const DIRECTORY_RETRIES: usize = 16;

/// Moves a thread's ref from where it is expected to `new`; durable on return.
pub(super) fn compare_and_swap(
    repository: &Opened,
    thread: &ThreadName,
    expected: Expected,
    new: ObjectId,
    signature: &Signature,
    message: &str,
) -> Result<(), Error> {
    // Looked at before the lock is taken, so that what is refused makes no directory and waits for nobody.
    let check = || -> Result<Option<ObjectId>, Error> {
        let actual = repository.refs.tip(thread)?.map(|tip| tip.state);
        if actual != expected.state() {
            return Err(Error::Conflict { expected: expected.state(), actual });
        }
        names::refuse_other_spelling(&repository.refs, thread)?;
        if actual.is_none() {
            repository.refs.refuse_conflict(thread)?;
        }
        Ok(actual)
    };
    let name = thread.ref_name();
    if check()? == Some(new) {
        return durable::branch(repository, &name, new);
    }
    // Before the lock is taken: others need not wait for it.
    durable::commit(repository, new)?;
    let path = repository.refs.loose_path(&name);
    let mut lock = acquire(repository, &path)?;
    let lock_path = lock.lock_path().to_owned();
    let previous = check()?;
    let written = lock.with_mut(|file| writeln!(file, "{new}"));
    written.map_err(|source| Error::io(OPERATION, &lock_path, source))?;
    let entry = reflog::append(repository, &name, previous, new, signature, message)?;
    let (synced, logged) =
        both(|| lock.with_mut(|file| sync(file)), || entry.as_ref().map_or(Ok(()), |entry| entry.sync(repository)));
    synced.map_err(|source| Error::io(OPERATION, &lock_path, source))?;
    logged?;
    let committed = lock.commit().or_else(|failed| {
        // Empty directories that a deleted `<thread>/...` left behind are in the way; Git removes them, too.
        match remove_empty_tree(&path) {
            Ok(()) => failed.instance.commit().map_err(|again| again.error),
            Err(_) => Err(failed.error),
        }
    });
    let file = match committed {
        Ok((_, file)) => file,
        Err(source) => {
            // Another process may have made `<thread>/...` since it was looked for.
            repository.refs.refuse_conflict(thread)?;
            return Err(Error::io(OPERATION, &path, source));
        }
    };
    let synced = repository.synced.sync_parents(&path, &repository.git_dir);
    synced.map_err(|source| Error::io(OPERATION, &path, source))?;
    // Of the open file, not of the path: what is there by now may be another's.
    if let Some(data) = file.and_then(|file| file.metadata().ok()) {
        repository.refs.known.set_durable(&name, Stamp::of_file(&data), &Target::Object(new));
    }
    Ok(())
}

/// Removes a lock file that says just what this daemon would have written to move the thread to `new`, or the beginning of
/// it. For a move that the registry knows was begun and cut off: a lock of Git's own is empty for a moment only.
pub(super) fn clear_lock(repository: &Opened, thread: &ThreadName, new: ObjectId) -> Result<bool, Error> {
    let mut path = repository.refs.loose_path(&thread.ref_name()).into_os_string();
    path.push(".lock");
    let path = PathBuf::from(path);
    let failed = |source| Error::io("remove the lock that was left behind", &path, source);
    // A symbolic link or whatever else cannot be opened is none of ours.
    let Ok(Some(file)) = absent_as_none(open_plain(&path)) else { return Ok(false) };
    let data = file.metadata().map_err(failed)?;
    if !data.is_file() || data.uid() != nix::unistd::geteuid().as_raw() {
        return Ok(false);
    }
    let mut content = Vec::new();
    file.take(READ).read_to_end(&mut content).map_err(failed)?;
    // A kill or a power cut between making and writing the lock leaves the beginning of the content, or nothing.
    if !format!("{new}\n").as_bytes().starts_with(&content) {
        return Ok(false);
    }
    std::fs::remove_file(&path).map_err(failed)?;
    Ok(true)
}

fn acquire(repository: &Opened, path: &Path) -> Result<gix::lock::File, Error> {
    let top = repository.git_dir.join("refs");
    let mut retries = 0;
    loop {
        let wait = Fail::AfterDurationWithBackoff(LOCK_WAIT);
        let failed = match gix::lock::File::acquire_to_update_resource(path, wait, Some(top.clone()), 0) {
            Ok(lock) => return Ok(lock),
            Err(error) => error,
        };
        let source = failed.downcast_any_ref::<io::Error>().map(io::Error::kind);
        match source {
            Some(io::ErrorKind::AlreadyExists) => {
                let mut lock_path = path.as_os_str().to_owned();
                lock_path.push(".lock");
                let age_ms = Stamp::at_link(lock_path.as_ref()).ok().flatten();
                let age_ms = age_ms.map(|stamp| stamp.age_ms((repository.now)()));
                let cause = Cause::Locked { path: lock_path.into(), age_ms };
                return Err(Error::Unavailable { operation: OPERATION, cause });
            }
            // Another writer that gave up has removed the empty directory in which this lock was to be; or there are more
            // to be made than the library makes at once, for a thread's name may need a hundred.
            Some(io::ErrorKind::NotFound) if retries < DIRECTORY_RETRIES => {
                retries += 1;
                if let Some(parent) = path.parent() {
                    // When it fails, so does the next try, which says why.
                    drop(create_dir_all(parent));
                }
            }
            _ => return Err(Error::library(OPERATION, failed)),
        }
    }
}
