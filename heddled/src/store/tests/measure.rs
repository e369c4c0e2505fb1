//! Prints figures. Run by hand, in release, on a quiet machine:
//! `cargo test --release -p heddled --lib store::tests::measure -- --ignored --nocapture --test-threads 1`.

#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::{Filter, Options, open};
use super::damage::copy;
use super::history::History;

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("0 0");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How often something can be done in a slice of time.
fn rate(mut act: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_millis(300) {
        act();
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement"]
fn appends_against_the_bare_disk() {
    let place = tempfile::tempdir().unwrap();
    let mut opened = open(place.path(), &Options::default()).unwrap();
    let path = place.path().join("bare");
    fs::write(&path, vec![0; 8 << 20]).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.sync_all().unwrap();
    let mut history = History::default();
    let (mut bare, mut ours, mut big) = (Vec::new(), Vec::new(), Vec::new());
    let mut offset = 0;
    for round in 0..9 {
        bare.push(rate(|| {
            file.write_all_at(&[7; 400], offset).unwrap();
            file.sync_data().unwrap();
            offset = (offset + 400) % (8 << 20);
        }));
        let mut seed = round * 1_000_000;
        ours.push(rate(|| {
            seed += 1;
            history.steps(1, seed);
            history.commit(&mut opened).unwrap();
        }));
        big.push(rate(|| {
            seed += 1;
            history.steps(64, seed);
            history.commit(&mut opened).unwrap();
        }));
    }
    println!(
        "bare 400 bytes {:.0}/s, append of 1 entry {:.0}/s, of 64 {:.0}/s; {} checkpoints, {} stalls",
        median(bare),
        median(ours),
        median(big),
        opened.stats.checkpoints.load(Ordering::Relaxed),
        opened.stats.stalls.load(Ordering::Relaxed)
    );
}

#[test]
#[ignore = "a measurement"]
fn opening_ten_thousand_sessions_and_a_hundred_thousand_operations() {
    let place = tempfile::tempdir().unwrap();
    let mut opened = open(place.path(), &Options::default()).unwrap();
    let mut history = History::default();
    println!("a new state takes {:?}", {
        let place = tempfile::tempdir().unwrap();
        let start = Instant::now();
        drop(open(place.path(), &Options::default()).unwrap());
        start.elapsed()
    });
    for number in 0..10_000u32 {
        let repo = crate::registry::RepoId(1 + number % 2);
        history.reserve(repo, format!("work/{number}").parse().unwrap(), 1);
        for value in 0..9 {
            history.step(7, 0, u8::from(value == 300));
        }
        if number % 10 == 9 {
            history.commit(&mut opened).unwrap();
        }
    }
    let crashed = copy(place.path());
    opened.store.close(&history.registry).unwrap();
    drop(opened.log);
    println!("{:?} records, revision {}", history.registry.sizes(), history.registry.revision());
    let registry = history.registry.clone();
    drop(history);
    for (what, path) in [("after a clean close", place.path()), ("after a crash", crashed.path())] {
        for _ in 0..3 {
            let image = copy(path);
            let before = resident_kib();
            let start = Instant::now();
            let opened = open(image.path(), &Options::default()).unwrap();
            let took = start.elapsed();
            let page = opened.log.newest(&Filter::default(), 100).unwrap();
            let read = start.elapsed() - took;
            assert_eq!(opened.registry, registry);
            println!(
                "{what}: open {took:?}, newest {} operations {read:?}, memory +{} KiB, {} KiB in all",
                page.operations.len(),
                resident_kib().saturating_sub(before),
                resident_kib()
            );
        }
    }
    let database: u64 =
        fs::read_dir(place.path().join("db")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    println!("the database has {database} bytes");
}
