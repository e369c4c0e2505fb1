//! Opens a state: looks first, changes nothing until all of it is found good (S3), then replays the journal.

use std::fs;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use nix::fcntl::{Flock, FlockArg};

use super::checkpoint::tables::{Loaded, Meta, Tables};
use super::checkpoint::task::{Job, Task};
use super::checkpoint::verify;
use super::disk;
use super::journal::recover::{Recovered, recover};
use super::journal::segment::{FRAMES, Header, Segment};
use super::layout::{Layout, Mark, fingerprint};
use super::oplog::Log;
use super::writer::{Pool, Writer};
use super::{Damage, Error, Opened, Options, Stats};
use crate::registry::{Counters, Registry};

pub(super) fn open(state_dir: &Path, options: &Options) -> Result<Opened, Error> {
    let layout = Layout::new(state_dir);
    if layout.format()?.is_none() {
        create(&layout, options)?;
    }
    let (recovered, expected) = look(&layout, options)?;
    let (tables, mut loaded) = verify::load(&layout, &layout.database, options.cache_bytes)?;
    if loaded.meta != expected.meta {
        let (found, recorded) = (loaded.meta.applied, expected.meta.applied);
        return Err(layout.damaged(&layout.database, Damage::Behind { found, recorded }));
    }
    // The copy was looked at more closely.
    if !expected.bad.is_empty() {
        loaded.bad = expected.bad;
    }
    if !loaded.bad.is_empty() {
        // First, for the records are missing from the count as soon as they are put aside.
        Mark::new(&loaded.meta, &Registry::restore(loaded.records.clone()), Vec::new()).write(&layout)?;
        tables.put_aside(&loaded.bad)?;
        tables.flush()?;
        options.disk.sync_database(&layout.database).map_err(Error::io("sync", &layout.database))?;
    }
    start(layout, options, tables, loaded, recovered)
}

/// What a look at the state tells before anything of it is opened for writing.
struct Expected {
    meta: Meta,
    bad: Vec<super::Quarantined>,
}

fn look(layout: &Layout, options: &Options) -> Result<(Recovered, Expected), Error> {
    let file = layout.database.join("db");
    for path in [&layout.database, &file, &layout.journal] {
        if !path.try_exists().map_err(Error::io("look at", path))? {
            return Err(layout.damaged(path, Damage::Missing));
        }
    }
    // While another process writes, what is seen here would look like damage.
    let locked = fs::File::open(&file).map_err(Error::io("open", &file))?;
    let Ok(_lock) = Flock::lock(locked, FlockArg::LockExclusiveNonblock) else {
        return Err(Error::Locked { path: file });
    };
    let mark = Mark::read(layout)?;
    let expected = if !mark.files.is_empty() && fingerprint(&layout.database)? == mark.files {
        Expected { meta: mark.meta, bad: Vec::new() }
    } else {
        let Loaded { meta, bad, .. } = verify::verify(layout, &mark, options.cache_bytes)?;
        Expected { meta, bad }
    };
    let (id, applied) = (expected.meta.id(), expected.meta.applied);
    if id != mark.meta.id() {
        return Err(layout.damaged(&layout.database, Damage::Foreign));
    }
    Ok((recover(layout, id, applied)?, expected))
}

/// Makes a new state. What an earlier first start left unfinished was never acknowledged, and is made anew.
fn create(layout: &Layout, options: &Options) -> Result<(), Error> {
    let unfinished = layout.unfinished.try_exists().map_err(Error::io("look at", &layout.unfinished))?;
    for path in [&layout.journal, &layout.database, &layout.mark] {
        if !unfinished && path.try_exists().map_err(Error::io("look at", path))? {
            return Err(layout.damaged(path, Damage::WithoutFormat));
        }
    }
    layout.begin()?;
    verify::remove(&layout.journal)?;
    verify::remove(&layout.database)?;
    let id = u128::from(getrandom::u64()?) << 64 | u128::from(getrandom::u64()?);
    fs::create_dir(&layout.journal).map_err(Error::io("make", &layout.journal))?;
    let count = options.segments.max(2);
    for number in 0..count {
        let header = Header { state: id, generation: u64::from(number) + 1, epoch: getrandom::u64()?, count };
        let length = options.segment_bytes.max(64 << 10);
        Segment::create(&Segment::path(&layout.journal, number), length, &header)?;
    }
    let database = &layout.database;
    let tables = Tables::open(database, options.cache_bytes).map_err(Error::checkpoint("make", database))?;
    let meta = Meta::new(id, 0, Counters::default());
    tables.finish(&meta)?;
    tables.flush()?;
    drop(tables);
    options.disk.sync_database(database).map_err(Error::io("sync", database))?;
    disk::sync_parent(database).map_err(Error::io("sync", database))?;
    Mark::new(&meta, &Registry::default(), fingerprint(database)?).write(layout)?;
    layout.finish()
}

/// Replays the journal, and starts the thread that makes checkpoints.
fn start(
    layout: Layout,
    options: &Options,
    tables: Tables,
    loaded: Loaded,
    recovered: Recovered,
) -> Result<Opened, Error> {
    let id = loaded.meta.id();
    let done = Registry::restore(loaded.records);
    let log = Arc::new(Log::new(loaded.meta.counters.revision, tables.blocks().clone()));
    let mut registry = done.clone();
    for entry in recovered.batches.iter().flatten() {
        registry.apply(entry);
        log.push(registry.operation(entry).into_iter().collect());
    }
    let numbers = 0..recovered.count;
    let segments: Vec<_> = numbers
        .clone()
        .map(|number| Segment::open(Segment::path(&layout.journal, number)))
        .collect::<Result<_, _>>()?;
    if let Some(short) = segments.iter().find(|segment| segment.length <= FRAMES) {
        return Err(layout.damaged(&short.path, Damage::Short));
    }
    recovered.settle(&*options.disk, &segments)?;
    let free: Vec<u32> = numbers.filter(|number| !recovered.live.contains(number)).collect();
    let (segments, pool, stats) = (Arc::new(segments), Arc::new(Pool::default()), Arc::new(Stats::default()));
    let (jobs, orders) = mpsc::channel();
    let task = Task {
        tables,
        disk: Arc::clone(&options.disk),
        log: Arc::clone(&log),
        pool: Arc::clone(&pool),
        segments: Arc::clone(&segments),
        generation: recovered.generation,
        done,
        meta: loaded.meta,
        forgotten: Vec::new(),
        stats: Arc::clone(&stats),
        layout: layout.clone(),
    };
    let thread = thread::Builder::new()
        .name("checkpoint".to_owned())
        .spawn(move || task.run(&free, &orders))
        .map_err(Error::io("start a thread for", &layout.state))?;
    let (sequence, live) = (recovered.sequence, recovered.live);
    if !live.is_empty() {
        // When the thread is gone already, the first append says why.
        let job = Job { sequence, registry: registry.clone(), segments: live, close: false };
        drop(jobs.send(job));
    }
    let disk = Arc::clone(&options.disk);
    let store = Writer::new(
        (segments, disk, pool),
        (Arc::clone(&log), Arc::clone(&stats)),
        (jobs, thread),
        (sequence, registry.clone()),
    );
    Ok(Opened { id, store: Box::new(store), log, registry, quarantined: loaded.bad, stats })
}
