//! Crash images: what kill -9 or a power cut can leave of the journal.

use std::fs;
use std::path::Path;

use super::super::codec;
use super::super::journal::frame;
use super::super::journal::recover::recover;
use super::super::journal::segment::{FRAMES, Header};
use super::super::layout::Layout;
use super::super::{Damage, Error, Tree, open};
use super::contract::small;
use super::damage::copy;
use super::history::History;
use crate::registry::Registry;

/// A state with ten batches in the first segment, and the registry after each of them.
pub(super) fn ten_batches(state: &Path) -> (u128, Vec<Registry>) {
    let mut opened = open(state, &small()).unwrap();
    let mut history = History::default();
    let mut states = vec![Registry::default()];
    for seed in 0..10 {
        history.steps(3, seed);
        history.commit(&mut opened).unwrap();
        states.push(history.registry.clone());
    }
    (opened.id, states)
}

/// Where the frames of a segment begin, and where the last one ends.
pub(super) fn boundaries(segment: &[u8]) -> Vec<usize> {
    let header = Header::read(segment).unwrap();
    let found = frame::scan(segment, FRAMES, header.epoch);
    let end = found.last().and_then(|last| last.payload.clone()).unwrap().end;
    found.iter().map(|found| found.start).chain([end]).collect()
}

#[test]
fn a_journal_cut_at_a_frame_is_the_state_after_the_frames_before_it() {
    let place = tempfile::tempdir().unwrap();
    let (_, states) = ten_batches(place.path());
    let segment = fs::read(place.path().join("journal/00")).unwrap();
    for (index, boundary) in boundaries(&segment).into_iter().enumerate() {
        let image = copy(place.path());
        let mut cut = segment.clone();
        cut[boundary..].fill(0);
        fs::write(image.path().join("journal/00"), cut).unwrap();
        // Opened, used, crashed and opened again: what is written now must not stand behind what was torn.
        let mut opened = open(image.path(), &small()).unwrap();
        assert_eq!(opened.registry, states[index], "R5 after {index} batches");
        let mut history = History::at(opened.registry.clone());
        history.steps(5, 77);
        history.commit(&mut opened).unwrap();
        drop(opened);
        assert_eq!(open(image.path(), &small()).unwrap().registry, history.registry);
    }
}

#[test]
fn a_last_frame_torn_at_any_byte_was_never_acknowledged() {
    let place = tempfile::tempdir().unwrap();
    let (id, states) = ten_batches(place.path());
    let layout = Layout::new(place.path());
    let path = place.path().join("journal/00");
    let segment = fs::read(&path).unwrap();
    let boundaries = boundaries(&segment);
    let (start, end) = (boundaries[9], boundaries[10]);
    for cut in start..end {
        for rest in [0, 0xa5] {
            let mut torn = segment.clone();
            torn[cut..end].fill(rest);
            if torn == segment {
                continue;
            }
            fs::write(&path, torn).unwrap();
            let recovered = recover(&layout, id, 0).unwrap();
            let whole = recovered.sequence == 10;
            assert!(!whole || segment[cut..end].iter().all(|byte| *byte == 0), "byte {cut}");
            let mut registry = Registry::default();
            recovered.batches.iter().flatten().for_each(|entry| registry.apply(entry));
            assert_eq!(registry, states[if whole { 10 } else { 9 }], "byte {cut}");
        }
    }
}

#[test]
fn a_bit_flipped_in_any_byte_before_the_last_frame_is_damage() {
    let place = tempfile::tempdir().unwrap();
    let (id, _) = ten_batches(place.path());
    let layout = Layout::new(place.path());
    let path = place.path().join("journal/00");
    let segment = fs::read(&path).unwrap();
    let boundaries = boundaries(&segment);
    for byte in (boundaries[0]..boundaries[9]).step_by(3) {
        let mut flipped = segment.clone();
        flipped[byte] ^= 1 << (byte % 8);
        fs::write(&path, flipped).unwrap();
        let result = recover(&layout, id, 0);
        let lost = matches!(&result, Err(Error::Damaged { why, .. }) if matches!(**why, Damage::Lost { .. }));
        assert!(lost, "byte {byte}: {result:?}");
    }
}

#[test]
fn an_epoch_tells_frames_of_an_earlier_use_apart() {
    let mut history = History::default();
    history.steps(6, 1);
    let mut buffer = Vec::new();
    frame::encode(&mut buffer, &history.entries).unwrap();
    frame::seal(&mut buffer, 11, 4);
    assert_eq!(frame::scan(&buffer, 0, 11).len(), 1);
    assert_eq!(frame::scan(&buffer, 0, 12), []);
    let payload = frame::scan(&buffer, 0, 11).pop().unwrap().payload.unwrap();
    assert_eq!(frame::decode(4, &buffer[payload]).unwrap(), history.entries);
}

#[test]
fn every_record_reads_back_from_its_stored_form() {
    let mut history = History::default();
    history.steps(200, 5);
    for session in history.registry.sessions(None) {
        let value = codec::encode(Tree::Sessions, b"k", session).unwrap();
        let back: crate::registry::SessionRecord = codec::decode(Tree::Sessions, b"k", &value).unwrap();
        assert_eq!(back, **session);
    }
}
