//! The operation log in the database: blocks of operations, keyed by their first revision.
//!
//! A block begins with its last revision and that operation's time, so that neither retention nor verification decodes it.

use std::path::PathBuf;
use std::sync::Arc;

use proto_schema::Timestamp;

use super::super::{Damage, Error, Tree, codec};
use crate::registry::OperationRecord;

/// How many operations a block has at most.
const MOST: usize = 64;
/// How many bytes a block has at most, unless a single operation has more.
const MOST_BYTES: usize = 12 << 10;
const HEAD: usize = 16;

/// How many operations are kept at most.
const KEPT: u64 = 1_000_000;
/// How long operations are kept, counted back from the newest one.
const KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// The key of the block that begins with that revision.
pub(crate) fn key(revision: u64) -> [u8; 8] {
    revision.to_be_bytes()
}

fn revision(key: &[u8]) -> Result<u64, Damage> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| Damage::Misplaced)
}

/// The first and last revision of a block, and when the last one was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
    at: Timestamp,
}

fn parse<'a>(key: &[u8], value: &'a [u8]) -> Result<(Span, &'a [u8]), Damage> {
    let payload = codec::unseal(Tree::Operations, key, value)?;
    let (head, rest) = payload.split_first_chunk::<HEAD>().ok_or(Damage::Short)?;
    let (last, at) = head.split_at(8);
    let last = last.try_into().map(u64::from_le_bytes).map_err(|_| Damage::Short)?;
    let at = at.try_into().map(i64::from_le_bytes).map_err(|_| Damage::Short)?;
    Ok((Span { first: revision(key)?, last, at: Timestamp::from_unix_ms(at) }, rest))
}

/// Checks a block without decoding its operations.
pub(crate) fn span(key: &[u8], value: &[u8]) -> Result<Span, Damage> {
    parse(key, value).map(|(span, _)| span)
}

fn decode(key: &[u8], value: &[u8]) -> Result<Vec<OperationRecord>, Damage> {
    let (_, mut rest) = parse(key, value)?;
    let mut operations = Vec::with_capacity(MOST);
    while !rest.is_empty() {
        operations.push(rmp_serde::from_read(&mut rest).map_err(Damage::Decode)?);
    }
    Ok(operations)
}

/// The tree of blocks, and the one for what cannot be read.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    pub(crate) path: PathBuf,
    pub(crate) tree: sled::Tree,
    pub(crate) quarantine: sled::Tree,
}

type Item = sled::Result<(sled::IVec, sled::IVec)>;

impl Blocks {
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

    /// Reads a block; puts it aside when it cannot be read.
    pub(crate) fn open(&self, block: Item) -> Result<Option<Vec<OperationRecord>>, Error> {
        let (key, value) = block.map_err(self.failed("read"))?;
        match decode(&key, &value) {
            Ok(operations) => Ok(Some(operations)),
            Err(why) => {
                tracing::error!(revision = ?revision(&key).ok(), %why, "a part of the operation log cannot be read");
                self.put_aside(Tree::Operations, &self.tree, &key, &value)?;
                Ok(None)
            }
        }
    }

    /// Whether a block that begins with one of these revisions was put aside.
    pub(crate) fn is_put_aside(&self, first: u64, before: u64) -> bool {
        let name = |revision| [Tree::Operations.name().as_bytes(), b"/", &key(revision)].concat();
        self.quarantine.range(name(first)..name(before)).next().is_some()
    }

    /// Moves a record to the quarantine.
    pub(crate) fn put_aside(&self, tree: Tree, from: &sled::Tree, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let aside = [tree.name().as_bytes(), b"/", key].concat();
        self.quarantine
            .insert(aside, value)
            .and_then(|_| from.remove(key))
            .map(drop)
            .map_err(self.failed("put a record aside in"))
    }

    /// Writes the operations behind those up to `written`, and drops what a checkpoint that was cut off left there.
    pub(crate) fn extend(
        &self,
        written: u64,
        operations: impl IntoIterator<Item = Arc<OperationRecord>>,
    ) -> Result<(), Error> {
        for stale in self.tree.range(key(written + 1)..) {
            let (key, _) = stale.map_err(self.failed("read"))?;
            self.tree.remove(key).map_err(self.failed("write"))?;
        }
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
            Some((revision, at)) => self.retain(revision, at),
            None => Ok(()),
        }
    }

    fn write(&self, block: &mut Block) -> Result<(), Error> {
        if block.count > 0 {
            block.bytes[..8].copy_from_slice(&block.last.to_le_bytes());
            block.bytes[8..HEAD].copy_from_slice(&block.at.unix_ms().to_le_bytes());
            let key = key(block.first);
            let value = codec::seal(Tree::Operations, &key, &block.bytes);
            self.tree.insert(key, value).map_err(self.failed("write"))?;
            *block = Block::default();
        }
        Ok(())
    }

    /// Drops the oldest blocks that need not be kept.
    fn retain(&self, newest: u64, at: Timestamp) -> Result<(), Error> {
        for block in &self.tree {
            let (key, value) = block.map_err(self.failed("read"))?;
            let kept =
                span(&key, &value).is_ok_and(|span| span.last + KEPT > newest && span.at >= at.plus_ms(-KEPT_MS));
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
            self.bytes.resize(HEAD, 0);
        }
        self.last = operation.revision;
        self.at = operation.at;
        self.count += 1;
        self.bytes.extend_from_slice(bytes);
    }
}
