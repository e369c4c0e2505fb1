//! The base: a copy of the database at rest, with what it has. Never opened as a database and never written in place.
//!
//! Needed because the database reuses freed parts of its file at once, without waiting for the disk: a power cut while a
//! checkpoint is written can destroy the one before it. So `db` is trusted only while it is, byte for byte, what the base
//! says; in every other case it is thrown away and copied anew.
//!
//! A base is replaced as a whole: `base.new` is made and synced, `base` becomes `base.old`, `base.new` becomes `base`, the
//! directory is synced, `base.old` goes. Whatever a crash leaves of that, `base` is good, or else `base.old` is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::disk::{self, Disk};
use super::super::layout::Layout;
use super::super::{Damage, Error, Tree, codec};
use super::tables::{Loaded, Meta};
use crate::registry::Registry;

const MARK: &str = "checkpoint";
const FILES: &str = "db";

/// How often a copy is made until the database held still meanwhile: it shortens its file in the background.
const TRIES: usize = 20;

/// One file of the database as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FilePrint {
    name: String,
    length: u64,
    crc: u32,
}

/// What a base has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    meta: Meta,
    sessions: u64,
    threads: u64,
    repos: u64,
    files: Vec<FilePrint>,
}

/// A base that was found.
#[derive(Debug)]
pub(crate) struct Base {
    place: PathBuf,
    mark: Mark,
}

impl Base {
    /// Finds the base. Changes nothing.
    pub(crate) fn find(layout: &Layout) -> Result<Self, Error> {
        let is_there = |path: &Path| path.try_exists().map_err(Error::io("look at", path));
        let cut_off = !is_there(&layout.base)? && is_there(&layout.old_base)?;
        let place = if cut_off { &layout.old_base } else { &layout.base };
        let path = place.join(MARK);
        let mark = match fs::read(&path) {
            Ok(bytes) => codec::decode(Tree::Meta, MARK.as_bytes(), &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Damage::Missing),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let mark = mark.map_err(|why| layout.damaged(&path, why))?;
        Ok(Self { place: place.clone(), mark })
    }

    /// What the database says of itself.
    pub(crate) fn meta(&self) -> &Meta {
        &self.mark.meta
    }

    /// Opens what the base is made of, each under its name within a base; the first is what says what the others are. What
    /// is open stays readable when the base is replaced. None when it is being replaced right now.
    pub(crate) fn open_all(&self) -> Result<Option<Vec<(String, fs::File)>>, Error> {
        let names = self.mark.files.iter().map(|file| format!("{FILES}/{}", file.name));
        let mut open = Vec::new();
        for name in [MARK.to_owned()].into_iter().chain(names) {
            let path = self.place.join(&name);
            match fs::File::open(&path) {
                Ok(file) => open.push((name, file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::io("open", &path)(error)),
            }
        }
        Ok(Some(open))
    }

    /// Whether it is still the newest base: then every batch that it lacks is still in the journal (S4).
    pub(crate) fn is_newest(&self, layout: &Layout) -> bool {
        Self::find(layout).is_ok_and(|now| now.mark == self.mark)
    }

    /// Whether a file of that name can be part of a base: one that is written where a base is restored.
    pub(crate) fn is_part(name: &str) -> bool {
        let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        name == MARK || name.strip_prefix(FILES).and_then(|rest| rest.strip_prefix('/')).is_some_and(plain)
    }

    /// Whether the working database is, byte for byte, what the base is a copy of.
    pub(crate) fn is_in_use(&self, layout: &Layout) -> Result<bool, Error> {
        Ok(fingerprint(&layout.database)?.is_some_and(|files| files == self.mark.files))
    }

    /// Makes sure that the base is what was recorded. Changes nothing.
    pub(crate) fn verify(&self, layout: &Layout) -> Result<(), Error> {
        let files = self.place.join(FILES);
        match fingerprint(&files)? {
            Some(found) if found == self.mark.files => Ok(()),
            Some(_) => Err(layout.damaged(&files, Damage::Altered)),
            None => Err(layout.damaged(&files, Damage::Missing)),
        }
    }

    /// Completes, or undoes, a replacement that was cut off. Waits for the directory in any case: the journal is about to
    /// forget what this base has, and after a mere kill the rename may be in memory only.
    pub(crate) fn settle(&self, layout: &Layout, disk: &dyn Disk) -> Result<(), Error> {
        if self.place != layout.base {
            disk.rename(&self.place, &layout.base).map_err(Error::io("rename", &self.place))?;
        }
        disk::sync_parent(&layout.base).map_err(Error::io("sync", &layout.state))?;
        for leftover in [&layout.old_base, &layout.new_base] {
            disk.remove_all(leftover).map_err(Error::io("remove", leftover))?;
        }
        Ok(())
    }

    /// Puts a copy of the base in place of the working database. That needs neither a sync nor a rename: if it is cut off,
    /// the database is not what the base says, and is copied again.
    pub(crate) fn restore(layout: &Layout, disk: &dyn Disk) -> Result<(), Error> {
        let database = &layout.database;
        disk.remove_all(database).map_err(Error::io("remove", database))?;
        disk.copy_all(&layout.base.join(FILES), database).map_err(Error::io("copy to", database))
    }

    /// Compares what was read of the database with what was written to it. The files are the same, but they are another's
    /// format: one that reads less of them than was written would make the next base an emptier one (S3).
    pub(crate) fn check(&self, layout: &Layout, loaded: &Loaded) -> Result<(), Error> {
        let (found, recorded) = (loaded.meta.applied, self.mark.meta.applied);
        if loaded.meta != self.mark.meta {
            return Err(layout.damaged(&layout.database, Damage::Behind { found, recorded }));
        }
        let records = &loaded.records;
        for (tree, found, recorded) in [
            (Tree::Repos, records.repos.len(), self.mark.repos),
            (Tree::Sessions, records.sessions.len(), self.mark.sessions),
            (Tree::Threads, records.threads.len(), self.mark.threads),
        ] {
            let found = (found + loaded.bad.iter().filter(|bad| bad.tree == tree).count()) as u64;
            if found != recorded {
                return Err(layout.damaged(&layout.database, Damage::Fewer { tree, found, recorded }));
            }
        }
        Ok(())
    }
}

/// Makes the flushed database, which has that registry, the base. When this has returned, the base is on the disk.
pub(crate) fn renew(layout: &Layout, disk: &dyn Disk, meta: &Meta, registry: &Registry) -> Result<(), Error> {
    let new = &layout.new_base;
    let files = copy(layout, disk)?;
    let (sessions, threads, repos) = registry.sizes();
    let mark = Mark { meta: *meta, sessions: sessions as u64, threads: threads as u64, repos: repos as u64, files };
    let bytes = codec::encode(Tree::Meta, MARK.as_bytes(), &mark)?;
    fs::write(new.join(MARK), bytes).map_err(Error::io("write", new))?;
    disk.sync_all(new).map_err(Error::io("sync", new))?;
    // The first base of a state has no predecessor.
    match disk.rename(&layout.base, &layout.old_base) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("rename", &layout.base)(error)),
        _ => {}
    }
    disk.rename(new, &layout.base)
        .and_then(|()| disk::sync_parent(&layout.base))
        .map_err(Error::io("replace", &layout.base))?;
    disk.remove_all(&layout.old_base).map_err(Error::io("remove", &layout.old_base))
}

