//! The base: whatever a power cut leaves of the working database, and of the replacement of the base, nothing is lost.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tempfile::TempDir;

use super::super::{Disk, Filter, Options, RealDisk, open};
use super::contract::{read_all, small};
use super::damage::{copy, refused_untouched, used};
use super::history::History;
use crate::registry::Registry;

/// A disk that stops for ever at one of its steps with directories, in the middle of it.
#[derive(Debug, Default)]
struct Stopping {
    left: AtomicU64,
    stopped_at: Mutex<Option<&'static str>>,
    /// What was copied and not synced yet.
    unsynced: Mutex<Option<PathBuf>>,
}

impl Stopping {
    fn after(steps: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(steps), ..Self::default() })
    }

    fn step(&self, name: &'static str) -> io::Result<()> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| {
            self.stopped_at.lock().get_or_insert(name);
            io::Error::from_raw_os_error(5)
        })
    }
}

impl Stopping {
    fn goes_on(&self) -> io::Result<()> {
        match *self.stopped_at.lock() {
            None => Ok(()),
            Some(_) => Err(io::Error::from_raw_os_error(5)),
        }
    }
}

impl Disk for Stopping {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.goes_on()?;
        RealDisk.write_at(file, bytes, offset)
    }

    fn sync_data(&self, _: &File) -> io::Result<()> {
        self.goes_on()
    }

    fn sync_all(&self, _: &Path) -> io::Result<()> {
        self.step("sync all")?;
        *self.unsynced.lock() = None;
        Ok(())
    }

    fn copy_all(&self, from: &Path, to: &Path) -> io::Result<()> {
        let result = self.step("copy");
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let path = entry?.path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() {
                fs::create_dir(target)?;
            } else {
                fs::copy(path, target)?;
                result.as_ref().map(drop).map_err(|_| io::Error::from_raw_os_error(5))?;
            }
        }
        *self.unsynced.lock() = Some(to.to_owned());
        result
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename")?;
        RealDisk.rename(from, to)
    }

    fn remove_all(&self, directory: &Path) -> io::Result<()> {
        self.step("remove")?;
        RealDisk.remove_all(directory)
    }
}

const GARBAGE: [fn(&mut Vec<u8>); 3] = [
    |bytes| bytes.fill(0),
    |bytes| bytes.truncate(bytes.len() / 2),
    |bytes| bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= u8::try_from(at % 251).unwrap()),
];

fn spoil(path: &Path, how: fn(&mut Vec<u8>)) {
    if let Ok(mut bytes) = fs::read(path) {
        how(&mut bytes);
        fs::write(path, bytes).unwrap();
    }
}

/// Everything acknowledged is there, and the state can be used on.
fn whole(state: &Path, acknowledged: &Registry, unknown: &Registry, what: &str) {
    let opened = open(state, &small()).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert!(opened.registry == *acknowledged || opened.registry == *unknown, "{what}");
    let all: Vec<u64> = (1..=opened.registry.revision()).collect();
    assert_eq!(read_all(&opened, &Filter::default(), 100), all, "{what}");
    let mut opened = opened;
    let mut history = History::at(opened.registry.clone());
    for seed in 0..3 {
        history.steps(9, seed);
        history.commit(&mut opened).unwrap();
    }
    opened.store.close(&history.registry).unwrap();
    assert_eq!(open(state, &small()).unwrap().registry, history.registry, "{what}");
    for leftover in ["base.new", "base.old"] {
        assert!(!state.join(leftover).exists(), "{what}: {leftover}");
    }
}

