//! One frame of the journal: a batch of entries with its place in the order of all batches.
//!
//! Layout, little-endian: magic 4, payload length 4, sequence 8, checksum of these 16 bytes 4, checksum of the payload 4,
//! payload; padded to 8 bytes. The head has a checksum of its own, so that a search for lost frames reads no payloads.
//!
//! A payload ends with a zero, which no entry begins with, and then at least one [`FILLER`]: so the last bytes of a frame are
//! never all zero, and [`tail`] can tell a frame whose end was not written from one that was damaged later. Version 0.1.0
//! filled with zeros, or not at all.

use std::ops::Range;

use super::super::{Damage, Error};
use crate::registry::{Change, Entry};

const MAGIC: [u8; 4] = *b"hdF1";
/// The bytes before the payload.
pub(crate) const HEAD: usize = 24;
/// Frames begin at multiples of this.
pub(crate) const ALIGN: usize = 8;
const VERSION: u8 = 1;
/// What a payload is filled up with.
const FILLER: u8 = 0xff;
/// The least that a disk writes as a whole. A power cut leaves each sector as it was or as it was to be.
const SECTOR: usize = 512;

/// The most bytes of one entry that becomes a record: a database that keeps larger values in separate files does not sync
/// those.
pub(crate) const MAX_RECORD: usize = 16 << 10;

/// A frame found in a segment; without its payload where that is torn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// Its place in the order of all batches.
    pub(crate) sequence: u64,
    /// Where it begins.
    pub(crate) start: usize,
    /// Where its payload is.
    pub(crate) payload: Option<Range<usize>>,
}

fn crc(epoch: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&epoch.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Puts the entries into `buffer` as a frame that lacks its head: [`seal`] puts that.
pub(crate) fn encode(buffer: &mut Vec<u8>, entries: &[Entry]) -> Result<(), Error> {
    buffer.clear();
    buffer.resize(HEAD, 0);
    buffer.push(VERSION);
    for entry in entries {
        let start = buffer.len();
        rmp_serde::encode::write_named(buffer, entry)?;
        let bytes = buffer.len() - start;
        // Pulses are many small records, not one.
        if bytes > MAX_RECORD && !matches!(entry.change, Change::Pulses(_)) {
            return Err(Error::TooLarge { bytes, limit: MAX_RECORD });
        }
    }
    buffer.extend([0, FILLER]);
    buffer.resize(buffer.len().next_multiple_of(ALIGN), FILLER);
    Ok(())
}

/// Completes the frame in `buffer`. The padding counts as payload.
pub(crate) fn seal(buffer: &mut [u8], epoch: u64, sequence: u64) {
    let Some((head, payload)) = buffer.split_at_mut_checked(HEAD) else { return };
    // A frame is never longer than a segment, whose length is 32 bits wide.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    head[..4].copy_from_slice(&MAGIC);
    head[4..8].copy_from_slice(&length.to_le_bytes());
    head[8..16].copy_from_slice(&sequence.to_le_bytes());
    let head_crc = crc(epoch, &head[..16]);
    head[16..20].copy_from_slice(&head_crc.to_le_bytes());
    head[20..24].copy_from_slice(&crc(epoch, payload).to_le_bytes());
}

fn word(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

/// Finds every frame of this epoch in `bytes` from `start` on, also behind what cannot be read.
pub(crate) fn scan(bytes: &[u8], start: usize, epoch: u64) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = start;
    while let Some(head) = bytes.get(at..at + HEAD) {
        if !is_head(head, epoch) {
            at += ALIGN;
            continue;
        }
        let sequence = u64::from(word(&head[8..12])) | u64::from(word(&head[12..16])) << 32;
        let payload = at + HEAD..(at + HEAD).saturating_add(word(&head[4..8]) as usize);
        let whole = bytes.get(payload.clone()).is_some_and(|payload| word(&head[20..24]) == crc(epoch, payload));
        let next = if whole { payload.end.next_multiple_of(ALIGN) } else { at + ALIGN };
        found.push(Found { sequence, start: at, payload: whole.then_some(payload) });
        at = next;
    }
    found
}

/// What lies behind the last whole frame of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tail {
    /// Nothing was written there.
    Empty,
    /// A frame that was not written to its end: its batch was never acknowledged.
    Torn,
    /// A frame that was written to its end, and is not what was written.
    Damaged,
}

/// Returns what lies behind the last whole frame of a zeroed segment, which ends at `end`.
///
/// A power cut leaves some sectors of the frame as they were before: zero. A process that is killed, or a disk that fails,
/// may leave less of the frame than its end. A frame without such a gap was written as a whole, and may have been
/// acknowledged: where its checksum is wrong, it was damaged since.
pub(crate) fn tail(bytes: &[u8], end: usize, epoch: u64) -> Tail {
    let rest = bytes.get(end..).unwrap_or_default();
    if is_zero(rest) {
        return Tail::Empty;
    }
    let Some((head, behind)) = rest.split_at_checked(HEAD) else { return Tail::Damaged };
    let is_torn = if is_head(head, epoch) {
        let frame = HEAD.saturating_add(word(&head[4..8]) as usize).next_multiple_of(ALIGN);
        let Some((frame, behind)) = rest.split_at_checked(frame) else { return Tail::Damaged };
        is_zero(behind) && (has_gap(frame, end) || is_zero(&frame[frame.len() - ALIGN..]))
    } else {
        has_gap(head, end) || is_zero(behind)
    };
    if is_torn { Tail::Torn } else { Tail::Damaged }
}

/// Whether a sector of what begins at `start` was never written.
fn has_gap(mut bytes: &[u8], start: usize) -> bool {
    let mut room = SECTOR - start % SECTOR;
    while !bytes.is_empty() {
        let (part, behind) = bytes.split_at(room.min(bytes.len()));
        if is_zero(part) {
            return true;
        }
        (bytes, room) = (behind, SECTOR);
    }
    false
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn is_head(head: &[u8], epoch: u64) -> bool {
    head[..4] == MAGIC && word(&head[16..20]) == crc(epoch, &head[..16])
}

/// Reads the entries of a frame's payload.
pub(crate) fn decode(sequence: u64, payload: &[u8]) -> Result<Vec<Entry>, Damage> {
    let (&version, mut rest) = payload.split_first().ok_or(Damage::Short)?;
    if version != VERSION {
        return Err(Damage::BatchVersion { sequence, version });
    }
    let mut entries = Vec::new();
    while rest.first().is_some_and(|first| *first != 0) {
        entries.push(rmp_serde::from_read(&mut rest).map_err(|source| Damage::Batch { sequence, source })?);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn random_bytes_are_never_a_frame_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            prop_assert!(scan(&bytes, 0, 7).is_empty());
            drop(decode(1, &bytes));
        }

        #[test]
        fn a_valid_head_before_random_bytes_is_no_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), HEAD..4096),
            cut in 0usize..4096,
        ) {
            seal(&mut bytes, 9, 3);
            bytes.truncate(cut);
            for found in scan(&bytes, 0, 9) {
                prop_assert_eq!(found.sequence, 3);
                if let Some(payload) = found.payload {
                    drop(decode(3, &bytes[payload]));
                }
            }
            prop_assert!(scan(&bytes, 0, 8).is_empty());
        }
    }
}
