//! The store: makes what happened durable, and gives it back after whatever happened to the machine.
//!
//! A journal in front takes each batch of entries with one overwrite and one `fdatasync`; a sled database behind it holds
//! the registry as records and the operation log, and is brought up to date in the background, a journal segment at a time.
//! The database is a workplace that is not trusted: what counts is the base, a synced copy of it at rest.
//!
//! May not: decide anything about sessions or threads, read a clock, know of the wire.
//!
//! # Invariants
//!
//! - S1: when [`Store::append`] has returned, its entries survive a power cut.
//! - S2: after an append that failed nothing more is written until the store is opened again.
//! - S3: what cannot be read in full is refused and left as it is; it is never replaced by something emptier.
//! - S4: a segment of the journal is reused only when a base that has all of it is in place and on the disk. Base and
//!   journal together are the state at every moment: a base is replaced as a whole, and never written in place.
//! - S6: every fencing token that was granted is below the ceiling, which is on the disk (`ceiling.rs`).
//! - S7: what is acknowledged is in the state that the path of the state directory leads to (`location.rs`).
//! - S5: readers of the operation log and the writer do not wait for each other.

mod archive;
mod ceiling;
mod checkpoint;
mod codec;
mod condition;
mod disk;
mod error;
mod examine;
mod image;
mod journal;
mod layout;
mod location;
pub mod memory;
mod open;
mod oplog;
mod replace;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use proto_schema::{FencingToken, SessionId, ThreadName, Timestamp};

pub use self::archive::{BackupHead, pack, unpack};
pub use self::condition::Condition;
pub use self::disk::{Disk, RealDisk};
pub use self::error::{BackupDamage, Damage, Error, Outcome};
pub use self::examine::{Examined, examine};
pub use self::image::{Counted, Image, counted};
pub use self::replace::{Staged, append};
use crate::registry::{Change, Entry, OperationRecord, Registry, RepoId};

/// The writing side: one owner, one batch at a time.
pub trait Store: Send + 'static {
    /// Makes the entries durable before it returns. `operations` are what they mean for the operation log, `after` is the
    /// registry with the entries applied. Heartbeats written behind go this way too, once a second at most.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::Encode`]: nothing was written, and the store goes on. [`Error::Failed`]: the store
    /// has failed; its outcome says whether this batch may be there when it is opened again.
    fn append(&mut self, entries: &[Entry], operations: Vec<OperationRecord>, after: &Registry) -> Result<(), Error>;

    /// Whether there is room for changes that can wait. While checkpoints fail the journal fills up; what is left of it then
    /// is for changes that end or complete what was begun. May wait for a checkpoint that is under way.
    fn has_room(&self) -> bool {
        true
    }

    /// Checkpoints everything, so that the next start has nothing to replay. At the end of the daemon's life.
    ///
    /// # Errors
    /// The checkpoint failed. Nothing acknowledged is lost by that: the journal has it.
    fn close(self: Box<Self>, after: &Registry) -> Result<(), Error>;
}

/// The reading side of the operation log. Readers never wait for the writer, nor it for them.
pub trait OperationLog: Send + Sync + 'static {
    /// The newest `limit` operations that match, oldest first.
    ///
    /// # Errors
    /// The log could not be read, or the store is closed.
    fn newest(&self, filter: &Filter, limit: usize) -> Result<Page, Error>;

    /// The first `limit` operations that match of those after revision `after`, oldest first.
    ///
    /// # Errors
    /// The log could not be read, or the store is closed.
    fn after(&self, filter: &Filter, after: u64, limit: usize) -> Result<Page, Error>;

    /// The same as [`Self::after`] of what is in memory, at once: neither a disk nor the writer is waited for, and it can be
    /// asked when the store is closed. None where `after` lies before that. Looks at some thousand operations at most; what
    /// it says of the oldest is only that of the memory.
    fn recent(&self, filter: &Filter, after: u64, limit: usize) -> Option<Page>;

    /// The first revisions of the parts that could not be read, of those that anybody has asked for. Their operations are in
    /// no page.
    fn unreadable(&self) -> Vec<u64>;
}

/// Which operations to read; what is not given matches every operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those of this repository.
    pub repo: Option<RepoId>,
    /// Only those of this thread.
    pub thread: Option<ThreadName>,
    /// Only those of this session.
    pub session: Option<SessionId>,
}

