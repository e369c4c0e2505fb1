//! Reads a journal back. Changes nothing: [`Recovered::settle`] does, when all the rest of the state was found good.
//!
//! S3: from the batch after the checkpoint's last on, every sequence number must be there, up to the last one that was
//! begun, which alone may be torn.

use std::fs;
use std::path::Path;

use super::super::disk::Disk;
use super::super::layout::Layout;
use super::super::{Damage, Error};
use super::frame::{self, Found};
use super::segment::{FRAMES, Header, Segment};
use crate::registry::Entry;

struct Loaded {
    number: u32,
    header: Header,
    bytes: Vec<u8>,
    found: Vec<Found>,
}

/// What the journal has beyond a checkpoint.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The batches after the checkpoint, in order.
    pub(crate) batches: Vec<Vec<Entry>>,
    /// The sequence number of the last batch.
    pub(crate) sequence: u64,
    /// How often segments were used so far.
    pub(crate) generation: u64,
    /// How many segments there are.
    pub(crate) count: u32,
    /// The segments that have batches after the checkpoint.
    pub(crate) live: Vec<u32>,
    /// The last batch as it is stored: segment, offset, bytes.
    last: Option<(u32, usize, Vec<u8>)>,
}

/// Reads the journal. Batches up to `applied` are in the checkpoint already.
pub(crate) fn recover(layout: &Layout, state: u128, applied: u64) -> Result<Recovered, Error> {
    let segments = load(layout, state)?;
    let generation = segments.last().map_or(0, |segment| segment.header.generation);
    let count = u32::try_from(segments.len()).unwrap_or(u32::MAX);
    let mut recovered =
        Recovered { batches: Vec::new(), sequence: applied, generation, count, live: Vec::new(), last: None };
    // A torn batch may be followed by nothing but a later use of the journal, which begins with its number again.
    let mut torn = None;
    for segment in &segments {
        let path = Segment::path(&layout.journal, segment.number);
        for found in segment.found.iter().filter(|found| found.sequence > applied) {
            let expected = recovered.sequence + 1;
            if found.sequence != expected || torn == Some(segment.header.generation) {
                return Err(layout.damaged(&path, Damage::Lost { expected, found: found.sequence }));
            }
            let Some(payload) = &found.payload else {
                torn = Some(segment.header.generation);
                continue;
            };
            let bytes = &segment.bytes[payload.clone()];
            recovered.batches.push(frame::decode(found.sequence, bytes).map_err(|why| layout.damaged(&path, why))?);
            recovered.sequence = found.sequence;
            if recovered.live.last() != Some(&segment.number) {
                recovered.live.push(segment.number);
            }
            recovered.last = Some((segment.number, found.start, segment.bytes[found.start..payload.end].to_vec()));
        }
    }
    Ok(recovered)
}

/// Reads all segments, in the order of their use.
fn load(layout: &Layout, state: u128) -> Result<Vec<Loaded>, Error> {
    let mut segments = Vec::new();
    let directory = &layout.journal;
    let files = fs::read_dir(directory).map_err(Error::io("list", directory))?.count();
    for number in 0..u32::try_from(files).unwrap_or(u32::MAX) {
        segments.push(read(layout, &Segment::path(directory, number), number, state)?);
    }
    let expected = segments.first().map_or(1, |segment| segment.header.count as usize);
    if files != expected {
        return Err(layout.damaged(directory, Damage::SegmentsMissing { found: files, expected }));
    }
    segments.sort_by_key(|segment| segment.header.generation);
    Ok(segments)
}

fn read(layout: &Layout, path: &Path, number: u32, state: u128) -> Result<Loaded, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(layout.damaged(path, Damage::Missing));
        }
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let header = Header::read(&bytes).map_err(|why| layout.damaged(path, why))?;
    if header.state != state {
        return Err(layout.damaged(path, Damage::Foreign));
    }
    let found = frame::scan(&bytes, FRAMES, header.epoch);
    Ok(Loaded { number, header, bytes, found })
}

impl Recovered {
    /// Makes sure that what was read is on the disk: after a crash, or a sync that failed, the last batch may be in the
    /// page cache only, and everything from here on builds upon it. Writing it again makes its pages dirty again.
    pub(crate) fn settle(&self, disk: &dyn Disk, segments: &[Segment]) -> Result<(), Error> {
        let Some((number, start, bytes)) = &self.last else { return Ok(()) };
        let Some(segment) = segments.get(*number as usize) else { return Ok(()) };
        disk.write_at(&segment.file, bytes, *start as u64)
            .and_then(|()| disk.sync_data(&segment.file))
            .map_err(Error::io("write again", &segment.path))
    }
}
