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

/// What a scan of the first journal segment with these bytes gives: the registry, or that it is damaged.
fn recovered(layout: &Layout, id: u128, segment: &[u8]) -> Option<Registry> {
    fs::write(layout.journal.join("00"), segment).unwrap();
    match recover(layout, id, 0) {
        Ok(recovered) => {
            let mut registry = Registry::default();
            recovered.batches.iter().flatten().for_each(|entry| registry.apply(entry));
            Some(registry)
        }
        Err(Error::Damaged { .. }) => None,
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn a_last_frame_of_which_sectors_or_the_end_were_not_written_was_never_acknowledged() {
    let place = tempfile::tempdir().unwrap();
    let (id, states) = ten_batches(place.path());
    let layout = Layout::new(place.path());
    let segment = fs::read(layout.journal.join("00")).unwrap();
    let boundaries = boundaries(&segment);
    let (start, end) = (boundaries[9], boundaries[10]);
    // A write that was cut off: the rest is as preallocated.
    for cut in start..end - 8 {
        let mut torn = segment.clone();
        torn[cut..end].fill(0);
        assert_eq!(recovered(&layout, id, &torn).as_ref(), Some(&states[9]), "byte {cut}");
    }
    // A power cut: any of the sectors may be as preallocated.
    let sectors: Vec<_> =
        (start / 512..=(end - 1) / 512).map(|at| start.max(at * 512)..end.min(at * 512 + 512)).collect();
    for missing in 1_u32..1 << sectors.len() {
        let mut torn = segment.clone();
        for (_, sector) in sectors.iter().enumerate().filter(|(at, _)| missing >> at & 1 == 1) {
            torn[sector.clone()].fill(0);
        }
        assert_eq!(recovered(&layout, id, &torn).as_ref(), Some(&states[9]), "sectors {missing:b}");
    }
}

#[test]
fn s3_a_bit_flipped_in_the_last_frame_is_damage_and_no_torn_write() {
    let place = tempfile::tempdir().unwrap();
    let (id, _) = ten_batches(place.path());
    let layout = Layout::new(place.path());
    let segment = fs::read(layout.journal.join("00")).unwrap();
    let boundaries = boundaries(&segment);
    for byte in boundaries[9]..boundaries[10] {
        let mut flipped = segment.clone();
        flipped[byte] ^= 1 << (byte % 8);
        assert_eq!(recovered(&layout, id, &flipped), None, "byte {byte}");
        flipped[byte] = 0xa5;
        assert!(flipped == segment || recovered(&layout, id, &flipped).is_none(), "byte {byte}");
    }
    // What no write of this journal leaves behind the last frame.
    let mut garbage = segment.clone();
    garbage[boundaries[10]..boundaries[10] + 64].fill(0xa5);
    assert_eq!(recovered(&layout, id, &garbage), None);
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
