//! The operation log in the database: blocks of operations, keyed by their first revision.
//!
//! A block begins with its last revision and that operation's time, so that retention does not decode it. The operations
//! are MessagePack with named fields, so that fields can come and go, and packed (zlib), because names and most values
//! repeat: a tenth remains.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use proto_schema::Timestamp;
use zlib_rs::{DeflateConfig, InflateConfig, ReturnCode};

use super::super::{Damage, Error, Tree, codec};
use crate::registry::OperationRecord;

/// How many operations a block has at most.
const MOST: usize = 128;
/// How many bytes a block has at most before it is packed, unless a single operation has more. Far below what the database
/// would keep in a file of its own, even if packing gains nothing.
const MOST_BYTES: usize = 48 << 10;
/// Last revision, its time, length of the operations before they are packed.
const HEAD: usize = 20;
/// No block has more bytes before it is packed.
const LIMIT: usize = 1 << 20;

/// How many operations are kept at most.
const KEPT: u64 = 1_000_000;
/// How long operations are kept at least, unless there are more than [`KEPT`].
const KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// The key of the block that begins with that revision.
pub(crate) fn key(revision: u64) -> [u8; 8] {
    revision.to_be_bytes()
}

fn revision(key: &[u8]) -> Result<u64, Damage> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| Damage::Misplaced)
}

struct Parsed<'a> {
    last: u64,
    at: Timestamp,
    length: usize,
    packed: &'a [u8],
}

fn parse<'a>(key: &[u8], value: &'a [u8]) -> Result<Parsed<'a>, Damage> {
    let payload = codec::unseal(Tree::Operations, key, value)?;
    let (last, rest) = payload.split_first_chunk().ok_or(Damage::Short)?;
    let (at, rest) = rest.split_first_chunk().ok_or(Damage::Short)?;
    let (length, packed) = rest.split_first_chunk().ok_or(Damage::Short)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(LIMIT).min(LIMIT);
    let at = Timestamp::from_unix_ms(i64::from_le_bytes(*at));
    Ok(Parsed { last: u64::from_le_bytes(*last), at, length, packed })
}

fn decode(key: &[u8], value: &[u8]) -> Result<Vec<OperationRecord>, Damage> {
    let Parsed { length, packed, .. } = parse(key, value)?;
    let mut bytes = vec![0; length];
    let (unpacked, code) = zlib_rs::decompress_slice(&mut bytes, packed, InflateConfig::default());
    if code != ReturnCode::Ok || unpacked.len() != length {
        return Err(Damage::Packed);
    }
    let mut rest = &*unpacked;
    let mut operations = Vec::with_capacity(MOST);
    while !rest.is_empty() {
        operations.push(rmp_serde::from_read(&mut rest).map_err(Damage::Decode)?);
    }
    Ok(operations)
}

/// The tree of blocks.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    path: PathBuf,
    pub(crate) tree: sled::Tree,
    /// Those that were found unreadable, by their first revisions.
    bad: Arc<Mutex<BTreeSet<u64>>>,
}

type Item = sled::Result<(sled::IVec, sled::IVec)>;

impl Blocks {
    pub(crate) fn new(path: PathBuf, tree: sled::Tree) -> Self {
        Self { path, tree, bad: Arc::default() }
    }