#[test]
fn a_power_cut_at_any_step_of_a_checkpoint_loses_nothing() {
    let (place, registry) = used(true);
    let mut seen = std::collections::BTreeSet::new();
    for steps in 0..18 {
        let image = copy(place.path());
        let disk = Stopping::after(steps);
        let options = Options { disk: Arc::clone(&disk) as Arc<dyn Disk>, ..small() };
        let mut history = History::at(registry.clone());
        let mut before = registry.clone();
        if let Ok(mut opened) = open(image.path(), &options) {
            for seed in 0..60 {
                history.steps(12, seed);
                if history.commit(&mut opened).is_err() {
                    break;
                }
                before = history.registry.clone();
            }
            drop(opened);
        }
        let Some(name) = *disk.stopped_at.lock() else { break };
        seen.insert(name);
        if let Some(lost) = disk.unsynced.lock().take() {
            spoil(&lost.join("db"), GARBAGE[0]);
        }
        spoil(&image.path().join("db/db"), GARBAGE[usize::try_from(steps).unwrap() % 3]);
        whole(image.path(), &before, &history.registry, &format!("stopped at step {steps}, {name}"));
    }
    assert!(["copy", "remove", "rename", "sync all"].iter().all(|name| seen.contains(name)), "{seen:?}");
}

#[test]
fn a_database_that_a_crash_destroyed_comes_back_from_base_and_journal() {
    for clean in [true, false] {
        let (place, registry) = used(clean);
        for how in GARBAGE {
            let image = copy(place.path());
            spoil(&image.path().join("db/db"), how);
            whole(image.path(), &registry, &registry, "spoiled");
        }
        for piece in ["db/db", "db"] {
            let image = copy(place.path());
            let path = image.path().join(piece);
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
            whole(image.path(), &registry, &registry, piece);
        }
    }
}

#[test]
fn a_replacement_cut_off_between_its_renames_is_undone() {
    let (place, registry) = used(false);
    let at = |image: &TempDir, name: &str| image.path().join(name);
    // `base.new` is whole and better; the older base is good all the same, for the journal has kept what it lacks.
    for new in [true, false] {
        let image = copy(place.path());
        fs::rename(at(&image, "base"), at(&image, "base.old")).unwrap();
        if new {
            fs::create_dir(at(&image, "base.new")).unwrap();
            fs::write(at(&image, "base.new/checkpoint"), "torn").unwrap();
        }
        whole(image.path(), &registry, &registry, "no base");
        let image = copy(place.path());
        fs::create_dir(at(&image, "base.old")).unwrap();
        fs::write(at(&image, "base.old/checkpoint"), "half removed").unwrap();
        whole(image.path(), &registry, &registry, "both");
    }
    let image = copy(place.path());
    fs::rename(at(&image, "base"), at(&image, "base.old")).unwrap();
    spoil(&at(&image, "base.old/db/db"), GARBAGE[1]);
    spoil(&at(&image, "db/db"), GARBAGE[0]);
    refused_untouched(image.path());
}

#[test]
fn after_a_clean_close_the_database_is_opened_as_it_is() {
    let (place, registry) = used(true);
    let database = place.path().join("db/db");
    let inode = fs::metadata(&database).unwrap().ino();
    // What the base's files are does not matter then: the next checkpoint replaces them.
    spoil(&place.path().join("base/db/db"), GARBAGE[0]);
    let opened = open(place.path(), &small()).unwrap();
    assert_eq!(opened.registry, registry);
    assert_eq!(fs::metadata(&database).unwrap().ino(), inode, "it was not copied");
}

#[test]
fn a_clock_that_jumps_back_makes_no_replay_forget_what_is_still_to_end() {
    let place = tempfile::tempdir().unwrap();
    let mut opened = open(place.path(), &small()).unwrap();
    let mut history = History { now: 40 * 24 * 3_600_000, ..History::default() };
    for seed in 0..400 {
        history.steps(9, seed);
        history.commit(&mut opened).unwrap();
        if seed % 37 == 36 {
            history.now -= 8 * 24 * 3_600_000;
        } else if seed % 37 == 18 {
            history.now += 8 * 24 * 3_600_000;
        }
    }
    drop(opened);
    let opened = open(place.path(), &small()).unwrap();
    assert_eq!(opened.registry, history.registry);
}
