//! What every store promises, run on the one on disk and on the one in memory.

use tempfile::TempDir;

use super::super::memory::{Fault, MemoryDisk};
use super::super::{Error, Filter, Opened, Options, Outcome, Page, open};
use super::history::History;

/// Small segments, so that a test uses each of them many times.
pub(super) fn small() -> Options {
    Options { segments: 3, segment_bytes: 64 << 10, cache_bytes: 1 << 20, retry_ms: 1, ..Options::default() }
}

/// Something that can be opened again and again.
trait Place {
    fn open(&self) -> Opened;
}

impl Place for TempDir {
    fn open(&self) -> Opened {
        open(self.path(), &small()).unwrap()
    }
}

impl Place for MemoryDisk {
    fn open(&self) -> Opened {
        Self::open(self).unwrap()
    }
}

/// Reads the whole log in pages.
pub(super) fn read_all(opened: &Opened, filter: &Filter, limit: usize) -> Vec<u64> {
    let mut revisions = Vec::new();
    let mut after = 0;
    loop {
        let page = opened.log.after(filter, after, limit).unwrap();
        revisions.extend(page.operations.iter().map(|operation| operation.revision));
        if page.newest_seen == after {
            return revisions;
        }
        after = page.newest_seen;
    }
}

fn keeps_what_it_acknowledged(place: &dyn Place) {
    let mut history = History::default();
    for round in 0..6 {
        let mut opened = place.open();
        assert_eq!(opened.registry, history.registry, "R5, round {round}");
        let all: Vec<u64> = (1..=history.registry.revision()).collect();
        assert_eq!(read_all(&opened, &Filter::default(), 7), all, "no gap, nothing twice");
        for seed in 0..40 {
            history.steps(9, round * 100 + seed);
            history.commit(&mut opened).unwrap();
        }
        let all: Vec<u64> = (1..=history.registry.revision()).collect();
        assert_eq!(read_all(&opened, &Filter::default(), 1000), all);
        // Every other life ends by a crash.
        if round % 2 == 0 {
            opened.store.close(&history.registry).unwrap();
        }
    }
}

fn answers_by_filter(place: &dyn Place) {
    let mut opened = place.open();
    let mut history = History::default();
    for seed in 0..60 {
        history.steps(10, seed);
        history.commit(&mut opened).unwrap();
    }
    let Page { operations: all, oldest, newest_seen, complete } = opened.log.newest(&Filter::default(), 9999).unwrap();
    assert_eq!((oldest, newest_seen, complete), (1, history.registry.revision(), true));
    let thread = Some(History::thread(3));
    let filter = Filter { thread, repo: all[0].repo, ..Filter::default() };
    let filter = Filter { repo: all.iter().find(|one| one.thread == filter.thread).unwrap().repo, ..filter };
    let matching: Vec<_> = all.iter().filter(|one| one.thread == filter.thread && one.repo == filter.repo).collect();
    assert!(matching.len() > 10);
    let newest = opened.log.newest(&filter, 5).unwrap().operations;
    assert_eq!(newest.iter().collect::<Vec<_>>(), matching[matching.len() - 5..]);
    let after = opened.log.after(&filter, matching[2].revision, 4).unwrap();
    assert_eq!(after.operations.iter().collect::<Vec<_>>(), matching[3..7]);
    assert!(after.newest_seen >= matching[6].revision && after.newest_seen < matching[7].revision);
    let expected: Vec<u64> = matching.iter().map(|one| one.revision).collect();
    assert_eq!(read_all(&opened, &filter, 3), expected);
    let session = Filter { session: matching[0].session, ..Filter::default() };
    assert!(opened.log.newest(&session, 100).unwrap().operations.iter().all(|one| one.session == session.session));
    let none = opened.log.after(&filter, u64::MAX - 1, 4).unwrap();
    assert!(none.operations.is_empty() && none.complete);
}

fn refuses_operations_that_are_not_those_of_the_entries(place: &dyn Place) {
    let mut opened = place.open();
    let mut history = History::default();
    history.steps(5, 1);
    let result = opened.store.append(&history.entries, Vec::new(), &history.registry);
    assert!(matches!(result, Err(Error::Operations)), "{result:?}");
    history.commit(&mut opened).unwrap();
}

fn has_the_newest_operations_in_memory(place: &dyn Place) {
    let mut opened = place.open();
    let mut history = History::default();
    for seed in 0..300 {
        history.steps(12, seed);
        history.commit(&mut opened).unwrap();
    }
    let newest = history.registry.revision();
    let thread = Filter { thread: Some(History::thread(3)), ..Filter::default() };
    let mut had = 0;
    for filter in [Filter::default(), thread] {
        for after in (0..=newest + 1).rev() {
            let Some(recent) = opened.log.recent(&filter, after, 5) else { continue };
            had += 1;
            let read = opened.log.after(&filter, after, 5).unwrap();
            assert_eq!((recent.operations, recent.newest_seen), (read.operations, read.newest_seen), "after {after}");
        }
    }
    assert!(had > 8, "some are in memory");
    assert!(opened.log.recent(&Filter::default(), 0, 5).is_none(), "and not all");
    let (log, last) = (std::sync::Arc::clone(&opened.log), newest - 1);
    opened.store.close(&history.registry).unwrap();
    let page = log.recent(&Filter::default(), last, 5).unwrap();
    assert_eq!(page.operations.iter().map(|one| one.revision).collect::<Vec<_>>(), [newest], "when it is closed, too");
}

const CONTRACT: [fn(&dyn Place); 4] = [
    keeps_what_it_acknowledged,
    answers_by_filter,
    refuses_operations_that_are_not_those_of_the_entries,
    has_the_newest_operations_in_memory,
];

#[test]
fn the_store_on_disk_keeps_the_contract() {
    for check in CONTRACT {
        check(&tempfile::tempdir().unwrap());
    }
}

#[test]
fn the_store_in_memory_keeps_the_contract() {
    for check in CONTRACT {
        check(&MemoryDisk::default());
    }
}

#[test]
fn the_store_in_memory_fails_as_it_is_told() {
    let disk = MemoryDisk::default();
    for (fault, kept) in [(Fault::BeforeDurability, false), (Fault::AfterDurability, true)] {
        let mut opened = disk.open().unwrap();
        let mut history = History::at(opened.registry.clone());
        disk.fail_next(fault);
        history.steps(4, 3);
        let result = history.commit(&mut opened);
        assert!(matches!(result, Err(Error::Failed { outcome: Outcome::Unknown, .. })), "{result:?}");
        history.steps(4, 4);
        let result = history.commit(&mut opened);
        assert!(matches!(result, Err(Error::Failed { outcome: Outcome::NotApplied, .. })), "{result:?}");
        let before = opened.registry.revision();
        assert_eq!(disk.open().unwrap().registry.revision() > before, kept);
    }
}

#[test]
fn many_checkpoints_through_few_segments_lose_nothing() {
    let place = tempfile::tempdir().unwrap();
    let mut opened = place.open();
    let mut history = History::default();
    for seed in 0..600 {
        history.steps(12, seed);
        history.commit(&mut opened).unwrap();
        if seed % 50 == 0 {
            let all: Vec<u64> = (1..=history.registry.revision()).collect();
            assert_eq!(read_all(&opened, &Filter::default(), 300), all, "while checkpoints run");
        }
    }
    assert!(opened.stats.checkpoints.load(std::sync::atomic::Ordering::Relaxed) > 10);
    drop(opened);
    let opened = place.open();
    assert_eq!(opened.registry, history.registry);
    assert_eq!(opened.quarantined.len(), 0);
}
