//! `<common Git directory>/heddle-registry`: which registry decides about the repository.
//!
//! Two lines, the registry's id and its state directory; behind the id the era of the fencing tokens that it grants here,
//! where that is not the first. The file is made whole and exclusively (written aside, synced, then linked), replaced only by
//! rename, and never followed when it is a symbolic link. While another registry's daemon may be running, its marker stands.
//!
//! Who replaces it holds a lock on the Git directory itself, which ends with the process, however that ends.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;

use super::Claim;
use super::error::{Cause, Error};
use super::files::{absent_as_none, open_plain, read_small, sync_directory};
use super::stamp::Stamp;

const OPERATION: &str = "read the repository's registry marker";
const WRITE: &str = "write the repository's registry marker";
const NAME: &str = "heddle-registry";

/// No token has a later era than this, for it would be over 2^53.
const LAST_ERA: u64 = (1 << 13) - 1;

/// How far the era of a registry's own mark may be above its own, when it was restored. Each restore and each repository
/// that is taken over makes one. What is farther was written by somebody who wants the numbers used up.
pub const FARTHEST: u64 = 1000;

/// How often, and how long apart, the lock of another that replaces the marker is tried: what is done under it takes a sync.
const LOCK_TRIES: usize = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The version of the marker that was last found to be a registry's own, and that registry.
#[derive(Debug, Default)]
pub(super) struct Verified(Mutex<Option<(Stamp, Mark)>>);

/// What a marker says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    owner: Claim,
    era: u64,
}

impl Verified {
    /// Whether the marker is still the one that was found to be this registry's: one stat.
    pub(super) fn holds(&self, git_dir: &Path, registry: &Claim, era: u64) -> bool {
        let known = self.0.lock().clone();
        known.is_some_and(|(version, mark)| {
            mark.owner == *registry
                && mark.era >= era
                && matches!(Stamp::at_link(&git_dir.join(NAME)), Ok(Some(now)) if now == version)
        })
    }
}

/// Writes the marker on first use, or verifies that it is this registry's: one stat when it was so before.
pub(super) fn claim(git_dir: &Path, registry: &Claim, era: u64, verified: &Verified) -> Result<(), Error> {
    let path = git_dir.join(NAME);
    let failed = |source| Error::io(OPERATION, &path, source);
    if era > LAST_ERA {
        // A mark of it could be read by nobody, and would close the repository to all.
        return Err(Error::malformed(OPERATION, &path, "the fencing tokens of this registry are used up"));
    }
    let stamp = Stamp::at_link(&path).map_err(failed)?;
    let Mark { owner, era: marked } = match read(&path)? {
        Some(mark) => mark,
        None => {
            create(git_dir, &path, registry, era)?;
            // Either this one or one that came first.
            read(&path)?.ok_or_else(|| Error::malformed(OPERATION, &path, "it was removed"))?
        }
    };
    if owner.id != registry.id {
        return Err(Error::Owned { state_dir: owner.state_dir });
    }
    if marked > era + FARTHEST {
        return Err(Error::malformed(OPERATION, &path, "it names an era that this registry cannot have reached"));
    }
    if marked > era {
        // It was restored from a backup that knows nothing of that era, or of this repository: its tokens must rise first.
        let elsewhere = owner.state_dir != registry.state_dir;
        return Err(Error::Unavailable { operation: OPERATION, cause: Cause::LaterEra { era: marked, elsewhere } });
    }
    if owner.state_dir != registry.state_dir || marked < era {
        // The same registry in another place: moved, or copied, and then the original may be running. Or it took another
        // repository over since, and its tokens went on in a later era.
        replace(git_dir, &path, registry, era)?;
    }
    // Only a version from before the content was read may be remembered.
    if let Some(stamp) = stamp {
        *verified.0.lock() = Some((stamp, Mark { owner, era: marked }));
    }
    Ok(())
}

/// Whose marker the repository has; nothing is written.
pub(super) fn owner(git_dir: &Path) -> Result<Option<Claim>, Error> {
    Ok(read(&git_dir.join(NAME))?.map(|mark| mark.owner))
}

/// The era of the owner's tokens, or the next one when the owner is another registry.
pub(super) fn next_era(git_dir: &Path, registry: &Claim) -> Result<u64, Error> {
    Ok(read(&git_dir.join(NAME))?.map_or(0, |mark| mark.era + u64::from(mark.owner.id != registry.id)))
}

/// Puts this registry's marker in another's place, when that one's daemon is not running.
pub(super) fn adopt(git_dir: &Path, registry: &Claim, era: u64, verified: &Verified) -> Result<(), Error> {
    let path = git_dir.join(NAME);
    match read(&path)? {
        Some(mark) if mark.owner != *registry => replace(git_dir, &path, registry, era)?,
        _ => {}
    }
    claim(git_dir, registry, era, verified)
}

