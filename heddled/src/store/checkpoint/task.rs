//! The background thread: makes checkpoints, and gives journal segments their next use.
//!
//! S4: a segment is handed on only when a base that has its batches is in place and on the disk. A checkpoint that is cut
//! off leaves a database that is never looked at again; the base before it and the journal have everything.
//!
//! A checkpoint that failed is tried again, with a pause, until it succeeds or the store is closed. Each retry begins with a
//! new copy of the base: a database that has failed once answers nothing any more.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::super::condition::Condition;
use super::super::journal::segment::{Header, Segment};
use super::super::layout::Layout;
use super::super::location::Location;
use super::super::open::load;
use super::super::oplog::Log;
use super::super::writer::{Pool, Ready};
use super::super::{Error, Options, Stats};
use super::base::{self, Base};
use super::tables::{Meta, Tables};
use crate::priority::give_way;
use crate::registry::Registry;

/// How many times longer than the first pause before a retry the longest one is.
const LONGEST_PAUSE: u32 = 32;

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

impl Job {
    /// Makes the later job cover this one, too.
    fn followed_by(self, later: Self) -> Self {
        Self { segments: [self.segments, later.segments].concat(), ..later }
    }
}

/// What the thread works with.
pub(crate) struct Task {
    pub(crate) layout: Layout,
    pub(crate) options: Options,
    /// The open database. `None` after a failure, until it is opened anew.
    pub(crate) tables: Option<Tables>,
    pub(crate) log: Arc<Log>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) segments: Arc<Vec<Segment>>,
    pub(crate) location: Arc<Location>,
    pub(crate) condition: Arc<Condition>,
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
            tracing::error!(
                error = &**error as &dyn std::error::Error,
                "the checkpoint failed; the journal keeps what it can"
            );
            pool.fail(Arc::clone(error));
        }
        self.discard();
        drop(guard);
        result
    }

    fn work(&mut self, free: &[u32], jobs: &Receiver<Job>) -> Result<(), Error> {
        self.hand_on(free)?;
        // The writer goes first.
        give_way();
        for job in jobs {
            let Some(job) = self.complete(job, jobs)? else { return Ok(()) };
            if job.close {
                self.log.close();
                return Ok(());
            }
            self.hand_on(&job.segments)?;
        }
        Ok(())
    }

    /// Makes the checkpoint, however often it takes. Returns the job that was done in the end, `None` if the store was dropped
    /// meanwhile.
    ///
    /// # Errors
    /// The last checkpoint before the close failed, or the files are not where they were.
    fn complete(&mut self, mut job: Job, jobs: &Receiver<Job>) -> Result<Option<Job>, Error> {
        let first = Duration::from_millis(self.options.retry_ms);
        let mut pause = first;
        loop {
            let Err(error) = guarded(|| self.checkpoint(&job)) else {
                self.condition.set_checkpoint(None);
                self.pool.set_failing(None);
                return Ok(Some(job));
            };
            self.discard();
            if matches!(error, Error::Gone { .. }) || job.close {
                return Err(error);
            }
            self.report(error);
            match jobs.recv_timeout(pause) {
                Ok(later) => job = job.followed_by(later),
                Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(first * LONGEST_PAUSE),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    fn report(&self, error: Error) {
        let why = error.with_causes();
        if self.condition.checkpoint_failed().is_none_or(|known| *known != why) {
            tracing::error!(why, "the checkpoint failed; it is tried again, and the journal keeps what it can");
        }
        self.condition.set_checkpoint(Some(why));
        self.pool.set_failing(Some(Arc::new(error)));
        // A copy that is not complete only takes the space that the next one needs.
        drop(self.options.disk.remove_all(&self.layout.new_base));
    }

    fn checkpoint(&mut self, job: &Job) -> Result<(), Error> {
        self.check_location()?;
        let tables = match self.tables.clone() {
            Some(tables) if job.sequence == self.meta.applied => {
                // Nothing happened: the base has it all.
                drop(tables);
                return Ok(());
            }
            Some(tables) => tables,
            None => self.reopen()?,
        };
        for difference in job.registry.since(&self.done) {
            tables.write(&difference)?;
        }
        let revision = job.registry.revision();
        let counters = job.registry.counters();
        tables.blocks().extend(self.log.pending(revision), counters.pruned)?;
        let meta = Meta::new(self.meta.id(), job.sequence, counters);
        tables.finish(&meta)?;
        tables.flush()?;
        self.check_location()?;
        base::renew(&self.layout, &*self.options.disk, &meta, &job.registry)?;
        self.log.trim(revision);
        self.meta = meta;
        self.done = job.registry.clone();
        self.stats.checkpoints.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// A state that another daemon has made at this path must not get the files of this one.
    fn check_location(&self) -> Result<(), Error> {
        match self.location.missing() {
            Some(path) => Err(Error::Gone { state: self.layout.state.clone(), path: path.to_owned() }),
            None => Ok(()),
        }
    }

    /// Opens the database anew, on a copy of the base, as a start after a crash does.
    fn reopen(&mut self) -> Result<Tables, Error> {
        let (layout, disk) = (&self.layout, &*self.options.disk);
        let base = Base::find(layout)?;
        base.verify(layout)?;
        base.settle(layout, disk)?;
        Base::restore(layout, disk)?;
        let (tables, loaded) = load(layout, &self.options)?;
        base.check(layout, &loaded)?;
        if let Some(bad) = loaded.bad.into_iter().next() {
            return Err(layout.damaged(&layout.database, bad.why));
        }
        self.done = Registry::restore(loaded.records);
        self.meta = loaded.meta;
        self.log.reopen(tables.blocks().clone());
        self.tables = Some(tables.clone());
        Ok(tables)
    }

    /// Drops the database. One that has failed may panic at that.
    fn discard(&mut self) {
        let tables = self.tables.take();
        drop(catch_unwind(AssertUnwindSafe(|| drop(tables))));
    }

    /// Gives the segments their next use, so that the writer finds them ready.
    fn hand_on(&mut self, segments: &[u32]) -> Result<(), Error> {
        let count = u32::try_from(self.segments.len()).unwrap_or(u32::MAX);
        for number in segments {
            let Some(segment) = self.segments.get(*number as usize) else { continue };
            self.generation += 1;
            let epoch = getrandom::u64()?;
            let length = u32::try_from(segment.length).unwrap_or(u32::MAX);
            let header = Header { state: self.meta.id(), generation: self.generation, epoch, count, length };
            segment.prepare(&*self.options.disk, &header)?;
            self.pool.put(Ready { number: *number, epoch });
        }
        Ok(())
    }
}

/// Runs what may panic within the database, and returns a panic as an error.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let panicked = |panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Error::Panicked { why: text.unwrap_or_default() })
    };
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}

struct FailOnDrop(Arc<Pool>);

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        self.0.fail(Arc::new(Error::Closed));
    }
}
