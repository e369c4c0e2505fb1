//! What a ref points to, made durable before a caller hears of it: the loose objects that other programs wrote, which Git
//! does not sync by default, the ref's own file, and the files without which Git does not read the repository.
//!
//! Everything is synced once by this daemon, however old it looks: see [`Synced`]. What a packed
//! object leads to was there before it. Never by `syncfs`, which takes seconds on a busy machine, unless there is so much that
//! a sync each would take longer.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use gix::objs::Kind;
use proto_schema::{ObjectId, Timestamp};

use super::error::Error;
use super::files::{absent_as_none, begin_sync, open_plain, sync_directory, sync_file_system};
use super::opened::Opened;
use super::refs::{Target, convert};
use super::stamp::Stamp;
use super::synced::{Synced, sync_present};

const OPERATION: &str = "make the branch durable";

/// The most files that are synced one by one.
const MOST: usize = 512;

/// The most loose objects that are looked for at one time: so many, and no more, are known to be durable after that.
const MOST_FOUND: usize = 16_384;

/// The files of a Git directory that Git reads before any object. Without them, or with empty ones, a branch that is on the
/// disk cannot be read.
const FIRST_READ: [&str; 4] = ["HEAD", "config", "shallow", "objects/info/alternates"];

/// Makes a branch durable that is at a commit, and the commit.
pub(super) fn branch(repository: &Opened, name: &str, state: ObjectId) -> Result<(), Error> {
    commit(repository, state)?;
    if matches!(repository.refs.look(name)?, Some((_, true))) {
        return Ok(());
    }
    let path = repository.refs.loose_path(name);
    let failed = |source| Error::io(OPERATION, &path, source);
    let found = absent_as_none(std::fs::symlink_metadata(&path)).map_err(failed)?;
    let Some(data) = found.filter(std::fs::Metadata::is_file) else { return packed_refs(repository) };
    let stamp = Stamp::of_file(&data);
    let synced = sync_present(&path).and_then(|()| repository.synced.sync_parents(&path, &repository.git_dir));
    synced.map_err(failed)?;
    repository.refs.known.set_durable(name, stamp, &Target::Object(state));
    Ok(())
}

/// Makes the HEAD of a worktree durable, through which a thread is reserved, and the repository's own: Git takes a directory
/// whose HEAD is empty for no repository.
pub(super) fn heads(repository: &Opened, private: &Path) -> Result<(), Error> {
    let now = (repository.now)();
    let is_main = *private == *repository.git_dir;
    for directory in [&*repository.git_dir].into_iter().chain((!is_main).then_some(private)) {
        let head = directory.join("HEAD");
        repository.synced.sync_file(&head, now).map_err(|source| Error::io("make HEAD durable", &head, source))?;
    }
    Ok(())
}

fn packed_refs(repository: &Opened) -> Result<(), Error> {
    let Some(version) = repository.refs.packed_version() else { return Ok(()) };
    let path = repository.git_dir.join("packed-refs");
    let synced = sync_present(&path).and_then(|()| sync_directory(&repository.git_dir));
    synced.map_err(|source| Error::io(OPERATION, &path, source))?;
    repository.refs.set_packed_durable(version);
    Ok(())
}

/// Makes a commit durable, and all that it leads to.
pub(super) fn commit(repository: &Opened, state: ObjectId) -> Result<(), Error> {
    if repository.objects.commit(state)?.durable {
        return Ok(());
    }
    let library = repository.objects.library();
    let mut walk = Walk::new(repository, &library)?;
    walk.collect(&library, state)?;
    walk.sync(repository)?;
    repository.objects.set_durable(state);
    Ok(())
}

/// Makes a commit durable that leads to nothing but what its parent leads to, and these objects.
pub(super) fn addition(
    repository: &Opened,
    state: ObjectId,
    parent: ObjectId,
    added: &[ObjectId],
) -> Result<(), Error> {
    commit(repository, parent)?;
    let mut walk = Walk::new(repository, &repository.objects.library())?;
    added.iter().chain([&state]).try_for_each(|id| walk.take(*id).map(drop))?;
    walk.sync(repository)?;
    // It is remembered for a commit that was read.
    repository.objects.commit(state)?;
    repository.objects.set_durable(state);
    Ok(())
}

/// A folder of objects, and which of its 256 subfolders there are, as far as that was asked.
struct ObjectFolder {
    path: PathBuf,
    exists: [Option<bool>; 256],
}

impl ObjectFolder {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), exists: [None; 256] }
    }

    /// The file of an object and its version, if it is loose and was not synced. Most packed ones need no look at a file.
    fn unsynced(&mut self, first: u8, hex: &str, synced: &Synced) -> io::Result<Option<(PathBuf, Stamp)>> {
        let (folder, file) = hex.split_at(2);
        let folder = self.path.join(folder);
        let exists = match self.exists[usize::from(first)] {
            Some(exists) => exists,
            None => *self.exists[usize::from(first)].insert(Stamp::at(&folder)?.is_some()),
        };
        let file = folder.join(file);
        let found = if exists { absent_as_none(std::fs::metadata(&file))? } else { None };
        let Some(data) = found else { return Ok(None) };
        let version = Stamp::of_file(&data);
        if synced.holds(version) {
            return Ok(None);
        }
        // What an earlier power cut left of an object that nothing had synced: a branch must not be made to lead to it.
        if data.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the object {hex} is an empty file")));
        }
        Ok(Some((file, version)))
    }
}

struct Walk<'a> {
    now: Timestamp,
    synced: &'a Synced,
    folders: Vec<ObjectFolder>,
    /// The files to sync.
    unsynced: BTreeMap<PathBuf, Stamp>,
}

