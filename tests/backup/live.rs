//! A backup is consistent while the daemon works: it has every change that was acknowledged before it was begun, and the
//! operation log in it is how the daemon's own begins.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use heddled::store::{self, Filter, Options};
use parking_lot::{Mutex, RwLock};
use proto_schema::{OperationKind, SessionId, SessionStatus};
use serde_json::{Value, json};

use crate::run::{ok, ok_at, word};
use crate::support::{Client, Place, Stopwatch, eventually};

const CLIENTS: usize = 16;
/// Registries, one after the other, so that no log becomes long, and backups of each: 20 in all.
const WORLDS: usize = 4;
const BACKUPS: usize = 5;

/// What a client was told.
#[derive(Clone, Debug)]
enum Told {
    Granted(SessionId),
    Released(SessionId),
}

/// Reserves and releases at full speed while the gate is open, until it is told that it is enough.
fn work(
    client: &mut Client,
    repo: &str,
    number: usize,
    told: &Mutex<Vec<Told>>,
    (gate, over): (&RwLock<()>, &AtomicBool),
) {
    let thread = format!("own/{number}");
    while !over.load(Ordering::Relaxed) {
        let _open = gate.read();
        let mine = client.reserve(repo, &thread);
        let session: SessionId = mine["session_id"].as_str().unwrap().parse().unwrap();
        told.lock().push(Told::Granted(session));
        client.release(&mine);
        told.lock().push(Told::Released(session));
    }
}

type Log = Vec<(u64, OperationKind, Option<SessionId>)>;

/// Opens a state that was restored and gives its registry and its log.
fn opened(state: &Path) -> (heddled::registry::Registry, Log) {
    let opened = store::open(state, &Options::default()).unwrap();
    let (mut log, mut after) = (Vec::new(), 0);
    loop {
        let page = opened.log.after(&Filter::default(), after, 10_000).unwrap();
        log.extend(page.operations.iter().map(|one| (one.revision, one.kind, one.session)));
        if page.newest_seen == after {
            return (opened.registry, log);
        }
        after = page.newest_seen;
    }
}

/// The daemon's own log, whole.
fn own_log(client: &mut Client) -> HashMap<u64, Value> {
    let (mut log, mut after) = (HashMap::new(), 0);
    loop {
        let page = client.ok("oplog.list", &json!({"after": after, "limit": 1000}));
        let operations = page["operations"].as_array().unwrap();
        let Some(last) = operations.last() else { return log };
        after = last["revision"].as_u64().unwrap();
        log.extend(operations.iter().map(|one| (one["revision"].as_u64().unwrap(), one.clone())));
    }
}

/// One backup at full load, restored elsewhere: what it must have, and how its log goes.
fn one(place: &Place, number: usize, told: &Mutex<Vec<Told>>, gate: &RwLock<()>) -> Log {
    let file = place.root.join(format!("b{number}"));
    let known = told.lock().len();
    eventually("there is load", || (told.lock().len() >= known + CLIENTS).then_some(()));
    let before = told.lock().clone();
    let made = ok(place, &["backup", word(&file)]);
    // What follows has to be fast, not loaded.
    let _closed = gate.write();
    assert_eq!((&made["problems"], &made["notes"]), (&json!([]), &json!([])), "{made}");
    let data = std::fs::metadata(&file).unwrap();
    assert_eq!((data.permissions().mode() & 0o777, made["bytes"].as_u64()), (0o600, Some(data.len())));

    let elsewhere = place.root.join(format!("state{number}"));
    let restored = ok_at(place, &elsewhere, &["restore", word(&file)]);
    assert_eq!(ok_at(place, &elsewhere, &["verify"])["ok"], true);
    let (registry, mut log) = opened(&elsewhere);
    for what in &before {
        match what {
            Told::Granted(session) => assert!(registry.session(*session).is_some(), "{session} was granted before"),
            Told::Released(session) => {
                let status = registry.session(*session).map(|session| session.status);
                assert_eq!(status, Some(SessionStatus::Complete), "{session} was released before");
            }
        }
    }
    let revision = made["content"]["revision"].as_u64().unwrap();
    let ended = log.split_off(log.iter().position(|(at, _, _)| *at > revision).unwrap_or(log.len()));
    assert!(log.iter().map(|(at, _, _)| *at).eq(1..=revision), "I2: no operation is missing");
    assert_eq!(restored["ended"].as_array().unwrap().len(), ended.len());
    assert!(ended.iter().all(|(_, kind, _)| *kind == OperationKind::Evicted), "{ended:?}");
    assert_eq!(registry.active_count(), 0, "T2: nobody knows what has become of them");
    assert!(registry.counters().fencing > made["content"]["fencing_token"].as_u64().unwrap(), "T1");
    std::fs::remove_dir_all(elsewhere).unwrap();
    log
}

#[test]
fn i1_i2_backups_made_at_full_load_have_all_that_was_acknowledged_and_are_how_the_log_begins() {
    (0..WORLDS).for_each(|_| world());
}

fn world() {
    let place = Place::new();
    let daemon = place.start();
    let (repo, watch) = (place.repo("r"), Stopwatch::start());
    let (told, gate, over) = (Mutex::new(Vec::new()), RwLock::new(()), AtomicBool::new(false));
    let logs = std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (mut client, told, gate, repo) = (daemon.client(), &told, (&gate, &over), &repo);
            scope.spawn(move || work(&mut client, repo.at(), number, told, gate));
        }
        let logs = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            (0..BACKUPS).map(|number| one(&place, number, &told, &gate)).collect::<Vec<_>>()
        }));
        over.store(true, Ordering::Relaxed);
        logs.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let own = own_log(&mut daemon.client());
    for log in &logs {
        for (revision, kind, session) in log {
            let there = &own[revision];
            assert_eq!(there["kind"], serde_json::to_value(kind).unwrap(), "I2: revision {revision}");
            assert_eq!(there["session_id"], serde_json::to_value(session).unwrap(), "I2: revision {revision}");
        }
    }
    let lengths: Vec<_> = logs.iter().map(Vec::len).collect();
    assert!(lengths.is_sorted() && lengths[0] < lengths[BACKUPS - 1], "there was load meanwhile: {lengths:?}");
    eprintln!("{BACKUPS} backups in {:?}, of {lengths:?} operations", watch.elapsed());
}
