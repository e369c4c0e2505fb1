//! The rounds: load, power cut, looks.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use crate::check::{self, Found};
use crate::client::{Client, Round};
use crate::daemon::{DEADLINE, Daemon};
use crate::disk::Disk;
use crate::git::Repository;
use crate::model::Random;

const CLIENTS: usize = 8;
/// How many file systems, one after the other: a first start is cut short on each.
const DISKS: u64 = 4;
/// How many power cuts each of them has.
const CUTS: u64 = 5;
/// In this round of the first one the journal is filled, so that segments are checkpointed and used again.
const FILLING: u64 = 3;

#[test]
fn what_was_acknowledged_is_there_after_a_power_cut() {
    let mut total = Found::default();
    let mut acknowledged = 0;
    for number in 0..DISKS {
        let Some(disk) = Disk::ready() else { return };
        acknowledged += on(disk, number, &mut total);
    }
    let Found { checked, lost, completed, locks } = total;
    let rounds = DISKS * CUTS;
    say(&format!(
        "{rounds} rounds: {acknowledged} acknowledged, {checked} looks, lost: {}, repeated and granted: {completed}, \
         locks left by what was cut off: {locks}",
        lost.len()
    ));
}

fn say(line: &str) {
    // Not `println!`: what a passing test prints is not shown.
    writeln!(std::io::stdout(), "power: {line}").unwrap();
}

/// Several power cuts on one file system. Gives how many changes were acknowledged.
fn on(mut disk: Disk, number: u64, total: &mut Found) -> usize {
    let name = |client: usize| format!("client-{client}");
    let before = |client: usize| (0..4).map(|at| format!("before/{}/{at}", name(client))).collect::<Vec<_>>();
    let names: Vec<_> = (0..CLIENTS).flat_map(before).collect();
    let repository = Repository::create(disk.root().join("work/repository"), 50, &names);
    let state_dir = disk.root().join("home/state/heddle");
    disk.settle();
    let seed = |client: usize| number * 100 + client as u64 + 1;
    let first = &repository.commits[0];
    let mut clients: Vec<_> =
        (0..CLIENTS).map(|client| Client::new(name(client), seed(client), &before(client), first)).collect();
    let mut random = Random::new(number + 1000);
    // Every second one in the time after a clock was set forward: no file of the moment looks new then.
    let ahead = number % 2 == 1;
    let mut daemon = Daemon::start(&state_dir, disk.outside.path(), ahead);
    let mut acknowledged = 0;
    for cut in 0..CUTS {
        let fills = cut == FILLING && number == 0;
        let enough = match cut {
            0 => 1 + random.below(40),
            _ if fills => 1500,
            _ => 40 + random.below(120),
        };
        let is_cut = AtomicBool::new(false);
        let count = load(&disk, &repository, &mut clients, daemon, (fills, enough, &is_cut));
        disk.restore().unwrap();
        let mut found = Found::default();
        check::on_disk(&repository, &mut clients, &mut found);
        assert!(found.lost.is_empty(), "disk {number}, cut {cut}, before the start: {}", describe(&found));
        daemon = Daemon::start(&state_dir, disk.outside.path(), ahead);
        check::in_store(&repository, &mut clients, &mut daemon.connect(), &mut found);
        assert!(found.lost.is_empty(), "disk {number}, cut {cut}, after the start: {}", describe(&found));
        let Found { checked, lost, completed, locks } = found;
        say(&format!(
            "disk {number}, cut {cut}: {count} acknowledged, {checked} looks, lost: {}, repeated and granted: \
             {completed}, locks: {locks}",
            lost.len()
        ));
        acknowledged += count;
        total.checked += checked;
        total.completed += completed;
        total.locks += locks;
    }
    acknowledged
}

fn describe(found: &Found) -> String {
    let some = found.lost.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    format!("lost: {} of {}, among them\n{some}", found.lost.len(), found.checked)
}

/// Lets the clients work until `enough` is acknowledged, cuts the power, and kills the daemon. Gives how many changes were
/// acknowledged in the end.
fn load(
    disk: &Disk,
    repository: &Repository,
    clients: &mut [Client],
    daemon: Daemon,
    (fills, enough, is_cut): (bool, usize, &AtomicBool),
) -> usize {
    let (acknowledged, counted) = mpsc::channel();
    let socket = daemon.socket.clone();
    let mut daemon = Some(daemon);
    std::thread::scope(|scope| {
        let workers: Vec<_> = clients
            .iter_mut()
            .map(|client| {
                let round = Round { repository, fills, acknowledged: acknowledged.clone(), is_cut };
                let socket = &socket;
                scope.spawn(move || {
                    let connection = crate::daemon::Connection::new(socket).unwrap();
                    client.work(&round, connection)
                })
            })
            .collect();
        drop(acknowledged);
        let reached = (0..enough).all(|_| counted.recv_timeout(DEADLINE).is_ok());
        is_cut.store(true, Ordering::Release);
        let cut = disk.cut();
        // Before anything can fail here: the clients end when it is gone.
        let log = daemon.take().map(Daemon::kill).unwrap_or_default();
        let counts: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        cut.unwrap();
        assert!(reached, "the clients did not get so far:\n{}", log.join("\n"));
        counts.iter().sum()
    })
}