fn read(path: &Path) -> Result<Option<Mark>, Error> {
    let malformed = |problem| Error::malformed(OPERATION, path, problem);
    match std::fs::symlink_metadata(path) {
        Ok(data) if !data.is_file() => return Err(malformed("it is no regular file")),
        Ok(_) | Err(_) => {}
    }
    let content = read_small(path).map_err(|source| Error::io(OPERATION, path, source))?;
    let Some(content) = content else { return Ok(None) };
    let content = content.strip_suffix(b"\n").ok_or_else(|| malformed("it is cut off"))?;
    let at = content.iter().position(|byte| *byte == b'\n').ok_or_else(|| malformed("it has one line"))?;
    let line = std::str::from_utf8(&content[..at]).map_err(|_| malformed("its first line is no id"))?;
    let (id, era) = match line.split_once(' ') {
        Some((id, era)) => {
            let era = era.parse().ok().filter(|era| *era <= LAST_ERA);
            (id, era.ok_or_else(|| malformed("its first line has no era"))?)
        }
        None => (line, 0),
    };
    let state_dir = PathBuf::from(OsStr::from_bytes(&content[at + 1..]));
    if id.is_empty() || !state_dir.is_absolute() {
        return Err(malformed("it names no registry"));
    }
    Ok(Some(Mark { owner: Claim { id: id.into(), state_dir }, era }))
}

fn content(registry: &Claim, era: u64) -> Vec<u8> {
    let era = if era == 0 { String::new() } else { format!(" {era}") };
    let mut content = format!("{}{era}\n", registry.id).into_bytes();
    content.extend(registry.state_dir.clone().into_os_string().into_vec());
    content.push(b'\n');
    content
}

/// Writes the marker beside its place. A name of its own: what a process that was killed left there is in nobody's way.
fn write_aside(git_dir: &Path, registry: &Claim, era: u64) -> Result<PathBuf, Error> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let aside = git_dir.join(format!("{NAME}.{}-{number}", std::process::id()));
        let mut options = OpenOptions::new();
        let written = options.write(true).create_new(true).mode(0o644).open(&aside).and_then(|mut file| {
            file.write_all(&content(registry, era))?;
            file.sync_all()
        });
        match written {
            Ok(()) => return Ok(aside),
            // Left by a process of the same number that was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(Error::io(WRITE, &aside, source)),
        }
    }
}

/// Makes the marker unless there is one. A hard link cannot replace anything, so the first of several wins.
fn create(git_dir: &Path, path: &Path, registry: &Claim, era: u64) -> Result<(), Error> {
    let aside = write_aside(git_dir, registry, era)?;
    let linked = std::fs::hard_link(&aside, path);
    let removed = std::fs::remove_file(&aside);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(Error::io(WRITE, path, error)),
        _ => {}
    }
    removed.and_then(|()| sync_directory(git_dir)).map_err(|source| Error::io(WRITE, path, source))
}

/// Replaces the marker, holding the owner's daemon lock so that its daemon cannot start meanwhile.
fn replace(git_dir: &Path, path: &Path, registry: &Claim, era: u64) -> Result<(), Error> {
    // One that replaces at a time: the owner may not change between the look and the rename.
    let _alone = lock_directory(git_dir)?;
    let Mark { owner, era: marked } = read(path)?.ok_or_else(|| Error::malformed(WRITE, path, "it was removed"))?;
    // This daemon holds the lock of its own state directory, where an earlier registry may have been.
    let _held = if owner.state_dir == registry.state_dir { None } else { hold_daemon_lock(&owner)? };
    if owner.id != registry.id && marked >= era {
        // A third registry took it over meanwhile, and its tokens are the higher ones.
        return Err(Error::Unavailable { operation: WRITE, cause: Cause::Busy { path: path.to_owned() } });
    }
    let aside = write_aside(git_dir, registry, era.max(marked))?;
    let renamed = std::fs::rename(&aside, path).and_then(|()| sync_directory(git_dir));
    renamed.map_err(|source| {
        // It is gone when only the sync failed.
        drop(std::fs::remove_file(&aside));
        Error::io(WRITE, path, source)
    })
}

/// A lock that no kill leaves behind.
fn lock_directory(git_dir: &Path) -> Result<Flock<File>, Error> {
    let mut directory = File::open(git_dir).map_err(|source| Error::io(WRITE, git_dir, source))?;
    for _ in 0..LOCK_TRIES {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((unlocked, _)) => directory = unlocked,
        }
        std::thread::park_timeout(LOCK_PAUSE);
    }
    let cause = Cause::Busy { path: git_dir.to_owned() };
    Err(Error::Unavailable { operation: WRITE, cause })
}

/// Takes the lock that a registry's running daemon holds; without the file there is no daemon. What cannot be told
/// counts as running.
fn hold_daemon_lock(owner: &Claim) -> Result<Option<Flock<File>>, Error> {
    let owned = || Error::Owned { state_dir: owner.state_dir.clone() };
    let lock = owner.state_dir.join("heddled.lock");
    let Some(file) = absent_as_none(open_plain(&lock)).map_err(|_| owned())? else { return Ok(None) };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(held)),
        Err(_) => Err(owned()),
    }
}
