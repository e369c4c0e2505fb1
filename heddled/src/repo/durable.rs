//! What a ref points to, made durable before anybody is told of it: the loose objects that other programs wrote a moment
//! ago, which Git does not sync by default, the ref's own file, and the files of a repository that was just made.
//!
//! Only what is young is synced: what is older than two minutes the kernel has written back by itself, and what an old or
//! packed object leads to was there before it. Never by `syncfs`, which takes seconds on a busy machine, unless there is so
//! much that a sync each would take longer. What was made durable is remembered, so that the next one costs nothing.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use gix::objs::Kind;
use proto_schema::{ObjectId, Timestamp};

use super::error::Error;
use super::files::{absent_as_none, begin_sync, open_plain, sync, sync_directory, sync_file_system};
use super::opened::Opened;
use super::refs::{Target, convert};
use super::stamp::{Stamp, was_just_now};

const OPERATION: &str = "make the branch durable";

/// The most young objects that are synced one by one.
const MOST: usize = 512;

/// Makes a branch durable that is at a commit, and the commit.
pub(super) fn branch(repository: &Opened, name: &str, state: ObjectId) -> Result<(), Error> {
    commit(repository, state)?;
    if matches!(repository.refs.look(name)?, Some((_, true))) {
        return Ok(());
    }
    let path = repository.refs.loose_path(name);
    let failed = |source| Error::io(OPERATION, &path, source);
    let now = (repository.now)();
    let found = absent_as_none(std::fs::symlink_metadata(&path)).map_err(failed)?;
    let Some(data) = found.filter(std::fs::Metadata::is_file) else { return packed_refs(repository, now) };
    let stamp = Stamp::of_file(&data);
    if stamp.is_young(now) {
        sync_present(&path)
            .and_then(|()| repository.synced.sync_parents(&path, &repository.git_dir))
            .map_err(failed)?;
    }
    repository.refs.known.set_durable(name, stamp, &Target::Object(state));
    Ok(())
}

fn packed_refs(repository: &Opened, now: Timestamp) -> Result<(), Error> {
    let Some(version) = repository.refs.packed_version() else { return Ok(()) };
    if version.is_young(now) {
        let path = repository.git_dir.join("packed-refs");
        let synced = sync_present(&path).and_then(|()| sync_directory(&repository.git_dir));
        synced.map_err(|source| Error::io(OPERATION, &path, source))?;
    }
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

/// A folder of objects, and in which of its 256 subfolders something was made a moment ago, as far as that was asked.
struct Place {
    path: PathBuf,
    changed: [Option<bool>; 256],
}

impl Place {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), changed: [None; 256] }
    }

    /// The file of an object, if it is young. Most are told by the subfolder alone, without a look at the file.
    fn young(&mut self, first: u8, hex: &str, now: Timestamp) -> io::Result<Option<PathBuf>> {
        let (folder, file) = hex.split_at(2);
        let folder = self.path.join(folder);
        let changed = match self.changed[usize::from(first)] {
            Some(changed) => changed,
            None => *self.changed[usize::from(first)].insert(is_young(&folder, now)?),
        };
        let file = folder.join(file);
        let found = if changed { absent_as_none(std::fs::metadata(&file))? } else { None };
        let Some(data) = found.filter(|data| Stamp::of_file(data).is_young(now)) else { return Ok(None) };
        // What an earlier power cut left of an object that nobody had synced: a branch must not be made to lead to it.
        if data.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the object {hex} is an empty file")));
        }
        Ok(Some(file))
    }
}

struct Walk {
    now: Timestamp,
    places: Vec<Place>,
    /// The files to sync.
    young: BTreeSet<PathBuf>,
}

impl Walk {
    fn new(repository: &Opened, library: &gix::Repository) -> Result<Self, Error> {
        let now = (repository.now)();
        the_repository(repository, now).map_err(|source| Error::io(OPERATION, &repository.git_dir, source))?;
        let alternates = library.objects.store_ref().alternate_db_paths();
        let mut places = vec![repository.git_dir.join("objects")];
        places.extend(alternates.map_err(|error| Error::library(OPERATION, error))?);
        Ok(Self { now, places: places.iter().map(|path| Place::new(path)).collect(), young: BTreeSet::new() })
    }

