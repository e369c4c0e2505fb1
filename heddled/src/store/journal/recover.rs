//! Reads a journal back. Changes nothing: [`Recovered::settle`] does, when all the rest of the state was found good.
//!
//! S3: from the batch after the checkpoint's last on, every sequence number must be there, up to the last one that was
//! begun, which alone may be torn, as far as [`frame::tail`] finds it torn and not damaged. Every segment must be as long as
//! it was made: one that was cut short would look like one with fewer batches. One segment is in memory at a time.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::disk::Disk;
use super::super::layout::Layout;
use super::super::{Damage, Error};
use super::frame::{self, Tail};
use super::segment::{FRAMES, Header, Segment};
use crate::registry::Entry;

struct Listed {
    number: u32,
    path: PathBuf,
    header: Header,
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
    /// Whether a version that keeps a fencing ceiling has written it.
    pub(crate) has_ceiling: bool,
    /// The last batch as it is stored: segment, offset, bytes.
    last: Option<(u32, usize, Vec<u8>)>,
}

/// Reads the journal. Batches up to `applied` are in the checkpoint already.
pub(crate) fn recover(layout: &Layout, state: u128, applied: u64) -> Result<Recovered, Error> {
    let segments = list(layout, state)?;
    let generation = segments.last().map_or(0, |segment| segment.header.generation);
    let count = u32::try_from(segments.len()).unwrap_or(u32::MAX);
    let mut recovered = Recovered {
        batches: Vec::new(),
        sequence: applied,
        generation,
        count,
        live: Vec::new(),
        has_ceiling: segments.iter().any(|segment| segment.header.length != 0),
        last: None,
    };
    // A torn batch may be followed by nothing but a later use of the journal, which begins with its number again.
    let mut torn = None;
    for segment in &segments {
        let path = &segment.path;
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        let expected = u64::from(segment.header.expected_length());
        if bytes.len() as u64 != expected {
            return Err(layout.damaged(path, Damage::Length { found: bytes.len() as u64, expected }));
        }
        let (mut end, mut last) = (FRAMES, recovered.sequence);
        for found in frame::scan(&bytes, FRAMES, segment.header.epoch) {
            if let Some(payload) = &found.payload {
                (end, last) = (payload.end, found.sequence);
            }
            if found.sequence <= applied {
                continue;
            }
            let expected = recovered.sequence + 1;
            if found.sequence != expected || torn == Some(segment.header.generation) {
                return Err(layout.damaged(path, Damage::Lost { expected, found: found.sequence }));
            }
            let Some(payload) = &found.payload else {
                torn = Some(segment.header.generation);
                continue;
            };
            let batch = frame::decode(found.sequence, &bytes[payload.clone()]);
            recovered.batches.push(batch.map_err(|why| layout.damaged(path, why))?);
            recovered.sequence = found.sequence;
            if recovered.live.last() != Some(&segment.number) {
                recovered.live.push(segment.number);
            }
            recovered.last = Some((segment.number, found.start, bytes[found.start..payload.end].to_vec()));
        }
        // What lies behind a batch that the checkpoint has more than is of no batch that is still needed.
        let is_needed = segment.header.is_zeroed() && last >= applied;
        if is_needed && frame::tail(&bytes, end, segment.header.epoch) == Tail::Damaged {
            return Err(layout.damaged(path, Damage::Newest { sequence: last + 1 }));
        }
    }
    Ok(recovered)
}

/// Lists all segments, in the order of their use.
fn list(layout: &Layout, state: u128) -> Result<Vec<Listed>, Error> {
    let mut segments = Vec::new();
    let directory = &layout.journal;
    let files = fs::read_dir(directory).map_err(Error::io("list", directory))?.count();
    for number in 0..u32::try_from(files).unwrap_or(u32::MAX) {
        let path = Segment::path(directory, number);
        let header = Header::read(&head(layout, &path)?).map_err(|why| layout.damaged(&path, why))?;
        if header.state != state {
            return Err(layout.damaged(&path, Damage::Foreign));
        }
        segments.push(Listed { number, path, header });
    }
    let expected = segments.first().map_or(1, |segment| segment.header.count as usize);
    if files != expected {
        return Err(layout.damaged(directory, Damage::SegmentsMissing { found: files, expected }));
    }
    segments.sort_by_key(|segment| segment.header.generation);
    Ok(segments)
}

/// Reads what a segment has before its frames.
fn head(layout: &Layout, path: &Path) -> Result<Vec<u8>, Error> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(layout.damaged(path, Damage::Missing));
        }
        file => file.map_err(Error::io("open", path))?,
    };
    let mut bytes = Vec::with_capacity(FRAMES);
    file.take(FRAMES as u64).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
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
