//! A store in memory for tests, with the faults that a disk has: it can fail before or after a batch is durable, and crash.
//!
//! Batches are kept as the bytes of the real journal, so that what has no stored form fails here too.

use std::sync::Arc;

use parking_lot::Mutex;

use super::journal::frame;
use super::writer::told;
use super::{Error, Filter, Opened, OperationLog, Outcome, Page, Stats, Store};
use crate::registry::{Entry, OperationRecord, Registry};

/// Where an append fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Before the batch is durable: it is lost, and its outcome is unknown to the caller.
    BeforeDurability,
    /// After the batch is durable: it is kept, and its outcome is unknown to the caller.
    AfterDurability,
}

/// How many operations can be had without reading.
const RECENT: u64 = 8;

#[derive(Debug, Default)]
struct Inner {
    batches: Vec<Vec<u8>>,
    log: Vec<Arc<OperationRecord>>,
    fault: Option<Fault>,
    /// Counts the openings, so that a store from before a crash can write nothing any more.
    life: u64,
}

/// What survives the store: the disk of a memory store.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Inner>>);

impl MemoryDisk {
    /// Makes the next append fail, and with it the store.
    pub fn fail_next(&self, fault: Fault) {
        self.0.lock().fault = Some(fault);
    }

    /// Forgets the operations up to a revision, as a log does that keeps no more.
    pub fn forget(&self, revision: u64) {
        self.0.lock().log.retain(|operation| operation.revision > revision);
    }

    /// The entries that are durable.
    ///
    /// # Errors
    /// A batch does not read back.
    pub fn entries(&self) -> Result<Vec<Entry>, super::Damage> {
        let inner = self.0.lock();
        let mut entries = Vec::new();
        for (sequence, batch) in (1..).zip(&inner.batches) {
            entries.extend(frame::decode(sequence, batch.get(frame::HEAD..).unwrap_or_default())?);
        }
        Ok(entries)
    }

    /// Opens what is durable; a store that is still open has crashed with that.
    ///
    /// # Errors
    /// A batch does not read back.
    pub fn open(&self) -> Result<Opened, super::Damage> {
        let mut registry = Registry::default();
        let mut log = Vec::new();
        for entry in self.entries()? {
            registry.apply(&entry);
            log.extend(registry.operation(&entry).map(Arc::new));
        }
        let mut inner = self.0.lock();
        inner.log = log;
        inner.fault = None;
        inner.life += 1;
        let store = MemoryStore { disk: self.clone(), life: inner.life, frame: Vec::new(), failed: None };
        Ok(Opened {
            id: 1,
            store: Box::new(store),
            log: Arc::new(self.clone()),
            registry,
            quarantined: Vec::new(),
            stats: Arc::new(Stats::default()),
            condition: Arc::default(),
            fencing_floor: 0,
        })
    }
}

struct MemoryStore {
    disk: MemoryDisk,
    life: u64,
    frame: Vec<u8>,
    failed: Option<Arc<Error>>,
}

impl Store for MemoryStore {
    fn append(&mut self, entries: &[Entry], operations: Vec<OperationRecord>, _: &Registry) -> Result<(), Error> {
        if let Some(source) = &self.failed {
            return Err(Error::Failed { outcome: Outcome::NotApplied, source: Arc::clone(source) });
        }
        if entries.is_empty() {
            return Ok(());
        }
        if !told(entries, &operations) {
            return Err(Error::Operations);
        }
        frame::encode(&mut self.frame, entries)?;
        let mut inner = self.disk.0.lock();
        let fault = if inner.life == self.life { inner.fault.take() } else { Some(Fault::BeforeDurability) };
        if fault != Some(Fault::BeforeDurability) {
            inner.batches.push(self.frame.clone());
        }
        if fault.is_some() {
            let source = Arc::new(Error::Closed);
            self.failed = Some(Arc::clone(&source));
            return Err(Error::Failed { outcome: Outcome::Unknown, source });
        }
        inner.log.extend(operations.into_iter().map(Arc::new));
        Ok(())
    }

    fn close(self: Box<Self>, _: &Registry) -> Result<(), Error> {
        match self.failed {
            Some(source) => Err(Error::Failed { outcome: Outcome::NotApplied, source }),
            None => Ok(()),
        }
    }
}

impl OperationLog for MemoryDisk {
    fn newest(&self, filter: &Filter, limit: usize) -> Result<Page, Error> {
        let mut page = self.after(filter, 0, usize::MAX)?;
        let surplus = page.operations.len().saturating_sub(limit);
        page.operations.drain(..surplus);
        Ok(page)
    }

    fn after(&self, filter: &Filter, after: u64, limit: usize) -> Result<Page, Error> {
        let inner = self.0.lock();
        let newest = inner.log.last().map_or(0, |operation| operation.revision);
        let oldest = inner.log.first().map_or(newest + 1, |operation| operation.revision);
        let matching = inner.log.iter().filter(|operation| operation.revision > after && filter.matches(operation));
        let operations: Vec<_> = matching.take(limit).cloned().collect();
        let cut = operations.len() == limit;
        let newest_seen = operations.last().filter(|_| cut).map_or(newest, |last| last.revision);
        Ok(Page { operations, oldest, newest_seen, complete: true })
    }

    fn recent(&self, filter: &Filter, after: u64, limit: usize) -> Option<Page> {
        // The newest few, so that whoever follows the log must read it too.
        let newest = self.0.lock().log.last().map_or(0, |operation| operation.revision);
        if after + RECENT < newest {
            return None;
        }
        self.after(filter, after, limit).ok()
    }

    fn unreadable(&self) -> Vec<u64> {
        Vec::new()
    }
}
