//! The background thread: makes checkpoints, and gives journal segments their next use.
//!
//! S4: a segment is handed on only when a base that has its batches is in place and on the disk. A checkpoint that is cut
//! off leaves a database that is never looked at again; the base before it and the journal have everything.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use super::super::disk::Disk;
use super::super::journal::segment::{Header, Segment};
use super::super::layout::Layout;
use super::super::oplog::Log;
use super::super::writer::{Pool, Ready};
use super::super::{Error, Stats};
use super::base;
use super::tables::{Meta, Tables};
use crate::priority::give_way;
use crate::registry::Registry;

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
        // The writer goes first.
        give_way();
        for job in jobs {
            self.checkpoint(&job)?;
            if job.close {
                self.log.close();
                return Ok(());
            }
            self.hand_on(&job.segments)?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, job: &Job) -> Result<(), Error> {
        // Nothing happened: the base has it all.
        if job.sequence == self.meta.applied {
            return Ok(());
        }
        for difference in job.registry.since(&self.done) {
            self.tables.write(&difference)?;
        }
        let revision = job.registry.revision();
        self.tables.blocks().extend(self.log.pending(revision))?;
        let meta = Meta::new(self.meta.id(), job.sequence, job.registry.counters());
        self.tables.finish(&meta)?;
        self.tables.flush()?;
        base::renew(&self.layout, &*self.disk, &meta, &job.registry)?;
        self.log.trim(revision);
        self.meta = meta;
        self.done = job.registry.clone();
        self.stats.checkpoints.fetch_add(1, Ordering::Relaxed);
        Ok(())
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
}

struct FailOnDrop(Arc<Pool>);

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        self.0.fail(Arc::new(Error::Closed));
    }
}
