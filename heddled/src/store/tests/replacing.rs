//! B1 and B2: wherever a restore is cut off, the state is the old one or the new one, and nothing of the old one is lost.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use proto_schema::Timestamp;

use super::super::layout::Layout;
use super::super::{Disk, Error, Image, RealDisk, Staged, examine, open};
use super::contract::small;
use super::damage::{copy, image, used};
use crate::registry::Registry;

/// A disk that does nothing more after so many steps, as after a kill.
#[derive(Debug)]
struct Mortal(AtomicUsize);

impl Mortal {
    fn step(&self) -> io::Result<()> {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| io::Error::other("killed"))
    }
}

impl Disk for Mortal {
    fn sync_all(&self, directory: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.sync_all(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.rename(from, to)
    }

    fn remove_all(&self, directory: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.remove_all(directory)
    }
}

/// Restores the state `from` in `state`, on a disk that may end at any step.
fn restore(state: &Path, from: &Path, disk: &dyn Disk) -> Result<Option<PathBuf>, Error> {
    let staged = Staged::begin(state, Timestamp::from_unix_ms(1), disk)?;
    Image::take(from).unwrap().unpack(staged.directory()).unwrap();
    let found = examine(staged.directory()).unwrap();
    let opened = staged.open(&found.batches, found.id, &small())?;
    assert_eq!(opened.registry, found.registry);
    opened.store.close(&found.registry)?;
    staged.commit(disk)
}

fn store_files(state: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = image(state).into_iter().map(|(path, bytes)| (path.strip_prefix(state).unwrap().to_owned(), bytes));
    files.collect()
}

/// What a heddled would see that knows nothing of restores: a state that is whole, or one that it refuses.
fn an_older_one_is_not_misled(state: &Path, step: usize, known: &[&Registry]) {
    let layout = Layout::new(state);
    if !layout.format.exists() {
        assert!(layout.journal.exists() || layout.base.exists(), "B2: a new state would be made after step {step}");
        assert!(!layout.unfinished.exists(), "B2: step {step}");
        return;
    }
    let seen = copy(state);
    for unknown in ["restore.ready", "restore.new"] {
        RealDisk.remove_all(&seen.path().join(unknown)).unwrap();
    }
    if let Ok(opened) = open(seen.path(), &small()) {
        assert!(known.contains(&&opened.registry), "B2: it would open a mixture after step {step}");
    }
}

#[test]
fn b1_b2_a_restore_cut_off_at_any_step_leaves_the_old_state_or_the_new_one() {
    // The same registry, earlier: its parts fit the others, so that a mixture could be taken for a state.
    let (old, new_registry) = used(false);
    let new = copy(old.path());
    let old_registry = {
        let mut opened = open(old.path(), &small()).unwrap();
        let mut history = super::history::History::at(new_registry.clone());
        for seed in 0..60 {
            history.steps(12, 1000 + seed);
            history.commit(&mut opened).unwrap();
        }
        history.registry
    };
    let known = [&old_registry, &new_registry];
    let before = store_files(old.path());
    let (mut olds, mut news) = (0, 0);
    for steps in 0.. {
        let state = copy(old.path());
        let done = restore(state.path(), new.path(), &Mortal(AtomicUsize::new(steps)));
        an_older_one_is_not_misled(state.path(), steps, &known);
        let counts = done.is_ok() || state.path().join("restore.ready").exists() || !is(&state, &old_registry);
        if let (Err(_), true) = (&done, state.path().join("restore.ready").exists()) {
            assert!(matches!(Image::take(state.path()), Err(Error::Unfinished { .. })), "step {steps}");
        }
        // Cut off once more, in the middle of what completes it.
        drop(Staged::begin(state.path(), Timestamp::from_unix_ms(2), &Mortal(AtomicUsize::new(steps % 7))));
        an_older_one_is_not_misled(state.path(), steps, &known);
        let opened = open(state.path(), &small()).unwrap_or_else(|error| panic!("step {steps}: {error}"));
        assert_eq!(opened.registry, if counts { new_registry.clone() } else { old_registry.clone() }, "step {steps}");
        drop(opened);
        if counts {
            news += 1;
            let aside = state.path().join("before-restore-1970-01-01T00-00-00.001Z");
            assert_eq!(store_files(&aside), before, "B1: all of the old state, after step {steps}");
        } else {
            olds += 1;
        }
        assert!(!state.path().join("restore.ready").exists(), "step {steps}");
        if done.is_ok() {
            break;
        }
    }
    assert!(olds >= 3 && news > 8, "there were steps: {olds} old, {news} new");
}

fn is(state: &tempfile::TempDir, registry: &Registry) -> bool {
    Image::take(state.path()).is_ok_and(|image| {
        let scratch = tempfile::tempdir().unwrap();
        image.unpack(scratch.path()).unwrap();
        examine(scratch.path()).unwrap().registry == *registry
    })
}

#[test]
fn a_state_of_which_little_is_left_is_moved_aside_as_it_is() {
    let (new, registry) = used(false);
    for missing in ["base", "journal", "format", "base/checkpoint", "db"] {
        let (old, _) = used(true);
        let path = old.path().join(missing);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        let before = store_files(old.path());
        for steps in [6, 9, 12, 15, 1000] {
            let state = copy(old.path());
            drop(restore(state.path(), new.path(), &Mortal(AtomicUsize::new(steps))));
            an_older_one_is_not_misled(state.path(), steps, &[&registry]);
            let aside = restore(state.path(), new.path(), &RealDisk).unwrap();
            assert_eq!(open(state.path(), &small()).unwrap().registry, registry, "{missing}, step {steps}");
            let kept = std::fs::read_dir(state.path()).unwrap().flatten().map(|entry| entry.path());
            let kept: Vec<_> = kept.filter(|path| path.to_string_lossy().contains("before-restore-")).collect();
            let all = kept.iter().chain(&aside).any(|kept| store_files(kept) == before);
            assert!(all, "B1: {missing}, step {steps}: {kept:?}");
        }
    }
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(restore(empty.path(), new.path(), &RealDisk).unwrap(), None);
    assert_eq!(open(empty.path(), &small()).unwrap().registry, registry);
}
