//! R2 and S6: whatever is lost of the journal, a start refuses or goes on above every fencing token that was granted.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proto_schema::Timestamp;
use tempfile::TempDir;

use super::super::journal::segment::Header;
use super::super::layout::Layout;
use super::super::{Error, Opened, open};
use super::contract::small;
use super::crash::boundaries;
use super::damage::{copy, refused_untouched};
use super::history::History;

/// Opens a state as a daemon does.
fn start(state: &Path) -> Result<Opened, Error> {
    let mut opened = open(state, &small())?;
    opened.raise_fencing(Timestamp::from_unix_ms(7));
    Ok(opened)
}

/// A state whose daemon was killed, or stopped, after some grants, and the last token that was granted.
fn granted(batches: u64, clean: bool) -> (TempDir, u64) {
    let place = tempfile::tempdir().unwrap();
    let mut opened = start(place.path()).unwrap();
    let mut history = History::default();
    for seed in 0..batches {
        history.steps(6, seed);
        history.commit(&mut opened).unwrap();
    }
    let last = history.registry.counters().fencing;
    if clean {
        opened.store.close(&history.registry).unwrap();
    }
    (place, last)
}

/// Whether the state opens; if so, its next token is above the last one granted.
fn goes_on_above(state: &Path, last: u64, what: &str) -> bool {
    match start(state) {
        Ok(opened) => {
            let next = opened.registry.counters().fencing + 1;
            assert!(next > last, "R2: {what}: {next} comes after {last}");
            true
        }
        Err(Error::Damaged { .. }) => false,
        Err(error) => panic!("{what}: {error:?}"),
    }
}

#[test]
fn a_journal_file_that_was_cut_short_is_refused_at_every_length() {
    let (place, _) = granted(20, false);
    for file in ["journal/00", "journal/01", "journal/02", "fencing"] {
        let bytes = fs::read(place.path().join(file)).unwrap();
        let lengths = (0..bytes.len()).step_by(bytes.len() / 29 + 1).chain([1, 4096, 8192, bytes.len() - 1]);
        for length in lengths.filter(|length| *length < bytes.len()) {
            let image = copy(place.path());
            fs::write(image.path().join(file), &bytes[..length]).unwrap();
            refused_untouched(image.path());
        }
        let image = copy(place.path());
        fs::remove_file(image.path().join(file)).unwrap();
        refused_untouched(image.path());
    }
}

#[test]
fn a_journal_that_lost_its_end_never_leads_to_a_token_twice() {
    let (place, last) = granted(10, false);
    let segment = fs::read(place.path().join("journal/00")).unwrap();
    let boundaries = boundaries(&segment);
    assert!(boundaries.len() > 8, "all batches are in it");
    let cuts = boundaries.iter().flat_map(|at| [*at, at + 3, at + 200]);
    let mut opened = 0;
    for cut in cuts {
        let image = copy(place.path());
        let mut bytes = segment.clone();
        bytes[cut..].fill(0);
        fs::write(image.path().join("journal/00"), bytes).unwrap();
        opened += usize::from(goes_on_above(image.path(), last, &format!("zero from {cut} on")));
    }
    assert!(opened > 8, "a young journal looks like this, so it is no damage");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn whatever_tail_is_lost_a_start_refuses_or_goes_on_above_every_token(
        batches in 1u64..60,
        file in 0u8..3,
        cut in 0.0f64..1.0,
        zeros in any::<bool>(),
        clean in any::<bool>(),
    ) {
        let (place, last) = granted(batches, clean);
        let path = place.path().join(format!("journal/0{file}"));
        let mut bytes = fs::read(&path).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place")]
        let at = 8192 + ((bytes.len() - 8192) as f64 * cut) as usize;
        if zeros { bytes[at..].fill(0) } else { bytes.truncate(at) }
        fs::write(&path, bytes).unwrap();
        let opens = goes_on_above(place.path(), last, "a lost tail");
        prop_assert!(zeros || !opens, "what was cut short is refused");
    }
}

#[test]
fn a_clean_stop_leaves_no_gap_and_a_kill_leaves_one_once() {
    let (place, last) = granted(5, true);
    for _ in 0..2 {
        let opened = start(place.path()).unwrap();
        assert_eq!(opened.registry.counters().fencing, last, "the stop was clean");
        let registry = opened.registry.clone();
        opened.store.close(&registry).unwrap();
    }
    let opened = start(place.path()).unwrap();
    let mut history = History::at(opened.registry.clone());
    let mut opened = opened;
    history.steps(20, 3);
    history.commit(&mut opened).unwrap();
    drop(opened);
    let opened = start(place.path()).unwrap();
    let raised = opened.registry.counters().fencing;
    assert!(raised > history.registry.counters().fencing, "nobody knows what the kill has cost");
    let registry = opened.registry.clone();
    opened.store.close(&registry).unwrap();
    assert_eq!(start(place.path()).unwrap().registry.counters().fencing, raised);
}

#[test]
fn a_ceiling_with_one_spoiled_copy_counts_and_one_with_two_is_refused() {
    let (place, last) = granted(5, false);
    let bytes = fs::read(place.path().join("fencing")).unwrap();
    for byte in (0..36).step_by(5) {
        for copies in [&[0][..], &[4096], &[0, 4096]] {
            let image = copy(place.path());
            let mut spoiled = bytes.clone();
            copies.iter().for_each(|start| spoiled[start + byte] ^= 1);
            fs::write(image.path().join("fencing"), spoiled).unwrap();
            let opens = goes_on_above(image.path(), last, "a spoiled copy");
            assert_eq!(opens, copies.len() == 1, "byte {byte} of {copies:?}");
        }
    }
    let (other, _) = granted(5, false);
    let image = copy(place.path());
    fs::copy(other.path().join("fencing"), image.path().join("fencing")).unwrap();
    refused_untouched(image.path());
}

#[test]
fn a_state_from_before_there_were_ceilings_opens_and_gets_one() {
    let (place, last) = granted(5, false);
    fs::remove_file(place.path().join("fencing")).unwrap();
    // As version 0.1.0 wrote its headers, and as long as its segments were.
    for number in 0..3 {
        let path = place.path().join(format!("journal/0{number}"));
        let mut bytes = fs::read(&path).unwrap();
        let header = Header { length: 0, ..Header::read(&bytes).unwrap() };
        header.write_to(&mut bytes);
        bytes.resize(16 << 20, 0);
        fs::write(&path, bytes).unwrap();
    }
    let short = copy(place.path());
    fs::File::options().write(true).open(short.path().join("journal/01")).unwrap().set_len((16 << 20) - 1).unwrap();
    refused_untouched(short.path());
    let opened = start(place.path()).unwrap();
    assert!(
        opened.registry.counters().fencing > last,
        "what the journal lost before there was a ceiling is passed over"
    );
    let mut history = History::at(opened.registry.clone());
    let mut opened = opened;
    history.steps(20, 3);
    history.commit(&mut opened).unwrap();
    let last = history.registry.counters().fencing;
    drop(opened);
    assert!(Layout::new(place.path()).ceiling.exists());
    let opened = start(place.path()).unwrap();
    assert!(opened.registry.counters().fencing > last, "from now on it is kept");
}