    /// The first revisions of the blocks that were found unreadable and are still kept.
    pub(crate) fn unreadable(&self) -> Vec<u64> {
        let oldest = self.first().ok().flatten().unwrap_or(u64::MAX);
        self.bad.lock().iter().copied().filter(|first| *first >= oldest).collect()
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(sled::Error) -> Error {
        Error::checkpoint(operation, &self.path)
    }

    /// The first revision of the oldest block.
    pub(crate) fn first(&self) -> Result<Option<u64>, Error> {
        let first = self.tree.first().map_err(self.failed("read"))?;
        Ok(first.and_then(|(key, _)| revision(&key).ok()))
    }

    /// The blocks that begin before `end`.
    pub(crate) fn before(&self, end: u64) -> impl DoubleEndedIterator<Item = Item> + use<> {
        self.tree.range(..key(end))
    }

    /// The blocks that have revisions from `start` on and begin before `end`.
    pub(crate) fn between(&self, start: u64, end: u64) -> Result<impl Iterator<Item = Item> + use<>, Error> {
        let first = self.tree.range(..=key(start)).next_back().transpose().map_err(self.failed("read"))?;
        let first = first.map_or_else(|| key(start).to_vec(), |(key, _)| key.to_vec());
        Ok(self.tree.range(first..key(end).to_vec()))
    }

    /// Reads a block; none when it cannot be read. It stays where it is: readers write nothing, for a base may be in the
    /// making.
    pub(crate) fn open(&self, block: Item) -> Result<Option<Vec<OperationRecord>>, Error> {
        let (key, value) = block.map_err(self.failed("read"))?;
        match decode(&key, &value) {
            Ok(operations) => Ok(Some(operations)),
            Err(why) => {
                let first = revision(&key).unwrap_or_default();
                if self.bad.lock().insert(first) {
                    tracing::error!(revision = first, %why, "a part of the operation log cannot be read");
                }
                Ok(None)
            }
        }
    }

    /// Writes operations behind those that are there. `pruned` is the time as of which old records were last pruned.
    pub(crate) fn extend(
        &self,
        operations: impl IntoIterator<Item = Arc<OperationRecord>>,
        pruned: Option<Timestamp>,
    ) -> Result<(), Error> {
        let mut block = Block::default();
        let mut newest = None;
        for operation in operations {
            let bytes = rmp_serde::to_vec_named(&operation)?;
            if block.count == MOST || block.count > 0 && block.bytes.len() + bytes.len() > MOST_BYTES {
                self.write(&mut block)?;
            }
            block.push(&operation, &bytes);
            newest = Some((operation.revision, operation.at));
        }
        self.write(&mut block)?;
        match newest {
            Some((revision, at)) => self.retain(revision, pruned.map(|pruned| pruned.min(at).plus_ms(-KEPT_MS))),
            None => Ok(()),
        }
    }

    fn write(&self, block: &mut Block) -> Result<(), Error> {
        if block.count > 0 {
            let key = key(block.first);
            let value = codec::seal(Tree::Operations, &key, &block.pack()?);
            self.tree.insert(key, value).map_err(self.failed("write"))?;
            *block = Block::default();
        }
        Ok(())
    }

    /// Drops the oldest blocks that need not be kept: those from before `limit`, and those that are too many.
    fn retain(&self, newest: u64, limit: Option<Timestamp>) -> Result<(), Error> {
        for block in &self.tree {
            let (key, value) = block.map_err(self.failed("read"))?;
            let is_recent = |at: Timestamp| limit.is_none_or(|limit| at >= limit);
            let kept = parse(&key, &value).is_ok_and(|block| block.last + KEPT > newest && is_recent(block.at));
            if kept {
                break;
            }
            self.tree.remove(key).map_err(self.failed("write"))?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Block {
    first: u64,
    last: u64,
    at: Timestamp,
    count: usize,
    bytes: Vec<u8>,
}

impl Block {
    fn push(&mut self, operation: &OperationRecord, bytes: &[u8]) {
        if self.count == 0 {
            self.first = operation.revision;
        }
        self.last = operation.revision;
        self.at = operation.at;
        self.count += 1;
        self.bytes.extend_from_slice(bytes);
    }

    /// The block as it is stored.
    fn pack(&self) -> Result<Vec<u8>, Error> {
        let length = self.bytes.len();
        let too_large = |_| Error::TooLarge { bytes: length, limit: LIMIT };
        let mut value = Vec::with_capacity(HEAD + zlib_rs::compress_bound(length));
        value.extend_from_slice(&self.last.to_le_bytes());
        value.extend_from_slice(&self.at.unix_ms().to_le_bytes());
        value.extend_from_slice(&u32::try_from(length).map_err(too_large)?.to_le_bytes());
        value.resize(value.capacity(), 0);
        let room = value.get_mut(HEAD..).unwrap_or_default();
        let (packed, code) = zlib_rs::compress_slice(room, &self.bytes, DeflateConfig::best_speed());
        let packed = packed.len();
        if code != ReturnCode::Ok || length > LIMIT {
            return Err(Error::TooLarge { bytes: length, limit: LIMIT });
        }
        value.truncate(HEAD + packed);
        Ok(value)
    }
}
