//! Reads the operation log: blocks in the database, and behind them the operations that no checkpoint has yet.
//!
//! A reader takes the tail first, which is a persistent vector and costs a few reference counts, then of the blocks only
//! what lies before that tail. A checkpoint puts blocks first and shortens the tail after: no gap, nothing twice.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use imbl::Vector;
use parking_lot::Mutex;

use super::checkpoint::blocks::Blocks;
use super::{Error, Filter, OperationLog, Page};
use crate::registry::OperationRecord;

/// The most operations that one call looks at.
const LOOK: usize = 50_000;

#[derive(Clone, Debug)]
struct Tail {
    /// What lies before this revision is in blocks.
    from: u64,
    newest: u64,
    operations: Vector<Arc<OperationRecord>>,
}

/// How many of the operations are up to that revision.
fn up_to(operations: &Vector<Arc<OperationRecord>>, revision: u64) -> usize {
    match operations.binary_search_by(|operation| operation.revision.cmp(&revision)) {
        Ok(at) => at + 1,
        Err(at) => at,
    }
}

/// The operation log of an open store.
#[derive(Debug)]
pub(super) struct Log {
    tail: Mutex<Tail>,
    /// None when the store is closed.
    blocks: ArcSwapOption<Blocks>,
}

impl Log {
    /// A log of which everything up to `revision` is in blocks.
    pub(super) fn new(revision: u64, blocks: Blocks) -> Self {
        let tail = Tail { from: revision + 1, newest: revision, operations: Vector::new() };
        Self { tail: Mutex::new(tail), blocks: ArcSwapOption::from_pointee(blocks) }
    }

    pub(super) fn push(&self, operations: Vec<OperationRecord>) {
        let operations: Vec<_> = operations.into_iter().map(Arc::new).collect();
        let mut tail = self.tail.lock();
        for operation in operations {
            tail.newest = tail.newest.max(operation.revision);
            tail.operations.push_back(operation);
        }
    }

    /// The operations up to `revision` that are in no block yet.
    pub(super) fn pending(&self, revision: u64) -> Vector<Arc<OperationRecord>> {
        let operations = self.tail.lock().operations.clone();
        let end = up_to(&operations, revision);
        operations.take(end)
    }

    /// Tells that everything up to `revision` is in blocks now.
    pub(super) fn trim(&self, revision: u64) {
        let mut tail = self.tail.lock();
        let count = up_to(&tail.operations, revision);
        let dropped = tail.operations.slice(..count);
        tail.from = revision + 1;
        drop(tail);
        // Freeing what nobody else reads takes longer than the writer should wait.
        drop(dropped);
    }

    pub(super) fn close(&self) {
        self.blocks.store(None);
    }

    fn read(&self) -> Result<(Tail, Arc<Blocks>), Error> {
        let tail = self.tail.lock().clone();
        Ok((tail, self.blocks.load_full().ok_or(Error::Closed)?))
    }

    fn oldest(tail: &Tail, blocks: &Blocks) -> Result<u64, Error> {
        let first = blocks.first()?.filter(|first| *first < tail.from);
        Ok(first.or_else(|| tail.operations.front().map(|first| first.revision)).unwrap_or(tail.newest + 1))
    }
}

impl OperationLog for Log {
    fn newest(&self, filter: &Filter, limit: usize) -> Result<Page, Error> {
        let (tail, blocks) = self.read()?;
        let oldest = Self::oldest(&tail, &blocks)?;
        let mut page = Page { oldest, newest_seen: tail.newest, complete: true, ..Page::default() };
        let matching = |operation: &&Arc<OperationRecord>| filter.matches(operation);
        page.operations.extend(tail.operations.iter().rev().filter(matching).take(limit).cloned());
        let mut looked = tail.operations.len();
        for block in blocks.before(tail.from).rev() {
            if page.operations.len() >= limit {
                break;
            }
            if looked >= LOOK {
                page.complete = false;
                break;
            }
            let Some(block) = blocks.open(block)? else { continue };
            looked += block.len();
            let missing = limit - page.operations.len();
            let found = block.into_iter().rev().filter(|operation| filter.matches(operation)).take(missing);
            page.operations.extend(found.map(Arc::new));
        }
        page.operations.reverse();
        Ok(page)
    }

    fn after(&self, filter: &Filter, after: u64, limit: usize) -> Result<Page, Error> {
        let (tail, blocks) = self.read()?;
        let oldest = Self::oldest(&tail, &blocks)?;
        let mut page = Page { oldest, newest_seen: after.min(tail.newest), complete: true, ..Page::default() };
        let mut looked = 0;
        if after + 1 < tail.from {
            for block in blocks.between(after + 1, tail.from)? {
                if looked >= LOOK {
                    page.complete = false;
                    return Ok(page);
                }
                let Some(block) = blocks.open(block)? else { continue };
                looked += block.len();
                for operation in block.into_iter().filter(|operation| operation.revision > after) {
                    if page.operations.len() >= limit {
                        return Ok(page);
                    }
                    page.newest_seen = operation.revision;
                    if filter.matches(&operation) {
                        page.operations.push(Arc::new(operation));
                    }
                }
            }
        }
        let start = up_to(&tail.operations, after);
        for operation in tail.operations.iter().skip(start) {
            if page.operations.len() >= limit {
                return Ok(page);
            }
            page.newest_seen = operation.revision;
            if filter.matches(operation) {
                page.operations.push(Arc::clone(operation));
            }
        }
        page.newest_seen = page.newest_seen.max(tail.newest);
        Ok(page)
    }

    fn unreadable(&self) -> Vec<u64> {
        self.blocks.load().as_ref().map(|blocks| blocks.unreadable()).unwrap_or_default()
    }
}
