//! The fencing ceiling: a number that no granted fencing token has reached, kept apart from the journal.
//!
//! Whatever tail of the journal is lost, no token is given twice (R2): the ceiling is on the disk before a token below it is
//! granted, and after a start that was not a clean stop the tokens go on at the ceiling. It is raised by [`BLOCK`] at a time,
//! so that almost no grant waits for it, and lowered to the next token by a clean stop, whose base has every token.
//!
//! The file has two copies, each in a block of its own. They are overwritten and synced one after the other, so a power cut
//! spoils one at most, and no space is needed: a full disk stops no grant. The higher one counts.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::disk::{Disk, sync_parent};
use super::layout::Layout;
use super::{Damage, Error};

/// How far the ceiling is raised ahead.
pub(super) const BLOCK: u64 = 65_536;

const MAGIC: [u8; 8] = *b"hdFenc\n1";
const LENGTH: usize = 36;
const COPY: usize = 4096;
const FILE: usize = 2 * COPY;

/// The open ceiling of a state.
#[derive(Debug)]
pub(super) struct Ceiling {
    path: PathBuf,
    file: File,
    state: u128,
    /// Every granted token is below this number.
    value: u64,
}

fn encode(state: u128, value: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..24].copy_from_slice(&state.to_le_bytes());
    bytes[24..32].copy_from_slice(&value.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..32]);
    bytes[32..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads one copy: the state that it is of, and its value. `None` if it is not what was written.
fn decode(bytes: &[u8]) -> Option<(u128, u64)> {
    let bytes: &[u8; LENGTH] = bytes.first_chunk()?;
    if bytes[..8] != MAGIC || crc32fast::hash(&bytes[..32]).to_le_bytes() != bytes[32..] {
        return None;
    }
    let state = u128::from_le_bytes(bytes[8..24].try_into().ok()?);
    Some((state, u64::from_le_bytes(bytes[24..32].try_into().ok()?)))
}

/// Reads the ceiling of the state of that id. `None` if the file is missing.
pub(super) fn read(layout: &Layout, state: u128) -> Result<Option<u64>, Error> {
    let path = &layout.ceiling;
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(Error::io("read", path))?,
    };
    let damaged = |why| layout.damaged(path, why);
    if bytes.len() != FILE {
        return Err(damaged(Damage::Length { found: bytes.len() as u64, expected: FILE as u64 }));
    }
    let copies = bytes.chunks(COPY).filter_map(decode);
    let (found, value) = copies.max_by_key(|(_, value)| *value).ok_or_else(|| damaged(Damage::Checksum))?;
    if found == state { Ok(Some(value)) } else { Err(damaged(Damage::Foreign)) }
}

impl Ceiling {
    /// Makes the ceiling of a state that has none that counts, and returns it. Where tokens were granted without one, the end
    /// of the journal may be lost: it is a whole block above the last token that is known.
    pub(super) fn create(layout: &Layout, state: u128, granted: u64) -> Result<u64, Error> {
        let path = &layout.ceiling;
        let value = if granted == 0 { 1 } else { granted.saturating_add(BLOCK) };
        let temporary = path.with_extension("tmp");
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            let mut bytes = vec![0; FILE];
            for copy in bytes.chunks_mut(COPY) {
                copy[..LENGTH].copy_from_slice(&encode(state, value));
            }
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)?;
            sync_parent(path)
        };
        write().map_err(Error::io("make", path))?;
        Ok(value)
    }

    /// Opens the ceiling for writing. Its `value` was read before.
    pub(super) fn open(layout: &Layout, state: u128, value: u64) -> Result<Self, Error> {
        let path = layout.ceiling.clone();
        let file = OpenOptions::new().write(true).open(&path).map_err(Error::io("open", &path))?;
        Ok(Self { path, file, state, value })
    }

    /// Returns the token after which the next one may be granted, whatever was lost.
    pub(super) fn floor(&self) -> u64 {
        self.value.saturating_sub(1)
    }

    /// Raises the ceiling, if the last token granted comes near it. Must be called before that token is on the disk.
    ///
    /// # Errors
    /// It cannot be raised, and the token is not below it.
    pub(super) fn keep_above(&mut self, disk: &dyn Disk, granted: u64) -> Result<(), Error> {
        if granted.saturating_add(BLOCK / 2) < self.value {
            return Ok(());
        }
        let raised = self.set(disk, granted.saturating_add(BLOCK));
        if granted < self.value { Ok(()) } else { raised }
    }

    /// Lowers the ceiling to the next token. Only when a base that has every token is in place and on the disk.
    pub(super) fn lower(&mut self, disk: &dyn Disk, granted: u64) -> Result<(), Error> {
        self.set(disk, granted.saturating_add(1))
    }

    fn set(&mut self, disk: &dyn Disk, value: u64) -> Result<(), Error> {
        if value == self.value {
            return Ok(());
        }
        let bytes = encode(self.state, value);
        for offset in [0, COPY as u64] {
            disk.write_at(&self.file, &bytes, offset)
                .and_then(|()| disk.sync_data(&self.file))
                .map_err(Error::io("write", &self.path))?;
        }
        self.value = value;
        Ok(())
    }

    /// The file, to compare it with what its path leads to.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}