impl Filter {
    fn matches(&self, operation: &OperationRecord) -> bool {
        self.repo.is_none_or(|repo| operation.repo == Some(repo))
            && self.session.is_none_or(|session| operation.session == Some(session))
            && self.thread.as_ref().is_none_or(|thread| operation.thread.as_ref() == Some(thread))
    }
}

/// A part of the operation log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// What matched, oldest first.
    pub operations: Vec<Arc<OperationRecord>>,
    /// The oldest revision that the log still has; one more than the newest when it has none.
    pub oldest: u64,
    /// The newest revision looked at: reading on after it misses nothing.
    pub newest_seen: u64,
    /// Whether everything was looked at, or the limit was reached. Else the work was cut off: for `after`, read on after
    /// `newest_seen`.
    pub complete: bool,
}

/// What the store does beside its answers.
#[derive(Debug, Default)]
pub struct Stats {
    /// Appends that had to wait for a checkpoint to free a segment.
    pub stalls: AtomicU64,
    /// Checkpoints made.
    pub checkpoints: AtomicU64,
}

/// A kind of record in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the record of that name")]
pub enum Tree {
    Meta,
    Repos,
    Sessions,
    Threads,
    Operations,
}

/// A record that could not be read. It was put aside, and the others work.
#[derive(Debug)]
pub struct Quarantined {
    /// What it was.
    pub tree: Tree,
    /// Its key.
    pub key: Vec<u8>,
    /// What is wrong with it.
    pub why: Damage,
}

impl std::fmt::Display for Quarantined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}: {}", self.tree, data_encoding::HEXLOWER.encode(&self.key), self.why)
    }
}

/// An open store and what was in it.
pub struct Opened {
    /// Names this state for ever: drawn at its first start.
    pub id: u128,
    /// The writing side.
    pub store: Box<dyn Store>,
    /// The reading side of the operation log.
    pub log: Arc<dyn OperationLog>,
    /// Everything acknowledged.
    pub registry: Registry,
    /// What could not be read.
    pub quarantined: Vec<Quarantined>,
    /// What the store does.
    pub stats: Arc<Stats>,
    /// How the store is.
    pub condition: Arc<Condition>,
    /// The token after which the next one may be granted, whatever was lost of the journal: see [`Opened::raise_fencing`].
    pub fencing_floor: u64,
}

impl Opened {
    /// Makes the fencing tokens go on above every one that may have been granted. Must be called before any is granted: after a
    /// stop that was not clean, the end of the journal may be lost. Writes nothing, so that a full disk stops no start: the
    /// ceiling is on the disk, and the next grant's own entry has its token.
    pub fn raise_fencing(&mut self, now: Timestamp) {
        if self.fencing_floor > self.registry.counters().fencing {
            let to = FencingToken(self.fencing_floor);
            let entry = self.registry.entry(now, Change::FencingRaised { to });
            self.registry.apply(&entry);
        }
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("id", &self.id).field("sizes", &self.registry.sizes()).finish_non_exhaustive()
    }
}

/// How a store is laid out and how it reaches the disk.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many journal segments a new state gets, 2 at least.
    pub segments: u32,
    /// How many bytes a segment of a new state has, 64 KiB at least.
    pub segment_bytes: u32,
    /// How many bytes of the database are kept in memory.
    pub cache_bytes: u64,
    /// How long after its failure a checkpoint is tried again, in milliseconds; longer each time.
    pub retry_ms: u64,
    /// How long another's lock on the database is waited for, in milliseconds.
    pub lock_wait_ms: u64,
    /// The disk.
    pub disk: Arc<dyn Disk>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segments: 3,
            segment_bytes: 16 << 20,
            cache_bytes: 4 << 20,
            retry_ms: 1000,
            lock_wait_ms: 5000,
            disk: Arc::new(RealDisk),
        }
    }
}

/// Opens the state in that directory, which must exist; makes a new one where there is none.
///
/// # Errors
/// [`Error::Damaged`], [`Error::NewerFormat`], [`Error::Locked`]: the state is left as it was, byte for byte. Others: it
/// could not be read or written.
pub fn open(state_dir: &Path, options: &Options) -> Result<Opened, Error> {
    checkpoint::task::guarded(|| open::open(state_dir, options))
}
