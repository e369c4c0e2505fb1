//! Looks at every part of an unpacked image: whether a daemon could open it, and whether what it says is true.
//!
//! May not: be given a state that anybody uses. The database is opened on a copy in the image's own directory, and writes
//! to that.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::checkpoint::base::Base;
use super::checkpoint::tables::{Loaded, Tables};
use super::disk::RealDisk;
use super::layout::Layout;
use super::{Damage, Error, image};
use crate::registry::{Change, Counters, Entry, Records, Registry};

/// How much of the database is kept in memory.
const CACHE: u64 = 4 << 20;

/// The most problems that are told one by one.
const TOLD: usize = 100;

/// What was found in an image.
#[derive(Debug)]
pub struct Examined {
    /// Names the state for ever.
    pub id: u128,
    /// The registry, with every batch.
    pub registry: Registry,
    /// How many operations its log has.
    pub operations: u64,
    /// The revision of the oldest one.
    pub oldest: Option<u64>,
    /// The batches that the base lacks.
    pub batches: Vec<Vec<Entry>>,
    /// What is wrong: each is something that was acknowledged and cannot be read, or contradicts something else.
    pub problems: Vec<String>,
    /// What is right, and yet worth knowing.
    pub notes: Vec<String>,
}

/// Examines an unpacked image.
///
/// # Errors
/// [`Error::Damaged`]: no daemon could open it. Others: it cannot be read, or its copy not be written.
pub fn examine(directory: &Path) -> Result<Examined, Error> {
    let layout = Layout::new(directory);
    let base = Base::find(&layout)?;
    base.verify(&layout)?;
    let batches = image::read_batches(&layout, base.meta().applied)?;
    Base::restore(&layout, &RealDisk)?;
    let mut log = Log::default();
    let read = catch_unwind(AssertUnwindSafe(|| read(&layout.database, &mut log)));
    let loaded = read.unwrap_or(Err(Damage::Panicked)).map_err(|why| layout.damaged(&layout.database, why))?;
    base.check(&layout, &loaded)?;
    let counters = base.meta().counters;
    log.passes_over(counters.revision + 1);
    for bad in &loaded.bad {
        log.problems.push(format!("a record cannot be read: {bad}"));
    }
    contradictions(&loaded.records, counters, &mut log.problems);
    let mut registry = Registry::restore(loaded.records);
    batches.iter().flatten().for_each(|entry| apply(&mut registry, entry, &mut log));
    let rebuilt = Registry::restore(records(&registry));
    if rebuilt != registry {
        log.problems.push("the indexes of the registry do not agree with its records".to_owned());
    }
    contradictions(&records(&registry), registry.counters(), &mut log.problems);
    log.problems.truncate(TOLD);
    let Log { operations, oldest, problems, notes, .. } = log;
    Ok(Examined { id: base.meta().id(), registry, operations, oldest, batches, problems, notes })
}

/// What is found of the operation log, and everything that is to be told.
#[derive(Default)]
struct Log {
    operations: u64,
    oldest: Option<u64>,
    newest: Option<u64>,
    problems: Vec<String>,
    notes: Vec<String>,
}

impl Log {
    fn takes(&mut self, revision: u64) {
        if self.newest.is_some_and(|newest| newest >= revision) {
            self.problems.push(format!("operation {revision} is in the log twice, or out of order"));
        }
        self.passes_over(revision);
        self.oldest.get_or_insert(revision);
        self.newest = Some(revision);
        self.operations += 1;
    }

    /// A restore goes on at a higher revision, so that nobody takes a new operation for one that was seen before. Else there
    /// is no gap: what is missing by damage is found by its checksum.
    fn passes_over(&mut self, next: u64) {
        if let Some(newest) = self.newest.filter(|newest| newest + 1 < next) {
            self.notes.push(format!("a restore went on from revision {newest} with {next}"));
        }
    }
}

/// Reads the database, and every operation in it.
fn read(database: &Path, log: &mut Log) -> Result<Loaded, Damage> {
    let tables = Tables::open(database, CACHE).map_err(Damage::Database)?;
    let loaded = tables.load()?;
    let blocks = tables.blocks();
    for block in blocks.before(u64::MAX) {
        let first = block.as_ref().ok().and_then(|(key, _)| <[u8; 8]>::try_from(&**key).ok()).map(u64::from_be_bytes);
        match blocks.open(block).map_err(|_| Damage::Packed)? {
            Some(operations) => operations.iter().for_each(|operation| log.takes(operation.revision)),
            None => {
                let first = first.unwrap_or_default();
                log.problems.push(format!("the operations from {first} on cannot be read, 128 at most"));
            }
        }
    }
    let aside = tables.set_aside();
    if aside > 0 {
        log.notes.push(format!("{aside} records that could not be read were set aside before"));
    }
    Ok(loaded)
}

/// Applies what the journal has, and looks whether the revisions go on as they must.
fn apply(registry: &mut Registry, entry: &Entry, log: &mut Log) {
    let before = registry.revision();
    let is_operation = entry.change.is_operation();
    let goes_on = if matches!(entry.change, Change::FencingRaised { .. }) {
        entry.revision >= before
    } else {
        entry.revision == before + u64::from(is_operation)
    };
    if !goes_on {
        log.problems.push(format!("the journal goes on from revision {before} with {}", entry.revision));
    }
    if is_operation {
        log.takes(entry.revision);
    }
    registry.apply(entry);
}

fn records(registry: &Registry) -> Records {
    let repos: Vec<_> = registry.repos().cloned().collect();
    let threads = repos.iter().flat_map(|repo| registry.threads_of(repo.id, None)).cloned().collect();
    Records { counters: registry.counters(), repos, sessions: registry.sessions(None).cloned().collect(), threads }
}

/// Looks for records that cannot all be true.
fn contradictions(records: &Records, counters: Counters, problems: &mut Vec<String>) {
    let repos: BTreeSet<_> = records.repos.iter().map(|repo| repo.id).collect();
    let (mut ids, mut held) = (BTreeSet::new(), BTreeSet::new());
    for session in &records.sessions {
        let (id, token) = (session.id, session.fencing_token.0);
        if token > counters.fencing {
            problems.push(format!("{id} has fencing token {token}, and {} counts as the last one", counters.fencing));
        }
        if session.thread_id > counters.thread {
            problems
                .push(format!("{id} has thread {}, and {} counts as the last one", session.thread_id, counters.thread));
        }
        if !repos.contains(&session.repo) {
            problems.push(format!("{id} is of the unknown repository {}", session.repo.0));
        }
        if !ids.insert(id) {
            problems.push(format!("{id} is there twice"));
        }
        if session.is_active() && !held.insert(session.thread_key()) {
            problems.push(format!("thread '{}' is held twice, by {id} and another", session.thread));
        }
    }
    if counters.fencing >= 1 << 53 {
        problems.push(format!("{} counts as the last fencing token, and there is none from 2^53 on", counters.fencing));
    }
    for thread in &records.threads {
        let name = &thread.thread;
        if thread.id > counters.thread || thread.revision > counters.revision {
            problems.push(format!("thread '{name}' is newer than the registry says that anything is"));
        }
        if !repos.contains(&thread.repo) {
            problems.push(format!("thread '{name}' is of the unknown repository {}", thread.repo.0));
        }
    }
    if records.repos.iter().any(|repo| repo.id.0 > counters.repo) {
        problems.push(format!("a repository is newer than {}, which counts as the last one", counters.repo));
    }
}