    /// Finds the young files of a commit and of all that it leads to, until there are too many.
    fn collect(&mut self, library: &gix::Repository, state: ObjectId) -> Result<(), Error> {
        let mut open = vec![state];
        while let Some(id) = open.pop() {
            if !self.take(id)? {
                continue;
            }
            if self.young.len() > MOST {
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

    /// Takes an object in, if it is young and was not met before.
    fn take(&mut self, id: ObjectId) -> Result<bool, Error> {
        let hex = id.to_string();
        let first = id.as_bytes().first().copied().unwrap_or_default();
        let mut is_new = false;
        for place in &mut self.places {
            let found = place.young(first, &hex, self.now);
            if let Some(file) = found.map_err(|source| Error::io(OPERATION, &place.path, source))? {
                is_new |= self.young.insert(file);
            }
        }
        Ok(is_new)
    }

    /// Syncs what was found: each file, or everything when there are too many.
    fn sync(&self, repository: &Opened) -> Result<(), Error> {
        let synced = if self.young.len() > MOST {
            self.places.iter().try_for_each(|place| sync_file_system(&place.path))
        } else {
            self.sync_each(repository)
        };
        synced.map_err(|source| Error::io(OPERATION, &repository.git_dir, source))
    }

    fn sync_each(&self, repository: &Opened) -> io::Result<()> {
        // All are begun before the first is waited for: a journal then takes most of them in one go.
        for file in &self.young {
            if let Some(file) = absent_as_none(open_plain(file))? {
                begin_sync(&file);
            }
        }
        let mut folders = BTreeSet::new();
        for file in &self.young {
            sync_present(file)?;
            folders.extend(file.parent());
        }
        for folder in folders {
            // Where it has vanished, its objects were packed.
            absent_as_none(sync_entries(repository, folder))?;
        }
        // Git syncs packs, but not their folder, and other programs neither. What was loose a moment ago may be in one.
        self.places.iter().try_for_each(|place| packs(repository, &place.path.join("pack"), self.now))
    }
}

fn packs(repository: &Opened, folder: &Path, now: Timestamp) -> io::Result<()> {
    if !is_young(folder, now)? {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // Git's own name for a pack that is not complete yet: it may be large, and nothing is read from it.
        let is_complete = path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"tmp_"));
        if is_complete && is_young(&path, now)? {
            sync_present(&path)?;
        }
    }
    sync_entries(repository, folder)
}

/// Makes a directory's entries durable, and its own and those above it within the repository.
fn sync_entries(repository: &Opened, directory: &Path) -> io::Result<()> {
    let is_own = directory.starts_with(&repository.git_dir);
    let top = if is_own { &*repository.git_dir } else { directory.parent().unwrap_or(directory) };
    repository.synced.sync_parents(&directory.join("entry"), top)
}

/// The files and directories that make a repository, when it was made a moment ago: Git syncs none of them.
fn the_repository(repository: &Opened, now: Timestamp) -> io::Result<()> {
    if repository.durable.load(Ordering::Acquire) {
        return Ok(());
    }
    for (depth, directory) in repository.git_dir.ancestors().enumerate() {
        // Where the birth cannot be told, the Git directory itself is taken for new.
        let born = std::fs::metadata(directory)?.created();
        if !born.map_or(depth == 0, |born| was_just_now(born, now)) {
            break;
        }
        if depth == 0 {
            ["HEAD", "config"].iter().try_for_each(|file| sync_present(&directory.join(file)))?;
            sync_directory(directory)?;
        }
        match directory.parent().map(sync_directory) {
            // Who may enter a directory may not always read it; then only this way is left.
            Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => sync_file_system(directory)?,
            Some(result) => result?,
            None => {}
        }
    }
    repository.durable.store(true, Ordering::Release);
    Ok(())
}

/// Makes a file durable, unless it has vanished.
fn sync_present(path: &Path) -> io::Result<()> {
    absent_as_none(open_plain(path))?.map_or(Ok(()), |file| sync(&file))
}

/// Whether a file, or the list of a directory's entries, was changed so recently that it may not be durable.
fn is_young(path: &Path, now: Timestamp) -> io::Result<bool> {
    let found = absent_as_none(std::fs::metadata(path))?;
    Ok(found.is_some_and(|data| Stamp::of_file(&data).is_young(now)))
}
