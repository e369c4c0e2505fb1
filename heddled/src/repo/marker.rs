//! `<common Git directory>/heddle-registry`: which registry decides about the repository, and which repository it is.
//!
//! The file is made whole and exclusively (written aside, synced, then linked), replaced only by rename, and never followed when
//! it is a symbolic link. While another registry's daemon may be running, its mark stands. Who replaces it holds a lock on the
//! Git directory itself, which ends with the process, however that ends.
//!
//! Tokens that a registry grants in a repository are of the mark's era or a later one. A mark that says a later era than the
//! registry's makes the registry go on above it: therefore it is believed only where its signature is right, and in what an
//! operator asks for by one step at a time. So a mark that somebody else wrote costs its own repository at most.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;

use super::error::{Cause, Error};
use super::files::{absent_as_none, open_plain, read_small, sync_directory};
use super::mark::{LAST_ERA, Mark};
use super::stamp::Stamp;
use super::{Claim, Identity, MarkSeen, Owner};
use crate::registry::RepositoryId;

const OPERATION: &str = "read the repository's registry marker";
const WRITE: &str = "write the repository's registry marker";
const NAME: &str = "heddle-registry";

/// How far the era of another registry may be above this one's when a repository is taken over from it, where its own state
/// directory proves that it made the mark: each restore and each repository that it took over made one.
const FARTHEST: u64 = 64;

/// How often, and how long apart, the lock of another that replaces the marker is tried: what is done under it takes a sync.
const LOCK_TRIES: usize = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

const LATER: &str = "it says an era of fencing tokens that this registry has not reached, and it is not signed by it";
const FORGED: &str = "its signature is not this registry's";
const FAR: &str = "the era that it says is so far ahead that it cannot be believed";

/// The version of the marker that was last read, and what is known of it.
#[derive(Debug, Default)]
pub(super) struct KnownMark(Mutex<Option<(Stamp, Known)>>);

#[derive(Clone, Debug)]
struct Known {
    seen: MarkSeen,
    /// The mark, once it was found to be this registry's own, up to date in all.
    own: Option<Mark>,
}

impl KnownMark {
    /// The repository's id, where the marker is still the one that was found to be this registry's: one stat.
    pub(super) fn holds(&self, git_dir: &Path, registry: &Claim, era: u64) -> Option<RepositoryId> {
        let (version, known) = self.0.lock().clone()?;
        let mark = known.own.filter(|mark| mark.owner == registry.owner() && mark.era >= era)?;
        let is_same = matches!(Stamp::at_link(&git_dir.join(NAME)), Ok(Some(now)) if now == version);
        mark.signed.filter(|_| is_same).map(|signed| signed.repository)
    }

    /// What the marker says of the repository; one stat where it was read before.
    pub(super) fn seen(&self, git_dir: &Path) -> Result<MarkSeen, Error> {
        let path = git_dir.join(NAME);
        let Some(stamp) = Stamp::at_link(&path).map_err(|source| Error::io(OPERATION, &path, source))? else {
            return Ok(MarkSeen::Absent);
        };
        if let Some((version, known)) = &*self.0.lock()
            && *version == stamp
        {
            return Ok(known.seen);
        }
        // A mark that cannot be read says nothing: it must not count as the mark of another repository.
        let seen = match read(&path)? {
            None => return Ok(MarkSeen::Absent),
            Some(mark) => mark.signed.map_or(MarkSeen::Unsigned, |signed| MarkSeen::Id(signed.repository)),
        };
        *self.0.lock() = Some((stamp, Known { seen, own: None }));
        Ok(seen)
    }
}

