//! The background thread: makes checkpoints, and gives journal segments their next use.
//!
//! S4: a segment is handed on only when the database has its batches, and the database's files are synced.
//!
//! A checkpoint writes records in any order and its meta record last. One that was cut off is healed by replaying the
//! journal from the older meta record on (R5). Forgotten sessions are removed by the *next* checkpoint, because that replay
//! may need them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use proto_schema::FencingToken;

use super::super::disk::Disk;
use super::super::journal::segment::{Header, Segment};
use super::super::layout::{FilePrint, Layout, Mark, fingerprint};
use super::super::oplog::Log;
use super::super::writer::{Pool, Ready};
use super::super::{Error, Stats};
use super::tables::{Meta, Tables};
use crate::registry::{Difference, Registry};

/// After this long without work the database's files are taken to be at rest.
const REST: Duration = Duration::from_secs(1);

/// Asks for a checkpoint.
#[derive(Debug)]
pub(crate) struct Job {
    /// The last batch it covers.
    pub(crate) sequence: u64,
    /// The registry after that batch.
    pub(crate) registry: Registry,
    /// The segments that are free afterwards.
    pub(crate) segments: Vec<u32>,
    /// Whether it is the last one.
    pub(crate) close: bool,
}

/// What the thread works with.
pub(crate) struct Task {
    pub(crate) layout: Layout,
    pub(crate) tables: Tables,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) log: Arc<Log>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) segments: Arc<Vec<Segment>>,
    /// How often segments were used so far.
    pub(crate) generation: u64,
    /// What the database has.
    pub(crate) done: Registry,
    /// What the database says of itself.
    pub(crate) meta: Meta,
    /// Sessions that the database has, and the last checkpoint had not.
    pub(crate) forgotten: Vec<FencingToken>,
    pub(crate) stats: Arc<Stats>,
}

impl Task {
    /// Works until asked to close, or until the store is dropped. `free` are the segments that have nothing to keep.
    pub(crate) fn run(mut self, free: &[u32], jobs: &Receiver<Job>) -> Result<(), Arc<Error>> {
        let pool = Arc::clone(&self.pool);
        // Also when this thread panics, nobody may wait for it for ever.
        let guard = FailOnDrop(Arc::clone(&pool));
        let result = self.work(free, jobs).map_err(Arc::new);
        if let Err(error) = &result {
            tracing::error!(%error, "the checkpoint failed; the journal keeps what it can");
            pool.fail(Arc::clone(error));
        }
        drop(guard);
        result
    }

    fn work(&mut self, free: &[u32], jobs: &Receiver<Job>) -> Result<(), Error> {
        self.hand_on(free)?;
        let mut at_rest = false;
        loop {
            match jobs.recv_timeout(REST) {
                Ok(job) => {
                    self.checkpoint(&job)?;
                    at_rest = false;
                    if job.close {
                        return self.close();
                    }
                    self.hand_on(&job.segments)?;
                }
                Err(RecvTimeoutError::Timeout) if !at_rest => {
                    self.mark(fingerprint(&self.layout.database)?)?;
                    at_rest = true;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn checkpoint(&mut self, job: &Job) -> Result<(), Error> {
        for token in std::mem::take(&mut self.forgotten) {
            self.tables.forget(token)?;
        }
        for difference in job.registry.since(&self.done) {
            self.tables.write(&difference)?;
            if let Difference::SessionForgotten(token) = difference {
                self.forgotten.push(token);
            }
        }
        let revision = job.registry.revision();
        self.tables.blocks().extend(self.done.revision(), self.log.pending(revision))?;
        let meta = Meta::new(self.meta.id(), job.sequence, job.registry.counters());
        self.tables.finish(&meta)?;
        self.sync()?;
        self.log.trim(revision);
        self.meta = meta;
        self.done = job.registry.clone();
        self.stats.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.mark(Vec::new())
    }

    fn sync(&self) -> Result<(), Error> {
        self.tables.flush()?;
        let database = &self.layout.database;
        self.disk.sync_database(database).map_err(Error::io("sync", database))
    }

    fn mark(&self, files: Vec<FilePrint>) -> Result<(), Error> {
        Mark::new(&self.meta, &self.done, files).write(&self.layout)
    }

    /// Gives the segments their next use, so that the writer finds them ready.
    fn hand_on(&mut self, segments: &[u32]) -> Result<(), Error> {
        let count = u32::try_from(self.segments.len()).unwrap_or(u32::MAX);
        for number in segments {
            let Some(segment) = self.segments.get(*number as usize) else { continue };
            self.generation += 1;
            let epoch = getrandom::u64()?;
            let header = Header { state: self.meta.id(), generation: self.generation, epoch, count };
            segment.prepare(&*self.disk, &header)?;
            self.pool.put(Ready { number: *number, epoch });
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        for token in std::mem::take(&mut self.forgotten) {
            self.tables.forget(token)?;
        }
        self.sync()?;
        self.log.close();
        self.mark(fingerprint(&self.layout.database)?)
    }
}

struct FailOnDrop(Arc<Pool>);

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        self.0.fail(Arc::new(Error::Closed));
    }
}
