//! The writing side on a real disk: a frame in the current segment, one `fdatasync`, then the reply.
//!
//! May not: touch the database. It hands full segments to [`super::checkpoint::task`] and takes ready ones from it.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use nix::fcntl::Flock;
use parking_lot::{Condvar, Mutex};

use super::checkpoint::task::Job;
use super::disk::Disk;
use super::journal::frame;
use super::journal::segment::{FRAMES, Segment};
use super::oplog::Log;
use super::{Error, Outcome, Stats, Store};
use crate::registry::{Entry, OperationRecord, Registry};

/// A segment that can be written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) number: u32,
    pub(super) epoch: u64,
}

/// The segments that are ready, in the order of their use.
#[derive(Debug, Default)]
pub(super) struct Pool {
    state: Mutex<(VecDeque<Ready>, Option<Arc<Error>>)>,
    changed: Condvar,
}

impl Pool {
    pub(super) fn put(&self, ready: Ready) {
        self.state.lock().0.push_back(ready);
        self.changed.notify_all();
    }

    /// Says that no more segments will come. The first reason stays.
    pub(super) fn fail(&self, why: Arc<Error>) {
        self.state.lock().1.get_or_insert(why);
        self.changed.notify_all();
    }

    fn take(&self, stats: &Stats) -> Result<Ready, Arc<Error>> {
        let mut state = self.state.lock();
        if state.0.is_empty() && state.1.is_none() {
            stats.stalls.fetch_add(1, Ordering::Relaxed);
        }
        loop {
            if let Some(ready) = state.0.pop_front() {
                return Ok(ready);
            }
            if let Some(why) = &state.1 {
                return Err(Arc::clone(why));
            }
            self.changed.wait(&mut state);
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Current {
    number: u32,
    epoch: u64,
    offset: usize,
}

/// The store on a real disk.
pub(super) struct Writer {
    pub(super) segments: Arc<Vec<Segment>>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) pool: Arc<Pool>,
    pub(super) log: Arc<Log>,
    pub(super) stats: Arc<Stats>,
    pub(super) jobs: Option<Sender<Job>>,
    pub(super) task: Option<JoinHandle<Result<(), Arc<Error>>>>,
    pub(super) sequence: u64,
    pub(super) last: Registry,
    frame: Vec<u8>,
    current: Option<Current>,
    failed: Option<Arc<Error>>,
    /// Released when the thread is gone: it is dropped after [`Drop::drop`].
    _lock: Flock<File>,
}

impl Writer {
    /// A writer that goes on after batch `sequence`, which led to `last`.
    pub(super) fn new(
        (segments, disk, pool): (Arc<Vec<Segment>>, Arc<dyn Disk>, Arc<Pool>),
        (log, stats): (Arc<Log>, Arc<Stats>),
        (jobs, task): (Sender<Job>, JoinHandle<Result<(), Arc<Error>>>),
        (sequence, last): (u64, Registry),
        lock: Flock<File>,
    ) -> Self {
        let (jobs, task) = (Some(jobs), Some(task));
        let (frame, current, failed) = (Vec::new(), None, None);
        Self { segments, disk, pool, log, stats, jobs, task, sequence, last, frame, current, failed, _lock: lock }
    }

    fn fail(&mut self, outcome: Outcome, why: Arc<Error>) -> Error {
        self.failed = Some(Arc::clone(&why));
        Error::Failed { outcome, source: why }
    }

    /// The segment that the frame goes to: the current one while it has room.
    fn place(&mut self) -> Result<Current, Error> {
        let length = |number: u32| self.segments.get(number as usize).map_or(0, |segment| segment.length);
        let limit = self.segments.iter().map(|segment| segment.length).min().unwrap_or(0).saturating_sub(FRAMES);
        if self.frame.len() > limit {
            return Err(Error::TooLarge { bytes: self.frame.len(), limit });
        }
        if let Some(current) = self.current {
            if current.offset + self.frame.len() <= length(current.number) {
                return Ok(current);
            }
            let segments = vec![current.number];
            let job = Job { sequence: self.sequence, registry: self.last.clone(), segments, close: false };
            // When the thread is gone, the pool says why.
            self.jobs.as_ref().map(|jobs| jobs.send(job).ok());
            self.current = None;
        }
        match self.pool.take(&self.stats) {
            Ok(Ready { number, epoch }) => {
                let current = Current { number, epoch, offset: FRAMES };
                self.current = Some(current);
                Ok(current)
            }
            Err(why) => Err(self.fail(Outcome::NotApplied, why)),
        }
    }

    fn write(&mut self, place: Current) -> Result<(), Error> {
        let Some(segment) = self.segments.get(place.number as usize) else { return Err(Error::Closed) };
        frame::seal(&mut self.frame, place.epoch, self.sequence + 1);
        self.disk
            .write_at(&segment.file, &self.frame, place.offset as u64)
            .and_then(|()| self.disk.sync_data(&segment.file))
            .map_err(Error::io("write", &segment.path))
    }
}

/// Whether the operations are those of the entries.
pub(super) fn told(entries: &[Entry], operations: &[OperationRecord]) -> bool {
    let revisions = entries.iter().filter(|entry| entry.change.is_operation()).map(|entry| entry.revision);
    revisions.eq(operations.iter().map(|operation| operation.revision))
}

impl Store for Writer {
    fn append(&mut self, entries: &[Entry], operations: Vec<OperationRecord>, after: &Registry) -> Result<(), Error> {
        if let Some(why) = &self.failed {
            return Err(Error::Failed { outcome: Outcome::NotApplied, source: Arc::clone(why) });
        }
        if entries.is_empty() {
            return Ok(());
        }
        if !told(entries, &operations) {
            return Err(Error::Operations);
        }
        frame::encode(&mut self.frame, entries)?;
        let place = self.place()?;
        if let Err(why) = self.write(place) {
            return Err(self.fail(Outcome::Unknown, Arc::new(why)));
        }
        self.current = Some(Current { offset: place.offset + self.frame.len(), ..place });
        self.sequence += 1;
        self.last = after.clone();
        self.log.push(operations);
        Ok(())
    }

    fn close(mut self: Box<Self>, after: &Registry) -> Result<(), Error> {
        if let Some(why) = self.failed.take() {
            return Err(Error::Failed { outcome: Outcome::NotApplied, source: why });
        }
        let job = Job { sequence: self.sequence, registry: after.clone(), segments: Vec::new(), close: true };
        // When the thread is gone, its result says why.
        self.jobs.take().map(|jobs| jobs.send(job).ok());
        let result = self.task.take().map_or(Ok(Ok(())), JoinHandle::join);
        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(Error::Failed { outcome: Outcome::NotApplied, source }),
            Err(_panic) => Err(Error::Closed),
        }
    }
}

impl Drop for Writer {
    /// Waits for the thread, so that the state can be opened again; what it has not checkpointed is in the journal.
    fn drop(&mut self) {
        self.jobs = None;
        self.log.close();
        if let Some(task) = self.task.take() {
            drop(task.join());
        }
    }
}