/// Writes the marker on first use, or verifies that it is this registry's and this repository's: one stat when it was so before.
pub(super) fn claim(
    git_dir: &Path,
    registry: &Claim,
    era: u64,
    identity: Identity,
    known: &KnownMark,
) -> Result<RepositoryId, Error> {
    let path = git_dir.join(NAME);
    let failed = |source| Error::io(OPERATION, &path, source);
    if era > LAST_ERA {
        // A mark of it could be read by nobody, and would close the repository to all.
        return Err(Error::malformed(OPERATION, &path, "the fencing tokens of this registry are used up"));
    }
    let replaced = || Error::Replaced { git_dir: git_dir.to_owned() };
    let stamp = Stamp::at_link(&path).map_err(failed)?;
    let mark = match (read(&path)?, identity) {
        (Some(mark), _) => mark,
        (None, Identity::Known(_)) => return Err(replaced()),
        (None, Identity::New | Identity::Copy | Identity::Unmarked(_)) => {
            let repository = if let Identity::Unmarked(known) = identity { known } else { draw()? };
            create(git_dir, &path, registry, era, repository)?;
            // Either this one or one that came first.
            read(&path)?.ok_or_else(|| Error::malformed(OPERATION, &path, "it was removed"))?
        }
    };
    if mark.owner.id != registry.id {
        return Err(Error::Owned { state_dir: mark.owner.state_dir });
    }
    let untrusted = |problem| Error::untrusted_mark(OPERATION, &path, problem);
    let verified = mark.verified(registry.key);
    let repository = match (verified, identity) {
        (None, _) if mark.signed.is_some() => return Err(untrusted(FORGED)),
        (None, _) if mark.era > era => return Err(untrusted(LATER)),
        // Of version 0.1.0.
        (None, Identity::Known(Some(_)) | Identity::Unmarked(_)) => return Err(replaced()),
        (None, _) | (Some(_), Identity::Copy) => draw()?,
        (Some(repository), Identity::Known(Some(expected)) | Identity::Unmarked(expected))
            if repository != expected =>
        {
            return Err(replaced());
        }
        (Some(repository), _) => repository,
    };
    if mark.era > era {
        // It was restored from a backup that knows nothing of that era, or of this repository: its tokens must rise first.
        let elsewhere = mark.owner.state_dir != registry.state_dir;
        return Err(Error::Unavailable { operation: OPERATION, cause: Cause::LaterEra { era: mark.era, elsewhere } });
    }
    let is_current = mark.owner == registry.owner()
        && mark.era == era
        && mark.signed.as_ref().is_some_and(|signed| signed.surroundings == registry.surroundings);
    if !is_current || verified != Some(repository) {
        // The same registry in another place: moved, or copied, and then the original may be running. Or it took another
        // repository over since, and its tokens went on in a later era.
        return replace(git_dir, &path, registry, era, repository).map(|()| repository);
    }
    // Only a version from before the content was read may be remembered.
    if let Some(stamp) = stamp {
        *known.0.lock() = Some((stamp, Known { seen: MarkSeen::Id(repository), own: Some(mark) }));
    }
    Ok(repository)
}

/// Whose marker the repository has; nothing is written.
pub(super) fn owner(git_dir: &Path) -> Result<Option<Owner>, Error> {
    Ok(read(&git_dir.join(NAME))?.map(|mark| mark.owner))
}

/// The era of a marker that this registry has signed itself.
pub(super) fn own_era(git_dir: &Path, registry: &Claim) -> Result<Option<u64>, Error> {
    let own = read(&git_dir.join(NAME))?.filter(|mark| mark.owner.id == registry.id);
    Ok(own.filter(|mark| mark.verified(registry.key).is_some()).map(|mark| mark.era))
}

/// The era that a registry must be in before it takes the repository over: the next one where the marker's is not below its
/// own. Everything that could refuse it is looked at here: nothing has been raised yet.
pub(super) fn era_to_adopt(git_dir: &Path, registry: &Claim, era: u64) -> Result<u64, Error> {
    let path = git_dir.join(NAME);
    let Some(mark) = read(&path)? else { return Ok(era) };
    let is_own = mark.owner.id == registry.id;
    let farthest = if is_own && mark.verified(registry.key).is_some() {
        LAST_ERA
    } else if !is_own && mark.is_verified_by_owner() {
        era + FARTHEST
    } else {
        era + 1
    };
    drop(hold_daemon_lock(&path, &mark, registry)?);
    let next = if is_own && mark.era <= era { era } else { era.max(mark.era + 1) };
    if mark.era > farthest || next > LAST_ERA {
        return Err(Error::untrusted_mark(OPERATION, &path, FAR));
    }
    Ok(next)
}

/// Puts this registry's marker in another's place, when that one's daemon is not running.
pub(super) fn adopt(git_dir: &Path, registry: &Claim, era: u64, known: &KnownMark) -> Result<(), Error> {
    let path = git_dir.join(NAME);
    if let Some(mark) = read(&path)?
        && (mark.owner != registry.owner() || mark.verified(registry.key).is_none())
    {
        let repository = mark.signed.map_or_else(draw, |signed| Ok(signed.repository))?;
        replace(git_dir, &path, registry, era, repository)?;
    }
    claim(git_dir, registry, era, Identity::New, known).map(drop)
}

/// Whether two paths are two ways to one directory. Device and inode do not say so: a mount may show others. What is made in one
/// is there in the other, and in a copy it is not.
pub(super) fn is_one(one: &Path, other: &Path) -> Result<bool, Error> {
    let failed = |path: &Path, source| Error::io("look whether two repositories are one", path, source);
    let probe = |made: &Path, seen: &Path| -> Result<bool, io::Error> {
        let file = tempfile::Builder::new().prefix(&format!("{NAME}.probe-")).tempfile_in(made)?;
        let name = file.path().file_name().unwrap_or_default();
        absent_as_none(std::fs::symlink_metadata(seen.join(name))).map(|found| found.is_some())
    };
    // One of them may be mounted for reading only.
    probe(other, one).or_else(|_| probe(one, other)).map_err(|source| failed(other, source))
}

