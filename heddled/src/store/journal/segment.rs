//! A segment of the journal: a file of fixed size with two copies of its header.
//!
//! The copies are written and synced one after the other, so a power cut spoils one at most: a segment without a readable
//! header is damage, never "not yet used".

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::super::disk::{Disk, sync_parent};
use super::super::{Damage, Error};

const MAGIC: [u8; 8] = *b"hdJrnl\n1";
const LENGTH: usize = 56;
const BLOCK: u64 = 4096;
/// How much a new segment is written at a time.
const FILL: usize = 256 << 10;

/// Where frames begin: behind both copies of the header, each in a block of its own.
pub(crate) const FRAMES: usize = 2 * 4096;

/// What a segment says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// The state it belongs to.
    pub(crate) state: u128,
    /// Its place in the order in which segments are used.
    pub(crate) generation: u64,
    /// Seeds the checksums of this use.
    pub(crate) epoch: u64,
    /// How many segments the journal has.
    pub(crate) count: u32,
    /// How many bytes the segment has. 0 in a header of version 0.1.0, which did not record it: use [`Header::expected_length`].
    pub(crate) length: u32,
}

/// How many bytes every segment of version 0.1.0 has.
const LENGTH_0_1_0: u32 = 16 << 20;

impl Header {
    /// How many bytes the file of the segment must have.
    pub(crate) fn expected_length(&self) -> u32 {
        if self.length == 0 { LENGTH_0_1_0 } else { self.length }
    }

    /// Whether everything behind the frames of this use is zero, as [`Segment::prepare`] leaves it. Version 0.1.0 left the
    /// bytes of earlier uses there.
    pub(crate) fn is_zeroed(&self) -> bool {
        self.length != 0
    }

    fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(&self.state.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.generation.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.count.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.length.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..52]);
        bytes[52..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LENGTH] = bytes.first_chunk()?;
        if bytes[..8] != MAGIC || crc32fast::hash(&bytes[..52]).to_le_bytes() != bytes[52..] {
            return None;
        }
        Some(Self {
            state: u128::from_le_bytes(bytes[8..24].try_into().ok()?),
            generation: u64::from_le_bytes(bytes[24..32].try_into().ok()?),
            epoch: u64::from_le_bytes(bytes[32..40].try_into().ok()?),
            count: u32::from_le_bytes(bytes[40..44].try_into().ok()?),
            length: u32::from_le_bytes(bytes[44..48].try_into().ok()?),
        })
    }

    /// Reads the header of a whole segment. The first copy is written first, so it is the newer one where both are whole.
    pub(crate) fn read(segment: &[u8]) -> Result<Self, Damage> {
        let second = segment.get(FRAMES / 2..).unwrap_or_default();
        let header = Self::decode(segment).or_else(|| Self::decode(second));
        header.ok_or_else(|| match segment.split_first_chunk::<8>() {
            Some((&[ref name @ .., version], _)) if name == &MAGIC[..7] && version > MAGIC[7] => {
                Damage::HeaderVersion(version)
            }
            _ => Damage::Header,
        })
    }
}

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) length: usize,
}

impl Segment {
    /// The path of the segment of that number.
    pub(crate) fn path(directory: &Path, number: u32) -> PathBuf {
        directory.join(format!("{number:02}"))
    }

    /// Opens a segment for writing.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Error> {
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(Error::io("open", &path))?;
        let length = file.metadata().map_err(Error::io("look at", &path))?.len();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(Self { path, file, length })
    }

    /// Makes a segment whose blocks are really there, with its header, and waits until all of it is on the disk. It counts
    /// only when all of a new state is there, so nothing of it needs an order.
    pub(crate) fn create(path: &Path, header: &Header) -> Result<(), Error> {
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            let mut block = vec![0; FILL];
            for copy in block.chunks_mut(FRAMES / 2).take(2) {
                copy[..LENGTH].copy_from_slice(&header.encode());
            }
            let mut left = header.length as usize;
            while left > 0 {
                let count = left.min(FILL);
                file.write_all(&block[..count])?;
                block[..FRAMES].fill(0);
                left -= count;
            }
            file.sync_all()?;
            sync_parent(path)
        };
        write().map_err(Error::io("make", path))
    }

    /// Prepares the segment for its next use: first zeroes the frames of the last one, then writes the new header. In this
    /// order a power cut leaves no bytes of an earlier use under a new header, where they would look like damage.
    pub(crate) fn prepare(&self, disk: &dyn Disk, header: &Header) -> Result<(), Error> {
        self.zero(disk).map_err(Error::io("prepare", &self.path))?;
        for offset in [0, BLOCK] {
            disk.write_at(&self.file, &header.encode(), offset)
                .and_then(|()| disk.sync_data(&self.file))
                .map_err(Error::io("prepare", &self.path))?;
        }
        Ok(())
    }

    /// Zeroes everything behind the header that is not zero yet, and waits until that is on the disk. Syncs every piece by
    /// itself, so that the writer's own sync never waits for much.
    fn zero(&self, disk: &dyn Disk) -> io::Result<()> {
        let (mut piece, zeros) = (vec![0; FILL], vec![0; FILL]);
        let mut offset = FRAMES;
        while offset < self.length {
            let count = FILL.min(self.length - offset);
            let (piece, zeros) = (&mut piece[..count], &zeros[..count]);
            self.file.read_exact_at(piece, offset as u64)?;
            if piece != zeros {
                disk.write_at(&self.file, zeros, offset as u64)?;
                disk.sync_data(&self.file)?;
            }
            offset += count;
        }
        Ok(())
    }
}

#[cfg(test)]
impl Header {
    /// Puts both copies into the bytes of a segment.
    pub(crate) fn write_to(&self, segment: &mut [u8]) {
        for copy in segment.chunks_mut(FRAMES / 2).take(2) {
            copy[..LENGTH].copy_from_slice(&self.encode());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spoiled_copy_of_the_header_does_not_matter_and_two_are_damage() {
        let header = Header { state: 5, generation: 6, epoch: 7, count: 3, length: 9 };
        let mut segment = vec![0; FRAMES];
        segment[..LENGTH].copy_from_slice(&header.encode());
        segment[4096..4096 + LENGTH].copy_from_slice(&header.encode());
        for bit in 0..LENGTH * 8 {
            let mut one = segment.clone();
            one[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::read(&one).unwrap(), header);
            one[4096 + bit / 8] ^= 1 << (bit % 8);
            assert!(Header::read(&one).is_err());
        }
    }
}