impl<'a> Walk<'a> {
    fn new(repository: &'a Opened, library: &gix::Repository) -> Result<Self, Error> {
        let now = (repository.now)();
        the_repository(repository, now).map_err(|source| Error::io(OPERATION, &repository.git_dir, source))?;
        let alternates = library.objects.store_ref().alternate_db_paths();
        let mut paths = vec![repository.git_dir.join("objects")];
        paths.extend(alternates.map_err(|error| Error::library(OPERATION, error))?);
        let folders = paths.iter().map(|path| ObjectFolder::new(path)).collect();
        Ok(Self { now, synced: &repository.synced, folders, unsynced: BTreeMap::new() })
    }

    /// Finds the files to sync of a commit and of all that it leads to, until there are too many.
    fn collect(&mut self, library: &gix::Repository, state: ObjectId) -> Result<(), Error> {
        let mut open = vec![state];
        while let Some(id) = open.pop() {
            if !self.take(id)? {
                continue;
            }
            if self.unsynced.len() > MOST_FOUND {
                return Ok(());
            }
            let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::library(OPERATION, error);
            let key = gix::ObjectId::try_from(id.as_bytes()).map_err(|error| failed(error.into()))?;
            let found = library.try_find_object(key).map_err(|error| failed(error.into()))?;
            // Packed and removed since it was looked at.
            let Some(object) = found else { continue };
            match object.kind {
                Kind::Commit => {
                    let commit = object.into_commit();
                    let decoded = commit.decode().map_err(|error| failed(error.into()))?;
                    for id in std::iter::once(decoded.tree()).chain(decoded.parents()) {
                        open.push(convert(&id)?);
                    }
                }
                Kind::Tree => {
                    for entry in object.into_tree().iter() {
                        let entry = entry.map_err(|error| failed(error.into()))?;
                        let id = convert(entry.inner.oid)?;
                        if entry.mode().is_tree() {
                            open.push(id);
                        } else if !entry.mode().is_commit() {
                            // A file leads nowhere; a submodule's commit is none of this repository's.
                            self.take(id)?;
                        }
                    }
                }
                Kind::Blob | Kind::Tag => {}
            }
        }
        Ok(())
    }

    /// Takes an object in, if it is to be synced and was not met before.
    fn take(&mut self, id: ObjectId) -> Result<bool, Error> {
        let hex = id.to_string();
        let first = id.as_bytes().first().copied().unwrap_or_default();
        let mut is_new = false;
        for folder in &mut self.folders {
            let found = folder.unsynced(first, &hex, self.synced);
            if let Some((file, version)) = found.map_err(|source| Error::io(OPERATION, &folder.path, source))? {
                is_new |= self.unsynced.insert(file, version).is_none();
            }
        }
        Ok(is_new)
    }

    /// Syncs what was found: each file, or everything when there are too many.
    fn sync(&self, repository: &Opened) -> Result<(), Error> {
        let synced = if self.unsynced.len() > MOST {
            self.folders.iter().try_for_each(|folder| sync_file_system(&folder.path))
        } else {
            self.sync_each(repository)
        };
        synced.map_err(|source| Error::io(OPERATION, &repository.git_dir, source))?;
        // All at once: one that is known to be durable is not looked beyond.
        self.unsynced.values().for_each(|version| self.synced.remember(*version));
        Ok(())
    }

    fn sync_each(&self, repository: &Opened) -> io::Result<()> {
        // All are begun before the first is waited for: a journal then takes most of them in one go.
        for file in self.unsynced.keys() {
            if let Ok(file) = open_plain(file) {
                begin_sync(&file);
            }
        }
        let mut folders = BTreeSet::new();
        for file in self.unsynced.keys() {
            sync_present(file)?;
            folders.extend(file.parent());
        }
        for folder in folders {
            // Where it has vanished, its objects were packed.
            absent_as_none(sync_entries(repository, folder))?;
        }
        // Git syncs packs, but not their folder, and other programs neither. What was loose a moment ago may be in one.
        self.folders.iter().try_for_each(|folder| packs(repository, &folder.path.join("pack"), self.now))
    }
}

fn packs(repository: &Opened, folder: &Path, now: Timestamp) -> io::Result<()> {
    let synced = &repository.synced;
    let Some(version) = Stamp::with_times(folder)?.filter(|version| !synced.holds(*version)) else { return Ok(()) };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // Git's own name for a pack that is not complete yet: it may be large, and nothing is read from it.
        let is_complete = path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"tmp_"));
        let version = if is_complete { Stamp::with_times(&path)? } else { None };
        files.extend(version.filter(|version| !synced.holds(*version)).map(|version| (path, version)));
    }
    if files.len() > MOST {
        sync_file_system(folder)?;
    } else {
        files.iter().try_for_each(|(path, _)| sync_present(path))?;
    }
    sync_entries(repository, folder)?;
    files.iter().for_each(|(_, version)| synced.remember(*version));
    if version.is_settled(now) {
        synced.remember(version);
    }
    Ok(())
}

/// Makes a directory's entries durable, and its own and those above it within the repository.
fn sync_entries(repository: &Opened, directory: &Path) -> io::Result<()> {
    let is_own = directory.starts_with(&repository.git_dir);
    let top = if is_own { &*repository.git_dir } else { directory.parent().unwrap_or(directory) };
    repository.synced.sync_parents(&directory.join("entry"), top)
}

/// The files and directories that make a repository: Git syncs none of them.
fn the_repository(repository: &Opened, now: Timestamp) -> io::Result<()> {
    if repository.durable.load(Ordering::Acquire) {
        return Ok(());
    }
    for file in FIRST_READ {
        repository.synced.sync_file(&repository.git_dir.join(file), now)?;
    }
    repository.synced.sync_way_to(&repository.git_dir)?;
    repository.durable.store(true, Ordering::Release);
    Ok(())
}
