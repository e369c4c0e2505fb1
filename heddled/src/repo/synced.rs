//! What this daemon has synced of all repositories, within a bound: versions of files, and entries in directories.
//!
//! The age of a file proves nothing: the wall clock may have been set since, and how long a kernel keeps a change to itself is a
//! setting. So a file counts as durable only if this daemon has synced this very version of it. What falls out of the tables
//! is synced once more when it is needed.

use std::fs::Metadata;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use lru::LruCache;
use parking_lot::Mutex;
use proto_schema::Timestamp;

use super::files::{absent_as_none, open_plain, sync, sync_directory, sync_file_system};
use super::stamp::Stamp;

/// The most versions of files that are remembered: the loose objects of some repositories that Git has not packed for long.
const FILES: NonZeroUsize = NonZeroUsize::new(32_768).unwrap();

/// The most directory entries that are remembered.
const ENTRIES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

#[derive(Debug)]
pub(super) struct Synced {
    /// Versions of files whose content and entry are durable; of directories, with all that was in them.
    files: Mutex<LruCache<Stamp, ()>>,
    /// Directories and files whose entry in the directory above them is durable. One that was removed and made anew has
    /// another identity.
    entries: Mutex<LruCache<PathBuf, Stamp>>,
}

impl Synced {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self { files: Mutex::new(LruCache::new(FILES)), entries: Mutex::new(LruCache::new(ENTRIES)) }
    }

    /// Whether a version of a file was synced.
    pub(super) fn holds(&self, version: Stamp) -> bool {
        self.files.lock().get(&version).is_some()
    }

    /// Remembers a version that was taken before it was synced.
    pub(super) fn remember(&self, version: Stamp) {
        self.files.lock().put(version, ());
    }

    /// Makes a file that is always replaced as a whole durable, and its entry, once for each version. Does nothing without it.
    pub(super) fn sync_file(&self, path: &Path, now: Timestamp) -> io::Result<()> {
        let Some(version) = Stamp::with_times(path)?.filter(|version| !self.holds(*version)) else { return Ok(()) };
        sync_present(path)?;
        if let Some(directory) = path.parent() {
            // A worktree may be removed meanwhile.
            absent_as_none(sync_directory(directory))?;
        }
        // A version of this moment may look like the next one.
        if version.is_settled(now) {
            self.remember(version);
        }
        Ok(())
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
            if stamp.is_some_and(|stamp| self.has_entry(directory, stamp)) {
                continue;
            }
            sync_directory(above)?;
            if let Some(stamp) = stamp {
                self.entries.lock().put(directory.to_owned(), stamp);
            }
        }
        Ok(())
    }

    /// The same of a file that is only ever appended to, once as long as it is this one.
    pub(super) fn sync_parents_once(&self, file: &Path, data: &Metadata, top: &Path) -> io::Result<()> {
        // Without a birth time it cannot be told from another one that got its inode.
        let identity = data.created().ok().map(|_| Stamp::of_identity(data));
        if identity.is_some_and(|identity| self.has_entry(file, identity)) {
            return Ok(());
        }
        self.sync_parents(file, top)?;
        if let Some(identity) = identity {
            self.entries.lock().put(file.to_owned(), identity);
        }
        Ok(())
    }

    /// Makes a directory's own entry durable, and those of the directories above it in its file system.
    pub(super) fn sync_way_to(&self, directory: &Path) -> io::Result<()> {
        for directory in directory.ancestors() {
            let (Some(above), Some(stamp)) = (directory.parent(), Stamp::at(directory)?) else { break };
            let device = |stamp: Stamp| stamp.identity().0;
            if Stamp::at(above)?.is_none_or(|above| device(above) != device(stamp)) {
                break;
            }
            if self.has_entry(directory, stamp) {
                continue;
            }
            match sync_directory(above) {
                // Who may enter a directory may not always read it; then only this way is left.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => sync_file_system(directory)?,
                // The file system has no such thing as a sync of a directory.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                result => result?,
            }
            self.entries.lock().put(directory.to_owned(), stamp);
        }
        Ok(())
    }

    fn has_entry(&self, path: &Path, identity: Stamp) -> bool {
        self.entries.lock().get(path).copied() == Some(identity)
    }
}

/// Makes a file durable, unless it has vanished. A symbolic link is followed: some tools share the files of repositories so.
pub(super) fn sync_present(path: &Path) -> io::Result<()> {
    let file = absent_as_none(path.canonicalize().and_then(|path| open_plain(&path)))?;
    file.map_or(Ok(()), |file| sync(&file))
}
