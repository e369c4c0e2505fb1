//! Decides whether a database is what was acknowledged, without touching it: on a copy, when its files are not those that
//! the last checkpoint left at rest.
//!
//! Needed because the database, after a power cut, can open empty without an error, and can panic on flipped bits.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::super::layout::{Layout, Mark};
use super::super::{Damage, Error, Quarantined, Tree};
use super::blocks;
use super::tables::{Loaded, Tables};

/// What only the text of the database's error tells.
const LOCKED: &str = "could not acquire lock";

/// Opens and reads the database in `path`, which may be a copy. A panic within it counts as damage.
pub(crate) fn load(layout: &Layout, path: &Path, cache: u64) -> Result<(Tables, Loaded), Error> {
    let read = catch_unwind(AssertUnwindSafe(|| {
        let tables = Tables::open(path, cache).map_err(Damage::Database)?;
        let loaded = tables.load()?;
        Ok((tables, loaded))
    }));
    match read.unwrap_or(Err(Damage::Panicked)) {
        Ok(read) => Ok(read),
        Err(Damage::Database(sled::Error::Io(error))) if error.to_string().contains(LOCKED) => {
            Err(Error::Locked { path: layout.database.clone() })
        }
        Err(Damage::Database(source)) if is_of_the_system(&source) => {
            Err(Error::Checkpoint { operation: "open", path: path.to_owned(), source })
        }
        Err(why) => Err(layout.damaged(&layout.database, why)),
    }
}

/// Whether the system refused: a full disk or a missing permission is no damage. What the database itself finds wrong has
/// kinds without a number of the system's.
fn is_of_the_system(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.raw_os_error().is_some())
}

/// Compares what was read with what was recorded when the last checkpoint was complete.
pub(crate) fn check(layout: &Layout, mark: &Mark, loaded: &Loaded) -> Result<(), Error> {
    let damaged = |why| Err(layout.damaged(&layout.database, why));
    let (found, recorded) = (loaded.meta.applied, mark.meta.applied);
    if found < recorded {
        return damaged(Damage::Behind { found, recorded });
    }
    let (found, recorded) = (loaded.meta.counters.revision, mark.meta.counters.revision);
    if found < recorded {
        return damaged(Damage::Behind { found, recorded });
    }
    let records = &loaded.records;
    for (tree, found, recorded) in [
        (Tree::Repos, records.repos.len(), mark.repos),
        (Tree::Sessions, records.sessions.len(), mark.sessions),
        (Tree::Threads, records.threads.len(), mark.threads),
    ] {
        // Records are removed only after a checkpoint without them was complete, so there can be more, but never fewer.
        let found = (found + loaded.bad.iter().filter(|bad| bad.tree == tree).count()) as u64;
        if found < recorded {
            return damaged(Damage::Fewer { tree, found, recorded });
        }
    }
    Ok(())
}

/// Checks on a copy that the database can be opened, and reads what it has.
pub(crate) fn verify(layout: &Layout, mark: &Mark, cache: u64) -> Result<Loaded, Error> {
    remove(&layout.copy)?;
    copy(&layout.database, &layout.copy)?;
    let result = load(layout, &layout.copy, cache).and_then(|(tables, mut loaded)| {
        check(layout, mark, &loaded)?;
        let read = catch_unwind(AssertUnwindSafe(|| operations(&tables, &loaded)));
        let bad = read.unwrap_or(Err(Damage::Panicked)).map_err(|why| layout.damaged(&layout.database, why))?;
        loaded.bad.extend(bad);
        Ok(loaded)
    });
    remove(&layout.copy)?;
    result
}

/// Checks that the operation log has everything from its oldest block up to the checkpoint's last revision.
fn operations(tables: &Tables, loaded: &Loaded) -> Result<Vec<Quarantined>, Damage> {
    let mut bad = Vec::new();
    let newest = loaded.meta.counters.revision;
    let mut last = None;
    let mut known = true;
    let gap = |after: u64, before| match tables.blocks().is_put_aside(after + 1, before) {
        true => Ok(()),
        false => Err(Damage::LogGap { after, before }),
    };
    for block in tables.blocks().before(newest + 1) {
        let (key, value) = block.map_err(Damage::Database)?;
        match blocks::span(&key, &value) {
            Ok(span) => {
                if let Some(after) = last.filter(|last| known && *last + 1 != span.first) {
                    gap(after, span.first)?;
                }
                last = Some(span.last);
                known = true;
            }
            Err(why) => {
                bad.push(Quarantined { tree: Tree::Operations, key: key.to_vec(), why });
                known = false;
            }
        }
    }
    if known && last.unwrap_or(0) != newest {
        gap(last.unwrap_or(0), newest + 1)?;
    }
    Ok(bad)
}

pub(crate) fn remove(directory: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", directory)(error)),
        _ => Ok(()),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir(to).map_err(Error::io("make", to))?;
    for entry in fs::read_dir(from).map_err(Error::io("list", from))? {
        let entry = entry.map_err(Error::io("list", from))?;
        let path = entry.path();
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(Error::io("look at", &path))?.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(Error::io("copy", &path))?;
        }
    }
    Ok(())
}
