//! Opens a state: looks first, changes nothing until all of it is found good (S3), then replays the journal.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::ceiling::{self, Ceiling};
use super::checkpoint::base::{self, Base};
use super::checkpoint::tables::{Loaded, Meta, Tables};
use super::checkpoint::task::{Job, Task};
use super::condition::Condition;
use super::journal::recover::{Recovered, recover};
use super::journal::segment::{Header, Segment};
use super::layout::Layout;
use super::location::{Location, Watch};
use super::oplog::Log;
use super::writer::{Parts, Pool, Writer};
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
    let ceiling = ceiling::read(&layout, base.meta().id())?;
    if ceiling.is_none() && recovered.has_ceiling {
        return Err(layout.damaged(&layout.ceiling, Damage::Missing));
    }
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
    start(layout, options, lock, (tables, meta, done), (recovered, loaded.bad, ceiling))
}

/// Opens and reads the database. A panic within it counts as damage.
pub(super) fn load(layout: &Layout, options: &Options) -> Result<(Tables, Loaded), Error> {
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
    for path in [&layout.journal, &layout.ceiling, &layout.database, &layout.base, &layout.old_base] {
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
    Ceiling::create(layout, id, 0)?;
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
        let length = options.segment_bytes.max(64 << 10);
        let header = Header { state: id, generation: u64::from(number) + 1, epoch: getrandom::u64()?, count, length };
        Segment::create(&Segment::path(&layout.journal, number), &header)?;
    }
    Ok(())
}

/// Replays the journal, and starts the thread that makes checkpoints.
fn start(
    layout: Layout,
    options: &Options,
    lock: Flock<File>,
    (tables, meta, done): (Tables, Meta, Registry),
    (recovered, quarantined, ceiling): (Recovered, Vec<Quarantined>, Option<u64>),
) -> Result<Opened, Error> {
    let id = meta.id();
    let log = Arc::new(Log::new(meta.counters.revision, tables.blocks().clone()));
    let mut registry = done.clone();
    for entry in recovered.batches.iter().flatten() {
        registry.apply(entry);
        log.push(registry.operation(entry).into_iter().collect());
    }
    let granted = registry.counters().fencing;
    let ceiling = match ceiling.filter(|ceiling| *ceiling > granted) {
        Some(ceiling) => ceiling,
        // Of version 0.1.0, or version 0.1.0 has worked here since: it granted tokens that nothing but the journal has.
        None => Ceiling::create(&layout, id, granted)?,
    };
    let ceiling = Ceiling::open(&layout, id, ceiling)?;
    let numbers = 0..recovered.count;
    let segments: Vec<_> = numbers
        .clone()
        .map(|number| Segment::open(Segment::path(&layout.journal, number)))
        .collect::<Result<_, _>>()?;
    recovered.settle(&*options.disk, &segments)?;
    let free: Vec<u32> = numbers.filter(|number| !recovered.live.contains(number)).collect();
    let (segments, pool, stats) = (Arc::new(segments), Arc::new(Pool::default()), Arc::new(Stats::default()));
    let condition = Arc::new(Condition::default());
    let files = segments.iter().map(|segment| (segment.path.as_path(), &segment.file));
    let files = files.chain([(layout.format.as_path(), &*lock), (layout.ceiling.as_path(), ceiling.file())]);
    let location = Arc::new(Location::of(files).map_err(Error::io("look at", &layout.state))?);
    let watch = Watch::start(&layout.state, Arc::clone(&location), Arc::clone(&condition));
    let watch = watch.map_err(Error::io("start a thread for", &layout.state))?;
    let (jobs, orders) = mpsc::channel();
    let task = Task {
        layout: layout.clone(),
        options: options.clone(),
        tables: Some(tables),
        log: Arc::clone(&log),
        pool: Arc::clone(&pool),
        segments: Arc::clone(&segments),
        location: Arc::clone(&location),
        condition: Arc::clone(&condition),
        generation: recovered.generation,
        done,
        meta,
        stats: Arc::clone(&stats),
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
    let (disk, fencing_floor) = (Arc::clone(&options.disk), ceiling.floor());
    let parts = Parts {
        segments,
        disk,
        pool,
        log: Arc::clone(&log),
        stats: Arc::clone(&stats),
        ceiling,
        location,
        condition: Arc::clone(&condition),
        watch,
        layout,
        _lock: lock,
    };
    let store = Box::new(Writer::new(parts, (jobs, thread), (sequence, registry.clone())));
    Ok(Opened { id, store, log, registry, quarantined, stats, condition, fencing_floor })
}
