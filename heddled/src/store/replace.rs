//! Puts a restored state in place of the one that is there, as a whole or not at all.
//!
//! The new state is made in `restore.new`: its parts in `new`, and beside that an empty directory with the name that the old
//! state gets. Renaming `restore.new` to `restore.ready` is the moment from which on the new one counts. What comes
//! after is only renaming, begun again wherever it was cut off, by whoever opens the state next, before anything else is
//! looked at.
//!
//! # Invariants
//!
//! - B1: nothing is ever deleted that was not made by a restore that does not count.
//! - B2: until all is in place there is no file `format`, and a journal or a base is there at each moment: an older heddled
//!   that knows nothing of this refuses to start, and makes no new state.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use proto_schema::Timestamp;

use super::ceiling::Ceiling;
use super::disk::{self, Disk};
use super::layout::Layout;
use super::open::make_journal;
use super::{Error, Opened, Options, open};
use crate::registry::{Entry, Registry};

const NEW: &str = "new";
const OLD: &str = "before-restore-";

/// The parts of a state that are there for a moment only, or not needed.
const PASSING: [&str; 4] = ["format.new", "base.new", "base.old", "db"];

/// A state that is being made from a backup, and does not count yet.
#[derive(Debug)]
pub struct Staged {
    layout: Layout,
    new: PathBuf,
    old: PathBuf,
}

impl Staged {
    /// Begins; what an earlier restore that does not count has left is removed. The caller has the lock of the daemon.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(state_dir: &Path, now: Timestamp, disk: &dyn Disk) -> Result<Self, Error> {
        let layout = Layout::new(state_dir);
        finish(&layout, disk)?;
        disk.remove_all(&layout.restore).map_err(Error::io("remove", &layout.restore))?;
        let mut name = format!("{OLD}{}", now.to_string().replace(':', "-"));
        while exists(&layout.state.join(&name))? {
            name.push('+');
        }
        let (new, old) = (layout.restore.join(NEW), layout.restore.join(name));
        for directory in [&layout.restore, &new, &old] {
            fs::create_dir(directory).map_err(Error::io("make", directory))?;
        }
        Ok(Self { layout, new, old })
    }

    /// Where the image that it is made from is to be unpacked.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.new
    }

    /// Makes a state of the image there, and opens it.
    ///
    /// # Errors
    /// It is not one, or the state cannot be written.
    pub fn open(&self, batches: &[Vec<Entry>], id: u128, options: &Options) -> Result<Opened, Error> {
        let layout = Layout::new(&self.new);
        let leftover = self.new.join(super::image::BATCHES);
        fs::remove_file(&leftover).map_err(Error::io("remove", &leftover))?;
        options.disk.remove_all(&layout.database).map_err(Error::io("remove", &layout.database))?;
        layout.begin()?;
        make_journal(&layout, options, id)?;
        Ceiling::create(&layout, id, 0)?;
        layout.finish()?;
        let mut opened = open(&self.new, options)?;
        let mut registry = opened.registry.clone();
        for batch in batches {
            registry = append(&mut opened, &registry, batch)?;
        }
        opened.registry = registry;
        Ok(opened)
    }

    /// Removes what was prepared: nothing was changed.
    ///
    /// # Errors
    /// It cannot be removed; the next restore removes it.
    pub fn give_up(self, disk: &dyn Disk) -> Result<(), Error> {
        let Layout { restore, .. } = &self.layout;
        disk.remove_all(restore).map_err(Error::io("remove", restore))
    }

    /// Has it count, and puts it in place. Answers where the old state is, if there was any.
    ///
    /// # Errors
    /// It cannot be written. Whether it counts is told by [`Error::Unfinished`] of whoever looks at the state next.
    pub fn commit(self, disk: &dyn Disk) -> Result<Option<PathBuf>, Error> {
        let Layout { state, restore, restored, .. } = &self.layout;
        disk.sync_all(restore).map_err(Error::io("sync", restore))?;
        rename(disk, restore, restored)?;
        finish(&self.layout, disk)?;
        let old = self.old.file_name().map(|name| state.join(name));
        Ok(old.filter(|old| old.exists()))
    }
}

/// Appends entries to an open state, as one batch. Answers what they lead to.
///
/// # Errors
/// The state cannot be written.
pub fn append(opened: &mut Opened, before: &Registry, entries: &[Entry]) -> Result<Registry, Error> {
    let (mut registry, mut operations) = (before.clone(), Vec::new());
    for entry in entries {
        registry.apply(entry);
        operations.extend(registry.operation(entry));
    }
    opened.store.append(entries, operations, &registry)?;
    Ok(registry)
}

/// Completes a restore that counts and was cut off. Does nothing where there is none.
pub(super) fn finish(layout: &Layout, disk: &dyn Disk) -> Result<(), Error> {
    let Layout { state, restored, .. } = layout;
    let Some(entries) = listed(restored)? else { return Ok(()) };
    let new = restored.join(NEW);
    let old = entries.iter().find(|name| name.starts_with(OLD)).map(|name| restored.join(name));
    let aside = |part: &str| match &old {
        Some(old) if exists(&state.join(part))? => rename(disk, &state.join(part), &old.join(part)),
        _ => Ok(()),
    };
    if exists(&new.join("format"))? {
        // First of all, so that nobody takes a mixture for a state (B2).
        aside("format.new")?;
        aside("format")?;
        let [first, last] = if exists(&layout.base)? { ["journal", "base"] } else { ["base", "journal"] };
        let order = [first, last, "fencing"];
        for part in order {
            if exists(&new.join(part))? {
                aside(part)?;
                rename(disk, &new.join(part), &state.join(part))?;
            }
        }
        PASSING.iter().try_for_each(|part| aside(part))?;
        rename(disk, &new.join("format"), &state.join("format"))?;
    }
    if let Some(old) = old {
        let is_empty = listed(&old)?.is_some_and(|parts| parts.is_empty());
        match old.file_name() {
            Some(name) if !is_empty => rename(disk, &old, &state.join(name))?,
            _ => disk.remove_all(&old).map_err(Error::io("remove", &old))?,
        }
    }
    // What is left of it was made by the restore, and is not needed.
    disk.remove_all(restored).map_err(Error::io("remove", restored))
}

/// Renames durably: what comes next may rest upon it.
fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), Error> {
    disk.rename(from, to)
        .and_then(|()| disk::sync_parent(from))
        .and_then(|()| disk::sync_parent(to))
        .map_err(Error::io("rename", from))
}

fn exists(path: &Path) -> Result<bool, Error> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

/// The names in a directory; none where it is missing.
fn listed(directory: &Path) -> Result<Option<Vec<String>>, Error> {
    let failed = |error| Error::io("list", directory)(error);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(failed)?,
    };
    let names = entries.map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned()));
    names.collect::<Result<_, _>>().map(Some)
}
