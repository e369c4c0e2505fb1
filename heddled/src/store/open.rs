//! Opens a state: looks first, changes nothing until all of it is found good (S3), then replays the journal.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::checkpoint::base::{self, Base};
use super::checkpoint::tables::{Loaded, Meta, Tables};
use super::checkpoint::task::{Job, Task};
use super::journal::recover::{Recovered, recover};
use super::journal::segment::{Header, Segment};
use super::layout::Layout;
use super::oplog::Log;
use super::writer::{Pool, Writer};
use super::{Damage, Error, Opened, Options, Quarantined, Stats, replace};
use crate::registry::{Counters, Registry};

/// How long apart another's lock on the database is tried, in milliseconds.
const LOCK_PAUSE_MS: u64 = 10;

pub(super) fn open(state_dir: &Path, options: &Options) -> Result<Opened, Error> {
    let layout = Layout::new(state_dir);
    replace::finish(&layout, &*options.disk)?;
    if layout.format()?.is_none() {
        create(&layout, options)?;
    }
    // While another process writes, what is seen here would look like damage.
    let file = File::open(&layout.format).map_err(Error::io("open", &layout.format))?;
    let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
        return Err(Error::Locked { path: layout.format });
    };
    let journal = &layout.journal;
    if !journal.try_exists().map_err(Error::io("look at", journal))? {
        return Err(layout.damaged(journal, Damage::Missing));
    }
    let base = Base::find(&layout)?;
    let in_use = base.is_in_use(&layout)?;
    if !in_use {
        base.verify(&layout)?;
    }
    let recovered = recover(&layout, base.meta().id(), base.meta().applied)?;
    // All of it is good. From here on things are changed.
    base.settle(&layout, &*options.disk)?;
    // Of a restore that was cut off before it counted.
    options.disk.remove_all(&layout.restore).map_err(Error::io("remove", &layout.restore))?;
    if !in_use {
        Base::restore(&layout, &*options.disk)?;
    }
    let (tables, loaded) = load(&layout, options)?;
    base.check(&layout, &loaded)?;
    let (done, mut meta) = (Registry::restore(loaded.records), loaded.meta);
    if !loaded.bad.is_empty() {
        tables.put_aside(&loaded.bad)?;
        // R2: the key that said which fencing token was granted is gone from there; from here on the counter says it.
        meta = Meta::new(meta.id(), meta.applied, done.counters());
        tables.finish(&meta)?;
        tables.flush()?;
        base::renew(&layout, &*options.disk, &meta, &done)?;
    }
    start(layout, options, lock, (tables, meta, done), (recovered, loaded.bad))
}

/// Opens and reads the database. A panic within it counts as damage.
fn load(layout: &Layout, options: &Options) -> Result<(Tables, Loaded), Error> {
    let (path, cache) = (&layout.database, options.cache_bytes);
    await_release(&path.join("db"), options.lock_wait_ms)?;
    let read = catch_unwind(AssertUnwindSafe(|| {
        let tables = Tables::open(path, cache).map_err(Damage::Database)?;
        let loaded = tables.load()?;
        Ok((tables, loaded))
    }));
    match read.unwrap_or(Err(Damage::Panicked)) {
        // A full disk or a missing permission is no damage; what the database itself finds wrong has no number of the
        // system's.
        Err(Damage::Database(source)) if matches!(&source, sled::Error::Io(error) if error.raw_os_error().is_some()) => {
            Err(Error::Checkpoint { operation: "open", path: path.clone(), source })
        }
        read => read.map_err(|why| layout.damaged(path, why)),
    }
}

/// Waits until nobody has the database's own lock: threads of an instance that this process just dropped may, for a moment.
fn await_release(path: &Path, wait_ms: u64) -> Result<(), Error> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    for _ in 0..=wait_ms / LOCK_PAUSE_MS {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_released) => return Ok(()),
            Err((held, Errno::EWOULDBLOCK)) => file = held,
            Err((_, errno)) => return Err(Error::io("lock", path)(errno.into())),
        }
        thread::park_timeout(Duration::from_millis(LOCK_PAUSE_MS));
    }
    Err(Error::Locked { path: path.to_owned() })
}

/// Makes a new state. What an earlier first start left unfinished was never acknowledged, and is made anew.
fn create(layout: &Layout, options: &Options) -> Result<(), Error> {
    let unfinished = layout.unfinished.try_exists().map_err(Error::io("look at", &layout.unfinished))?;
    for path in [&layout.journal, &layout.database, &layout.base, &layout.old_base] {
        if !unfinished && path.try_exists().map_err(Error::io("look at", path))? {
            return Err(layout.damaged(path, Damage::WithoutFormat));
        }
    }
    layout.begin()?;
    for leftover in [&layout.journal, &layout.database, &layout.base, &layout.old_base, &layout.new_base] {
        options.disk.remove_all(leftover).map_err(Error::io("remove", leftover))?;
    }
    let id = u128::from(getrandom::u64()?) << 64 | u128::from(getrandom::u64()?);
    make_journal(layout, options, id)?;
    let database = &layout.database;
    let tables = Tables::open(database, options.cache_bytes).map_err(Error::checkpoint("make", database))?;
    let meta = Meta::new(id, 0, Counters::default());
    tables.finish(&meta)?;
    tables.flush()?;
    base::renew(layout, &*options.disk, &meta, &Registry::default())?;
    drop(tables);
    layout.finish()
}

/// Makes a journal that has nothing yet.
pub(super) fn make_journal(layout: &Layout, options: &Options, id: u128) -> Result<(), Error> {
    fs::create_dir(&layout.journal).map_err(Error::io("make", &layout.journal))?;
    let count = options.segments.max(2);
    for number in 0..count {
        let header = Header { state: id, generation: u64::from(number) + 1, epoch: getrandom::u64()?, count };
        let length = options.segment_bytes.max(64 << 10);
        Segment::create(&Segment::path(&layout.journal, number), length, &header)?;
    }
    Ok(())
}

/// Replays the journal, and starts the thread that makes checkpoints.
fn start(
    layout: Layout,
    options: &Options,
    lock: Flock<File>,
    (tables, meta, done): (Tables, Meta, Registry),
    (recovered, quarantined): (Recovered, Vec<Quarantined>),
) -> Result<Opened, Error> {
    let id = meta.id();
    let log = Arc::new(Log::new(meta.counters.revision, tables.blocks().clone()));
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
        meta,
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
        lock,
    );
    Ok(Opened { id, store: Box::new(store), log, registry, quarantined, stats })
}
