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

use super::ceiling::Ceiling;
use super::checkpoint::task::Job;
use super::condition::Condition;
use super::disk::Disk;
use super::journal::frame;
use super::journal::segment::{FRAMES, Segment};
use super::layout::Layout;
use super::location::{Location, Watch};
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
    state: Mutex<PoolState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PoolState {
    ready: VecDeque<Ready>,
    /// Why no more segments will come.
    failed: Option<Arc<Error>>,
    /// Why none come now: the checkpoint failed, and is tried again.
    failing: Option<Arc<Error>>,
}

impl Pool {
    pub(super) fn put(&self, ready: Ready) {
        self.state.lock().ready.push_back(ready);
        self.changed.notify_all();
    }

    /// Says that no more segments will come. The first reason stays.
    pub(super) fn fail(&self, why: Arc<Error>) {
        self.state.lock().failed.get_or_insert(why);
        self.changed.notify_all();
    }

    /// Says whether the checkpoint is failing.
    pub(super) fn set_failing(&self, why: Option<Arc<Error>>) {
        self.state.lock().failing = why;
        self.changed.notify_all();
    }

    /// Waits until a segment is ready, or it is known that none will be soon. Returns whether one is.
    fn wait(&self, stats: &Stats) -> bool {
        let mut state = self.state.lock();
        let is_over = |state: &PoolState| !state.ready.is_empty() || state.failed.is_some() || state.failing.is_some();
        if !is_over(&state) {
            stats.stalls.fetch_add(1, Ordering::Relaxed);
        }
        while !is_over(&state) {
            self.changed.wait(&mut state);
        }
        !state.ready.is_empty()
    }

