//! I1 and I2: what is taken of a state while it is written is one of the states that it had, and none from before the
//! beginning.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::super::layout::Layout;
use super::super::{BackupDamage, BackupHead, Error, Examined, Image, Options, examine, open, pack, unpack};
use super::contract::small;
use super::damage::{copy, used};
use super::history::History;
use crate::registry::Registry;

pub(super) fn examined(state: &std::path::Path) -> Examined {
    let scratch = tempfile::tempdir().unwrap();
    Image::take(state).unwrap().unpack(scratch.path()).unwrap();
    examine(scratch.path()).unwrap()
}

#[test]
fn i1_i2_an_image_of_a_state_that_is_written_is_one_of_its_states_and_not_an_earlier_one() {
    let place = tempfile::tempdir().unwrap();
    // Few batches a segment: bases are replaced all the time.
    let options = Options { segment_bytes: 256 << 10, ..small() };
    let mut opened = open(place.path(), &options).unwrap();
    let (states, over) = (Mutex::new(vec![Registry::default()]), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut history = History::default();
            for seed in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                history.steps(20, seed);
                history.commit(&mut opened).unwrap();
                states.lock().push(history.registry.clone());
            }
        });
        let (mut restless, mut taken) = (0, 0);
        while taken < 10 && restless < 100 {
            let acknowledged = states.lock().len() - 1;
            let scratch = tempfile::tempdir().unwrap();
            match Image::take(place.path()) {
                Ok(image) => image.unpack(scratch.path()).unwrap(),
                Err(Error::Restless { .. }) => {
                    restless += 1;
                    continue;
                }
                Err(error) => {
                    over.store(true, Ordering::Relaxed);
                    panic!("{error}");
                }
            }
            let found = examine(scratch.path()).unwrap();
            taken += 1;
            // The last one may be on its way: it is durable before it is acknowledged.
            let states = states.lock().clone();
            let revision = found.registry.revision();
            let at = states.iter().rposition(|state| state.revision() == revision && *state == found.registry);
            if at.is_none_or(|at| at < acknowledged) && found.registry.revision() <= states.last().unwrap().revision() {
                over.store(true, Ordering::Relaxed);
                panic!("I1, I2: {at:?} of {}, {acknowledged} were acknowledged", states.len());
            }
            assert_eq!((found.problems, found.notes), (Vec::new(), Vec::new()));
            assert_eq!(found.operations, found.registry.revision());
        }
        over.store(true, Ordering::Relaxed);
        assert_eq!(taken, 10, "{restless} were cut off by a new base each time");
    });
}

#[test]
fn i1_an_image_whose_base_was_replaced_while_it_was_taken_is_none() {
    let (place, registry) = used(false);
    let layout = Layout::new(place.path());
    let mut opened = Some(open(place.path(), &small()).unwrap());
    let mut history = History::at(registry);
    history.steps(9, 3);
    history.commit(opened.as_mut().unwrap()).unwrap();
    let taken = Image::try_take(&layout, || {
        // What was in the journal goes to a new base, and each segment gets its next use before this is over.
        opened.take().unwrap().store.close(&history.registry).unwrap();
        drop(open(place.path(), &small()).unwrap());
    });
    assert!(matches!(taken, Ok(None)), "{taken:?}");
    assert_eq!(examined(place.path()).registry, history.registry);
}

#[test]
fn a_state_that_nobody_uses_is_what_its_image_is_whether_it_was_closed_or_crashed() {
    for clean in [true, false] {
        let (place, registry) = used(clean);
        let found = examined(place.path());
        assert_eq!(found.registry, registry);
        assert_eq!((found.problems, found.operations), (Vec::new(), registry.revision()));
        assert_eq!(found.batches.is_empty(), clean);
        // Nothing was changed: it opens as before.
        assert_eq!(open(place.path(), &small()).unwrap().registry, registry);
    }
}

fn backup() -> (tempfile::TempDir, std::path::PathBuf, Registry) {
    let (state, registry) = used(false);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("b");
    let image = Image::take(state.path()).unwrap();
    let head = BackupHead::new(&image, proto_schema::Timestamp::from_unix_ms(7));
    pack(image, &head, &path, &std::fs::File::create(&path).unwrap()).unwrap();
    (place, path, registry)
}

fn read(path: &std::path::Path) -> Result<(BackupHead, Examined), Error> {
    let scratch = tempfile::tempdir().unwrap();
    let head = unpack(path, scratch.path())?;
    Ok((head, examine(scratch.path())?))
}

#[test]
fn a_backup_reads_back_and_any_other_file_is_refused() {
    let (_place, path, registry) = backup();
    let (head, found) = read(&path).unwrap();
    assert_eq!((head.made_at.unix_ms(), head.format, &*head.version), (7, 1, env!("CARGO_PKG_VERSION")));
    assert_eq!(found.registry, registry);
    let bytes = std::fs::read(&path).unwrap();
    let why = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        match unpack(&path, tempfile::tempdir().unwrap().path()) {
            Err(Error::Backup { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    };
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for at in (0..bytes.len()).step_by(bytes.len() / 97) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert!(at < line || matches!(why(&flipped), BackupDamage::Altered | BackupDamage::CutOff), "byte {at}");
        assert!(matches!(why(&bytes[..at]), BackupDamage::Foreign | BackupDamage::CutOff), "cut at {at}");
    }
    assert!(matches!(why(&[&bytes[..], b"x"].concat()), BackupDamage::CutOff));
    let newer = [b"heddled backup, format 2\n", &bytes[line..]].concat();
    assert!(matches!(why(&newer), BackupDamage::Newer { found: 2, known: 1 }));
    assert!(matches!(why(b"hello\n"), BackupDamage::Foreign));
}

#[test]
fn what_is_damaged_where_nobody_writes_is_not_taken_for_a_state_in_use() {
    let (place, _) = used(false);
    let image = copy(place.path());
    let used = |number: &u8| {
        let segment = image.path().join(format!("journal/0{number}"));
        let bytes = std::fs::read(&segment).unwrap();
        let start = bytes.iter().skip(9000).position(|byte| *byte != 0)?;
        Some((segment, bytes, start + 9000 + 40))
    };
    let (segment, mut bytes, middle) = (0..2).find_map(|number| used(&number)).unwrap();
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let taken = Image::take(image.path());
    let opened = open(copy(image.path()).path(), &small());
    assert_eq!(taken.is_err(), opened.is_err(), "{taken:?}, {opened:?}");
    std::fs::remove_file(image.path().join("journal/02")).unwrap();
    assert!(matches!(Image::take(image.path()), Err(Error::Damaged { .. })));
    std::fs::remove_file(image.path().join("format")).unwrap();
    assert!(matches!(Image::take(image.path()), Err(Error::Damaged { .. })));
    assert!(matches!(Image::take(tempfile::tempdir().unwrap().path()), Err(Error::Absent { .. })));
}