fn draw() -> Result<RepositoryId, Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| Error::library("draw the repository's id", error))?;
    Ok(RepositoryId(id))
}

fn read(path: &Path) -> Result<Option<Mark>, Error> {
    let malformed = |problem| Error::malformed(OPERATION, path, problem);
    match std::fs::symlink_metadata(path) {
        Ok(data) if !data.is_file() => return Err(malformed("it is no regular file")),
        Ok(_) | Err(_) => {}
    }
    let content = read_small(path).map_err(|source| Error::io(OPERATION, path, source))?;
    content.map(|content| Mark::parse(&content).map_err(malformed)).transpose()
}

/// Writes the marker beside its place. A name of its own: what a process that was killed left there is in nobody's way.
fn write_aside(git_dir: &Path, registry: &Claim, era: u64, repository: RepositoryId) -> Result<PathBuf, Error> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let aside = git_dir.join(format!("{NAME}.{}-{number}", std::process::id()));
        let mut options = OpenOptions::new();
        let written = options.write(true).create_new(true).mode(0o644).open(&aside).and_then(|mut file| {
            file.write_all(&Mark::content(registry, era, repository))?;
            file.sync_all()
        });
        match written {
            Ok(()) => return Ok(aside),
            // Left by a process of the same number that was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                // A full disk leaves an incomplete one, each time under another name.
                std::fs::remove_file(&aside).unwrap_or_default();
                return Err(Error::io(WRITE, &aside, source));
            }
        }
    }
}

/// Makes the marker unless there is one. A hard link cannot replace anything, so the first of several wins.
fn create(git_dir: &Path, path: &Path, registry: &Claim, era: u64, repository: RepositoryId) -> Result<(), Error> {
    let aside = write_aside(git_dir, registry, era, repository)?;
    let linked = std::fs::hard_link(&aside, path);
    let removed = std::fs::remove_file(&aside);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(Error::io(WRITE, path, error)),
        _ => {}
    }
    removed.and_then(|()| sync_directory(git_dir)).map_err(|source| Error::io(WRITE, path, source))
}

/// Replaces the marker, holding the owner's daemon lock so that its daemon cannot start meanwhile.
fn replace(git_dir: &Path, path: &Path, registry: &Claim, era: u64, repository: RepositoryId) -> Result<(), Error> {
    // One that replaces at a time: the owner may not change between the look and the rename.
    let _alone = lock_directory(git_dir)?;
    let mark = read(path)?.ok_or_else(|| Error::malformed(WRITE, path, "it was removed"))?;
    let _held = hold_daemon_lock(path, &mark, registry)?;
    let is_own = mark.owner.id == registry.id;
    if !is_own && mark.era >= era {
        // A third registry took it over meanwhile, and its tokens are the higher ones.
        return Err(Error::Unavailable { operation: WRITE, cause: Cause::Busy { path: path.to_owned() } });
    }
    let lasting = if is_own && mark.verified(registry.key).is_some() { era.max(mark.era) } else { era };
    let aside = write_aside(git_dir, registry, lasting, repository)?;
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

/// Takes the lock that a registry's running daemon holds; without the file there is no daemon. What cannot be told counts as
/// running: a path says nothing where its owner has other mounts, for there another directory is behind it.
fn hold_daemon_lock(path: &Path, mark: &Mark, registry: &Claim) -> Result<Option<Flock<File>>, Error> {
    let state_dir = &mark.owner.state_dir;
    let owned = || Error::Owned { state_dir: state_dir.clone() };
    let is_seen =
        mark.signed.as_ref().is_none_or(|signed| registry.surroundings.have_the_paths_of(&signed.surroundings));
    if mark.owner.id != registry.id && !is_seen && !mark.is_verified_by_owner() {
        return Err(Error::OwnerHidden { state_dir: state_dir.clone(), marker: path.to_owned() });
    }
    let Some(file) = absent_as_none(open_plain(&lock_of(state_dir))).map_err(|_| owned())? else { return Ok(None) };
    let identity = |data: std::fs::Metadata| (data.dev(), data.ino());
    let ours = std::fs::symlink_metadata(lock_of(&registry.state_dir)).map(identity).ok();
    // This daemon holds the lock of its own state directory, where an earlier registry may have been.
    if ours.is_some() && file.metadata().map(identity).ok() == ours {
        return Ok(None);
    }
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(Some(held)),
        Err(_) => Err(owned()),
    }
}

fn lock_of(state_dir: &Path) -> PathBuf {
    state_dir.join("heddled.lock")
}
