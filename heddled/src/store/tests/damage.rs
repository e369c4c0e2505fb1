//! S3: what is damaged is refused and left as it is, and never opened as something emptier.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use super::super::checkpoint::base;
use super::super::checkpoint::tables::{Meta, Tables};
use super::super::layout::Layout;
use super::super::{Error, Filter, Options, RealDisk, Tree, open};
use super::contract::{read_all, small};
use super::crash::{boundaries, ten_batches};
use super::history::History;
use crate::registry::{Counters, Registry};

/// Every file below a directory.
pub(super) fn image(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(image(&path));
        } else {
            files.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    files
}

/// Another directory with the same content: the image that a crash would leave.
pub(super) fn copy(state: &Path) -> TempDir {
    let target = tempfile::tempdir().unwrap();
    for (path, bytes) in image(state) {
        let path = target.path().join(path.strip_prefix(state).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    target
}

pub(super) fn refused_untouched(state: &Path) {
    let before = image(state);
    let error = open(state, &small()).expect_err("it is damaged");
    assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("mv "), "{error}");
    assert_eq!(image(state), before, "{error}");
}

/// A state that was closed cleanly, or crashed behind some checkpoints.
pub(super) fn used(clean: bool) -> (TempDir, Registry) {
    let place = tempfile::tempdir().unwrap();
    let mut opened = open(place.path(), &small()).unwrap();
    let mut history = History::default();
    for seed in 0..150 {
        history.steps(12, seed);
        history.commit(&mut opened).unwrap();
    }
    if clean {
        opened.store.close(&history.registry).unwrap();
    }
    (place, history.registry)
}

#[test]
fn a_flipped_bit_in_a_middle_frame_is_refused() {
    let place = tempfile::tempdir().unwrap();
    ten_batches(place.path());
    let path = place.path().join("journal/00");
    let mut segment = fs::read(&path).unwrap();
    let middle = boundaries(&segment)[4] + 40;
    segment[middle] ^= 4;
    fs::write(&path, segment).unwrap();
    refused_untouched(place.path());
}

#[test]
fn a_lost_or_altered_base_is_refused_after_a_crash() {
    let (place, registry) = used(false);
    let file = Path::new("base/db/db");
    let bytes = fs::read(place.path().join(file)).unwrap();
    let (length, mut flipped) = (bytes.len(), bytes.clone());
    let database = place.path().join("db/db");
    fs::write(&database, [&fs::read(&database).unwrap()[..], b"more"].concat()).unwrap();
    flipped[length / 3] ^= 1;
    for damaged in [Vec::new(), vec![0; length], bytes[..length / 2].to_vec(), bytes[length / 2..].to_vec(), flipped] {
        let image = copy(place.path());
        fs::write(image.path().join(file), damaged).unwrap();
        refused_untouched(image.path());
    }
    let image = copy(place.path());
    for piece in ["base/db/db", "base/db", "base/checkpoint", "base"] {
        let path = image.path().join(piece);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        refused_untouched(image.path());
    }
    assert_eq!(open(copy(place.path()).path(), &small()).unwrap().registry, registry, "the image itself is good");
}

#[test]
fn any_missing_piece_is_refused() {
    for piece in ["journal/00", "journal/02", "base", "base/checkpoint", "format", "journal"] {
        let (place, _) = used(true);
        let path = place.path().join(piece);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        refused_untouched(place.path());
    }
}

#[test]
fn spoiled_headers_and_small_files_are_refused() {
    for (piece, offsets) in [("journal/01", &[9, 4096 + 9][..]), ("base/checkpoint", &[7]), ("format", &[2])] {
        let (place, _) = used(false);
        let path = place.path().join(piece);
        let mut bytes = fs::read(&path).unwrap();
        offsets.iter().for_each(|offset| bytes[*offset] ^= 8);
        fs::write(&path, bytes).unwrap();
        refused_untouched(place.path());
    }
}

#[test]
fn pieces_of_two_states_are_refused() {
    let ((one, _), (other, _)) = (used(true), used(true));
    fs::copy(other.path().join("journal/01"), one.path().join("journal/01")).unwrap();
    refused_untouched(one.path());
}

#[test]
fn a_newer_format_is_refused_untouched() {
    let (place, _) = used(true);
    fs::write(place.path().join("format"), "heddled state, format 2\n").unwrap();
    let before = image(place.path());
    let error = open(place.path(), &small()).expect_err("it is newer");
    assert!(matches!(error, Error::NewerFormat { found: 2, known: 1, .. }), "{error:?}");
    assert_eq!(image(place.path()), before);
}

#[test]
fn a_state_in_use_is_its_own_error() {
    let place = tempfile::tempdir().unwrap();
    let first = open(place.path(), &small()).unwrap();
    assert!(matches!(open(place.path(), &small()), Err(Error::Locked { .. })));
    drop(first);
    open(place.path(), &small()).unwrap();
}

#[test]
fn a_database_that_stays_locked_is_not_waited_for_for_ever() {
    let (place, registry) = used(true);
    let path = place.path().join("db/db");
    let held =
        Flock::lock(fs::File::open(&path).unwrap(), FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap();
    let before = image(place.path());
    let error = open(place.path(), &Options { lock_wait_ms: 20, ..small() }).expect_err("somebody has it");
    assert!(matches!(&error, Error::Locked { path: named } if *named == path), "{error:?}");
    assert_eq!(image(place.path()), before);
    drop(held);
    assert_eq!(open(place.path(), &small()).unwrap().registry, registry);
}

#[test]
fn a_first_start_that_was_cut_off_is_begun_anew() {
    let (place, _) = used(true);
    // `format.new` without `format`: nothing was ever acknowledged.
    fs::rename(place.path().join("format"), place.path().join("format.new")).unwrap();
    assert_eq!(open(place.path(), &small()).unwrap().registry, Registry::default());
}

#[test]
fn a_record_that_cannot_be_read_is_put_aside_and_its_token_never_granted_again() {
    let (place, registry) = used(true);
    let victim = registry.sessions(None).next().unwrap().fencing_token;
    let layout = Layout::new(place.path());
    let tables = Tables::open(&layout.database, 1 << 20).unwrap();
    tables.spoil(Tree::Sessions, &victim.0.to_be_bytes());
    tables.spoil(Tree::Operations, &1u64.to_be_bytes());
    let meta = tables.load().unwrap().meta;
    // Only its own key says that the token was granted.
    let counters = Counters { fencing: victim.0 - 1, ..meta.counters };
    let meta = Meta::new(meta.id(), meta.applied, counters);
    tables.finish(&meta).unwrap();
    tables.flush().unwrap();
    base::renew(&layout, &RealDisk, &meta, &registry).unwrap();
    drop(tables);
    let opened = open(place.path(), &small()).unwrap();
    let trees: Vec<_> = opened.quarantined.iter().map(|bad| bad.tree).collect();
    assert_eq!(trees, [Tree::Sessions]);
    assert!(opened.registry.granted(victim).is_none());
    assert_eq!(opened.registry.counters(), registry.counters(), "R2");
    assert_eq!(opened.registry.sizes().0 + 1, registry.sizes().0);
    let revisions = read_all(&opened, &Filter::default(), 100);
    assert_eq!(revisions.last(), Some(&registry.revision()));
    assert_eq!(opened.log.unreadable(), [1], "what is missing of the log is named");
    drop(opened);
    let again = open(place.path(), &small()).unwrap();
    assert!(again.quarantined.is_empty());
    assert_eq!(again.registry.counters(), registry.counters(), "R2");
}
