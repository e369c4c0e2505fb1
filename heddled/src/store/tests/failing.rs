//! S2: a disk that fails makes the store fail, until it is opened again; nothing acknowledged is lost.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::super::{Disk, Error, Filter, Opened, Options, Outcome, RealDisk, open};
use super::contract::{read_all, small};
use super::history::History;
use crate::registry::Registry;

#[derive(Debug, Default)]
struct BadDisk(AtomicU8);

const HALF_WRITTEN: u8 = 1;
const NOT_SYNCED: u8 = 2;
const NO_CHECKPOINT: u8 = 3;

impl BadDisk {
    fn is(&self, fault: u8) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) == fault { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

impl Disk for BadDisk {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Err(error) = self.is(HALF_WRITTEN) {
            file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(error);
        }
        RealDisk.write_at(file, bytes, offset)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        self.is(NOT_SYNCED)?;
        RealDisk.sync_data(file)
    }

    fn sync_all(&self, directory: &Path) -> io::Result<()> {
        self.is(NO_CHECKPOINT)?;
        RealDisk.sync_all(directory)
    }
}

fn fill(opened: &mut Opened, history: &mut History, batches: u64) -> Result<(), Box<(Error, Registry)>> {
    for seed in 0..batches {
        let before = history.registry.clone();
        history.steps(12, seed);
        history.commit(opened).map_err(|error| Box::new((error, before)))?;
    }
    Ok(())
}

#[test]
fn a_failed_append_fails_the_store_until_it_is_opened_again() {
    for fault in [HALF_WRITTEN, NOT_SYNCED] {
        let place = tempfile::tempdir().unwrap();
        let disk = Arc::new(BadDisk::default());
        let options = Options { disk: Arc::clone(&disk) as Arc<dyn Disk>, ..small() };
        let mut opened = open(place.path(), &options).unwrap();
        let mut history = History::default();
        fill(&mut opened, &mut history, 20).unwrap();
        disk.0.store(fault, Ordering::Relaxed);
        let (error, before) = *fill(&mut opened, &mut history, 1).unwrap_err();
        assert!(matches!(error, Error::Failed { outcome: Outcome::Unknown, .. }), "{error:?}");
        let unknown = history.registry.clone();
        disk.0.store(0, Ordering::Relaxed);
        let (error, _) = *fill(&mut opened, &mut history, 1).unwrap_err();
        assert!(matches!(error, Error::Failed { outcome: Outcome::NotApplied, .. }), "{error:?}");
        assert!(opened.store.close(&history.registry).is_err());
        let reopened = open(place.path(), &options).unwrap();
        assert!(reopened.registry == before || reopened.registry == unknown);
    }
}

#[test]
fn without_checkpoints_appends_go_on_while_there_are_segments() {
    let place = tempfile::tempdir().unwrap();
    let disk = Arc::new(BadDisk::default());
    let options = Options { disk: Arc::clone(&disk) as Arc<dyn Disk>, ..small() };
    let mut opened = open(place.path(), &options).unwrap();
    let mut history = History::default();
    disk.0.store(NO_CHECKPOINT, Ordering::Relaxed);
    let (error, before) = *fill(&mut opened, &mut history, 10_000).unwrap_err();
    assert!(matches!(error, Error::Failed { outcome: Outcome::NotApplied, .. }), "{error:?}");
    drop(opened);
    disk.0.store(0, Ordering::Relaxed);
    let mut opened = open(place.path(), &options).unwrap();
    assert_eq!(opened.registry, before, "every segment is live, and none is lost");
    let mut history = History::at(opened.registry.clone());
    fill(&mut opened, &mut history, 200).unwrap();
    drop(opened);
    assert_eq!(open(place.path(), &options).unwrap().registry, history.registry);
}

#[test]
fn a_checkpoint_that_failed_is_tried_again_until_it_succeeds() {
    let place = tempfile::tempdir().unwrap();
    let disk = Arc::new(BadDisk::default());
    let options = Options { disk: Arc::clone(&disk) as Arc<dyn Disk>, ..small() };
    let mut opened = open(place.path(), &options).unwrap();
    let mut history = History::default();
    for round in 0..3 {
        disk.0.store(NO_CHECKPOINT, Ordering::Relaxed);
        while opened.store.has_room() {
            fill(&mut opened, &mut history, 1).unwrap();
        }
        let why = opened.condition.checkpoint_failed().unwrap();
        assert!(why.contains("sync"), "the cause is named: {why}");
        fill(&mut opened, &mut history, 1).unwrap();
        assert_eq!(opened.condition.failed(), None, "what cannot wait has room");
        disk.0.store(0, Ordering::Relaxed);
        super::until("the checkpoint succeeds", || opened.condition.checkpoint_failed().is_none());
        super::until("the journal has room", || opened.store.has_room());
        fill(&mut opened, &mut history, 200).unwrap();
        let all: Vec<u64> = (1..=history.registry.revision()).collect();
        assert_eq!(read_all(&opened, &Filter::default(), 300), all, "round {round}: no operation is missing");
    }
    let registry = history.registry;
    opened.store.close(&registry).unwrap();
    assert_eq!(open(place.path(), &options).unwrap().registry, registry);
}

#[test]
fn a_batch_over_the_limit_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let mut opened = open(place.path(), &small()).unwrap();
    let mut history = History::default();
    history.steps(3000, 1);
    let result = history.commit(&mut opened);
    assert!(matches!(result, Err(Error::TooLarge { .. })), "{result:?}");
    let mut history = History::default();
    fill(&mut opened, &mut history, 5).unwrap();
    drop(opened);
    assert_eq!(open(place.path(), &small()).unwrap().registry, history.registry);
}