/// Copies the database as it is at one moment, and says what the copy has.
fn copy(layout: &Layout, disk: &dyn Disk) -> Result<Vec<FilePrint>, Error> {
    let (new, database) = (&layout.new_base, &layout.database);
    for _ in 0..TRIES {
        let files = new.join(FILES);
        disk.remove_all(new)
            .and_then(|()| fs::create_dir(new))
            .and_then(|()| disk.copy_all(database, &files))
            .map_err(Error::io("copy to", new))?;
        let (copied, original) = (fingerprint(&files)?, fingerprint(database)?);
        if let Some(prints) = copied.filter(|copied| original.as_ref() == Some(copied)) {
            return Ok(prints);
        }
    }
    Err(Error::io("copy", database)(io::Error::other("it does not hold still")))
}

/// What the files of a database are; none where it is missing.
fn fingerprint(directory: &Path) -> Result<Option<Vec<FilePrint>>, Error> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(Error::io("list", directory))?,
    };
    let mut prints = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", directory))?;
        // Its directory for large values stays empty: there are none.
        if entry.file_type().map_err(Error::io("look at", &entry.path()))?.is_file() {
            let (length, crc) = digest(&entry.path()).map_err(Error::io("read", &entry.path()))?;
            prints.push(FilePrint { name: entry.file_name().to_string_lossy().into_owned(), length, crc });
        }
    }
    prints.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Some(prints))
}

fn digest(path: &Path) -> io::Result<(u64, u32)> {
    use std::io::Read;

    let mut file = fs::File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((length, hasher.finalize()));
        }
        length += count as u64;
        hasher.update(&buffer[..count]);
    }
}
