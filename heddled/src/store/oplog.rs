//! Reads the operation log: blocks in the database, and behind them the operations that no checkpoint has yet.
//!
//! A reader takes the tail first, which is a persistent vector and costs a few reference counts, then of the blocks only
//! what lies before that tail. A checkpoint puts blocks first and shortens the tail after: no gap, nothing twice. The
//! newest operations stay in the tail when they are in blocks too: whoever follows the log reads no disk.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use imbl::Vector;
use parking_lot::Mutex;

use super::checkpoint::blocks::Blocks;
use super::{Error, Filter, OperationLog, Page};
use crate::registry::OperationRecord;

/// The most operations that one call looks at.
const LOOK: usize = 50_000;

/// The most operations that one look at the memory takes: it is made where nobody may be kept waiting.
const LOOK_RECENT: usize = 4096;

/// How many of the newest operations stay in memory at least: some hundred KiB.
const RECENT: usize = 1024;

#[derive(Clone, Debug)]
struct Tail {
    /// What lies before this revision is in blocks only, and what is from there on is here.
    from: u64,
    /// What is up to this revision is in blocks.
    stored: u64,
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
        let tail = Tail { from: revision + 1, stored: revision, newest: revision, operations: Vector::new() };
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
        let tail = self.tail.lock().clone();
        let stored = up_to(&tail.operations, tail.stored);
        let count = up_to(&tail.operations, revision).max(stored);
        tail.operations.take(count).skip(stored)
    }

    /// Tells that everything up to `revision` is in blocks now.
    pub(super) fn trim(&self, revision: u64) {
        let mut tail = self.tail.lock();
        let count = up_to(&tail.operations, revision).min(tail.operations.len().saturating_sub(RECENT));
        let dropped = tail.operations.slice(..count);
        tail.stored = revision;
        tail.from = dropped.last().map_or(tail.from, |last| last.revision + 1);
        drop(tail);
        // Freeing what nobody else reads takes longer than the writer should wait.
        drop(dropped);
    }

    /// Reads on in a database that was opened anew. Of a store that is closed it stays closed.
    pub(super) fn reopen(&self, blocks: Blocks) {
        let blocks = Arc::new(blocks);
        self.blocks.rcu(|open| open.as_ref().map(|_| Arc::clone(&blocks)));
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

/// Reads on in blocks, from after one revision to before another. Tells whether all of that was looked at.
fn read_blocks(
    blocks: &Blocks,
    page: &mut Page,
    filter: &Filter,
    (after, end): (u64, u64),
    limit: usize,
) -> Result<bool, Error> {
    let mut looked = 0;
    for block in blocks.between(after + 1, end)? {
        if looked >= LOOK {
            page.complete = false;
            return Ok(false);
        }
        let Some(block) = blocks.open(block)? else { continue };
        looked += block.len();
        for operation in block.into_iter().filter(|operation| (after + 1..end).contains(&operation.revision)) {
            if page.operations.len() >= limit {
                return Ok(false);
            }
            page.newest_seen = operation.revision;
            if filter.matches(&operation) {
                page.operations.push(Arc::new(operation));
            }
        }
    }
    Ok(true)
}

/// Reads on in the tail, at so many operations at most.
fn read_tail(tail: &Tail, page: &mut Page, filter: &Filter, (after, look): (u64, usize), limit: usize) {
    let rest = tail.operations.skip(up_to(&tail.operations, after));
    for (looked, operation) in rest.iter().enumerate() {
        if page.operations.len() >= limit {
            return;
        }
        if looked >= look {
            page.complete = false;
            return;
        }
        page.newest_seen = operation.revision;
        if filter.matches(operation) {
            page.operations.push(Arc::clone(operation));
        }
    }
    page.newest_seen = page.newest_seen.max(tail.newest);
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
            let found = block.into_iter().rev().filter(|operation| operation.revision < tail.from);
            let found = found.filter(|operation| filter.matches(operation)).take(missing);
            page.operations.extend(found.map(Arc::new));
        }
        page.operations.reverse();
        Ok(page)
    }

    fn after(&self, filter: &Filter, after: u64, limit: usize) -> Result<Page, Error> {
        let (tail, blocks) = self.read()?;
        let mut page = Page { newest_seen: after.min(tail.newest), complete: true, ..Page::default() };
        let reaches_tail =
            after.saturating_add(1) >= tail.from || read_blocks(&blocks, &mut page, filter, (after, tail.from), limit)?;
        if reaches_tail {
            read_tail(&tail, &mut page, filter, (after, usize::MAX), limit);
        }
        // After the reading: what is the oldest now was there all the time.
        page.oldest = Self::oldest(&tail, &blocks)?;
        Ok(page)
    }

    fn recent(&self, filter: &Filter, after: u64, limit: usize) -> Option<Page> {
        let tail = self.tail.lock().clone();
        if after.saturating_add(1) < tail.from {
            return None;
        }
        let mut page = Page { newest_seen: after.min(tail.newest), complete: true, ..Page::default() };
        read_tail(&tail, &mut page, filter, (after, LOOK_RECENT), limit);
        page.oldest = tail.from;
        Some(page)
    }

    fn unreadable(&self) -> Vec<u64> {
        self.blocks.load().as_ref().map(|blocks| blocks.unreadable()).unwrap_or_default()
    }
}
