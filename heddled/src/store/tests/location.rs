//! S7: a store whose files are not where they were acknowledges nothing, and writes nothing into another state.

use std::fs;
use std::path::Path;

use super::super::{Error, Opened, Outcome, open};
use super::contract::small;
use super::damage::image;
use super::history::History;

fn running(state: &Path) -> (Opened, History) {
    let mut opened = open(state, &small()).unwrap();
    let mut history = History::default();
    history.steps(9, 1);
    history.commit(&mut opened).unwrap();
    (opened, history)
}

type Way = (&'static str, fn(&Path));

const WAYS: [Way; 5] = [
    ("removed", |state| fs::remove_dir_all(state).unwrap()),
    ("moved", |state| fs::rename(state, state.with_extension("moved")).unwrap()),
    ("without its journal", |state| fs::remove_dir_all(state.join("journal")).unwrap()),
    ("without a segment", |state| fs::remove_file(state.join("journal/00")).unwrap()),
    ("with another format file", |state| {
        fs::remove_file(state.join("format")).unwrap();
        fs::write(state.join("format"), "heddled state, format 1\n").unwrap();
    }),
];

#[test]
fn a_change_is_not_acknowledged_when_the_state_is_gone() {
    for (what, how) in WAYS {
        let place = tempfile::tempdir().unwrap();
        let state = place.path().join("state");
        fs::create_dir(&state).unwrap();
        let (mut opened, mut history) = running(&state);
        how(&state);
        history.steps(9, 2);
        let result = history.commit(&mut opened);
        let Err(Error::Failed { outcome: Outcome::Unknown, source }) = result else { panic!("{what}: {result:?}") };
        assert!(matches!(*source, Error::Gone { .. }), "{what}: {source:?}");
        let told = opened.condition.failed().unwrap();
        assert!(told.contains("heddlectl daemon start"), "{told}");
        history.steps(9, 3);
        let result = history.commit(&mut opened);
        assert!(matches!(result, Err(Error::Failed { outcome: Outcome::NotApplied, .. })), "{what}: {result:?}");
        assert!(opened.store.close(&history.registry).is_err(), "{what}");
    }
}

#[test]
fn the_watch_finds_it_when_nobody_changes_anything() {
    for (what, how) in WAYS {
        let place = tempfile::tempdir().unwrap();
        let state = place.path().join("state");
        fs::create_dir(&state).unwrap();
        let (opened, _) = running(&state);
        assert_eq!(opened.condition.failed(), None);
        how(&state);
        super::until(what, || opened.condition.failed().is_some());
    }
}

#[test]
fn a_state_that_another_made_at_the_same_path_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let (state, moved) = (place.path().join("state"), place.path().join("moved"));
    fs::create_dir(&state).unwrap();
    let (opened, history) = running(&state);
    fs::rename(&state, &moved).unwrap();
    fs::create_dir(&state).unwrap();
    let (other, theirs) = running(&state);
    other.store.close(&theirs.registry).unwrap();
    let before = image(&state);
    assert!(opened.store.close(&history.registry).is_err(), "its last checkpoint would go into the other state");
    assert_eq!(image(&state), before);
    assert_eq!(open(&state, &small()).unwrap().registry, theirs.registry);
    assert_eq!(open(&moved, &small()).unwrap().registry, history.registry, "nothing acknowledged is lost");
}
