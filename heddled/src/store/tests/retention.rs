//! How long operations are kept.

use std::path::Path;

use super::super::{Filter, open};
use super::contract::{read_all, small};
use super::history::History;

const FORTY_DAYS_MS: i64 = 40 * 24 * 3_600_000;

/// Has the store write what has happened into blocks of its database, and returns the revisions of all that it keeps.
fn kept(place: &Path, history: &mut History) -> Vec<u64> {
    let mut opened = open(place, &small()).unwrap();
    history.commit(&mut opened).unwrap();
    opened.store.close(&history.registry).unwrap();
    drop(opened.log);
    let opened = open(place, &small()).unwrap();
    assert_eq!(opened.registry, history.registry);
    read_all(&opened, &Filter::default(), 300)
}

fn up_to(history: &History, first: u64) -> Vec<u64> {
    (first..=history.registry.revision()).collect()
}

#[test]
fn operations_go_by_the_time_of_a_pruning_and_not_by_that_of_the_newest() {
    let place = tempfile::tempdir().unwrap();
    let mut history = History::default();
    history.steps(100, 1);
    assert_eq!(kept(place.path(), &mut history), up_to(&history, 1));
    history.prune();
    let first_later = history.registry.revision() + 1;
    history.now += FORTY_DAYS_MS;
    history.steps(100, 2);
    assert_eq!(kept(place.path(), &mut history), up_to(&history, 1), "a clock that is ahead drops nothing");
    history.prune();
    history.steps(100, 3);
    assert_eq!(kept(place.path(), &mut history), up_to(&history, first_later), "a pruning does");
}

#[test]
fn a_pruning_with_a_wrong_time_drops_nothing_once_the_clock_is_right() {
    let place = tempfile::tempdir().unwrap();
    let mut history = History::default();
    history.steps(40, 1);
    history.now += FORTY_DAYS_MS;
    history.prune();
    history.now -= FORTY_DAYS_MS;
    history.steps(40, 2);
    assert_eq!(kept(place.path(), &mut history), up_to(&history, 1));
}