    fn take(&self, stats: &Stats) -> Result<Ready, Arc<Error>> {
        let mut state = self.state.lock();
        let mut is_waiting = false;
        loop {
            if let Some(ready) = state.ready.pop_front() {
                return Ok(ready);
            }
            if let Some(why) = state.failed.as_ref().or(state.failing.as_ref()) {
                return Err(Arc::clone(why));
            }
            if !std::mem::replace(&mut is_waiting, true) {
                stats.stalls.fetch_add(1, Ordering::Relaxed);
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

/// What the writer works with.
pub(super) struct Parts {
    pub(super) segments: Arc<Vec<Segment>>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) pool: Arc<Pool>,
    pub(super) log: Arc<Log>,
    pub(super) stats: Arc<Stats>,
    pub(super) ceiling: Ceiling,
    pub(super) location: Arc<Location>,
    pub(super) condition: Arc<Condition>,
    /// Ends when it is dropped.
    pub(super) watch: Watch,
    pub(super) layout: Layout,
    /// Released when the thread is gone: it is dropped after [`Drop::drop`].
    pub(super) _lock: Flock<File>,
}

/// The store on a real disk.
pub(super) struct Writer {
    parts: Parts,
    jobs: Option<Sender<Job>>,
    task: Option<JoinHandle<Result<(), Arc<Error>>>>,
    sequence: u64,
    last: Registry,
    frame: Vec<u8>,
    current: Option<Current>,
    failed: Option<Arc<Error>>,
}

impl Writer {
    /// A writer that goes on after batch `sequence`, which led to `last`.
    pub(super) fn new(
        parts: Parts,
        (jobs, task): (Sender<Job>, JoinHandle<Result<(), Arc<Error>>>),
        (sequence, last): (u64, Registry),
    ) -> Self {
        let (jobs, task) = (Some(jobs), Some(task));
        Self { parts, jobs, task, sequence, last, frame: Vec::new(), current: None, failed: None }
    }

    fn fail(&mut self, outcome: Outcome, why: Arc<Error>) -> Error {
        self.failed = Some(Arc::clone(&why));
        self.parts.condition.fail(why.with_causes());
        Error::Failed { outcome, source: why }
    }

    /// The segment that the frame goes to: the current one while it has room.
    fn place(&mut self) -> Result<Current, Error> {
        let limit = self.parts.segments.iter().map(|segment| segment.length).min().unwrap_or(0).saturating_sub(FRAMES);
        if self.frame.len() > limit {
            return Err(Error::TooLarge { bytes: self.frame.len(), limit });
        }
        if let Some(current) = self.current {
            if current.offset + self.frame.len() <= self.length(current.number) {
                return Ok(current);
            }
            let segments = vec![current.number];
            let job = Job { sequence: self.sequence, registry: self.last.clone(), segments, close: false };
            // When the thread is gone, the pool says why.
            self.jobs.as_ref().map(|jobs| jobs.send(job).ok());
            self.current = None;
        }
        match self.parts.pool.take(&self.parts.stats) {
            Ok(Ready { number, epoch }) => {
                let current = Current { number, epoch, offset: FRAMES };
                self.current = Some(current);
                Ok(current)
            }
            Err(why) => Err(self.fail(Outcome::NotApplied, why)),
        }
    }

    fn length(&self, number: u32) -> usize {
        self.parts.segments.get(number as usize).map_or(0, |segment| segment.length)
    }

    fn write(&mut self, place: Current) -> Result<(), Error> {
        let Parts { segments, disk, location, layout, .. } = &self.parts;
        let Some(segment) = segments.get(place.number as usize) else { return Err(Error::Closed) };
        frame::seal(&mut self.frame, place.epoch, self.sequence + 1);
        disk.write_at(&segment.file, &self.frame, place.offset as u64)
            .and_then(|()| disk.sync_data(&segment.file))
            .map_err(Error::io("write", &segment.path))?;
        // What is acknowledged must be in this state, and not only in an open file that has lost its name.
        for path in [&layout.format, &segment.path] {
            if location.is_missing(path) {
                return Err(Error::Gone { state: layout.state.clone(), path: path.clone() });
            }
        }
        Ok(())
    }

    /// Returns why the store takes nothing, if it has failed: here, or because the watch found its files gone.
    fn failure(&mut self) -> Option<Arc<Error>> {
        if self.failed.is_none() {
            self.failed = self.parts.watch.found();
        }
        self.failed.clone()
    }
}

/// Whether the operations are those of the entries.
pub(super) fn told(entries: &[Entry], operations: &[OperationRecord]) -> bool {
    let revisions = entries.iter().filter(|entry| entry.change.is_operation()).map(|entry| entry.revision);
    revisions.eq(operations.iter().map(|operation| operation.revision))
}

impl Store for Writer {
    fn append(&mut self, entries: &[Entry], operations: Vec<OperationRecord>, after: &Registry) -> Result<(), Error> {
        if let Some(source) = self.failure() {
            return Err(Error::Failed { outcome: Outcome::NotApplied, source });
        }
        if entries.is_empty() {
            return Ok(());
        }
        if !told(entries, &operations) {
            return Err(Error::Operations);
        }
        frame::encode(&mut self.frame, entries)?;
        let raised = self.parts.ceiling.keep_above(&*self.parts.disk, after.counters().fencing);
        if let Err(why) = raised {
            return Err(self.fail(Outcome::NotApplied, Arc::new(why)));
        }
        let place = self.place()?;
        if let Err(why) = self.write(place) {
            return Err(self.fail(Outcome::Unknown, Arc::new(why)));
        }
        self.current = Some(Current { offset: place.offset + self.frame.len(), ..place });
        self.sequence += 1;
        self.last = after.clone();
        self.parts.log.push(operations);
        Ok(())
    }

    fn has_room(&self) -> bool {
        let is_half_free = |current: &Current| current.offset < self.length(current.number) / 2;
        // Waits here, and not only at the end of the segment: what cannot wait must have room if the checkpoint under way fails.
        self.current.as_ref().is_some_and(is_half_free) || self.parts.pool.wait(&self.parts.stats)
    }

    fn close(mut self: Box<Self>, after: &Registry) -> Result<(), Error> {
        if let Some(source) = self.failure() {
            return Err(Error::Failed { outcome: Outcome::NotApplied, source });
        }
        let job = Job { sequence: self.sequence, registry: after.clone(), segments: Vec::new(), close: true };
        // When the thread is gone, its result says why.
        self.jobs.take().map(|jobs| jobs.send(job).ok());
        let result = self.task.take().map_or(Ok(Ok(())), JoinHandle::join);
        match result {
            Ok(Ok(())) => self.parts.ceiling.lower(&*self.parts.disk, after.counters().fencing),
            Ok(Err(source)) => Err(Error::Failed { outcome: Outcome::NotApplied, source }),
            Err(_panic) => Err(Error::Closed),
        }
    }
}

impl Drop for Writer {
    /// Waits for the thread, so that the state can be opened again; what it has not checkpointed is in the journal.
    fn drop(&mut self) {
        self.jobs = None;
        self.parts.log.close();
        if let Some(task) = self.task.take() {
            drop(task.join());
        }
    }
}
