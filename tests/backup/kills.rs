//! kill -9 of a backup and of a restore, at any moment.

use std::time::Duration;

use crate::run::{command, ok, say, word};
use crate::support::{Place, Random, Stopwatch};

/// Runs a command and kills it at a random moment of the time that it may take. Tells whether it was done before.
fn cut_off(place: &Place, words: &[&str], at_most: Duration, random: &mut Random) -> bool {
    let mut child = command(place, words).spawn().unwrap();
    let most = u64::try_from(at_most.as_micros()).unwrap().max(1);
    std::thread::park_timeout(Duration::from_micros(random.next() % most));
    child.kill().unwrap();
    child.wait().unwrap().success()
}

#[test]
fn a_backup_that_is_killed_leaves_no_half_file_under_its_name() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    for number in 0..20 {
        client.reserve(repo.at(), &format!("t/{number}"));
    }
    let watch = Stopwatch::start();
    ok(&place, &["backup", word(&place.root.join("whole"))]);
    let takes = watch.elapsed();
    let mut random = Random::new(7);
    let mut found = 0;
    for round in 0..30 {
        let file = place.root.join(format!("b{round}"));
        // Every third time there is one already, which stays or is replaced.
        let replaces = round % 3 == 0;
        if replaces {
            std::fs::copy(place.root.join("whole"), &file).unwrap();
        }
        let words = ["backup", word(&file), "--force"];
        let done = cut_off(&place, &words[..if replaces { 3 } else { 2 }], takes * 3 / 2, &mut random);
        if done || replaces || file.exists() {
            found += u32::from(!replaces);
            assert_eq!(ok(&place, &["verify", word(&file)])["content"]["active_sessions"], 20, "round {round}");
        }
    }
    eprintln!("30 backups of {takes:?} were killed, some of them too late; {found} of 20 were there");
    assert!(found < 20, "some were cut off");
}

#[test]
fn a_restore_that_is_killed_leaves_the_old_registry_or_the_new_one() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let first = daemon.client().reserve(repo.at(), "first");
    let file = place.root.join("b");
    ok(&place, &["backup", word(&file)]);
    let _since = daemon.client().reserve(repo.at(), "since");
    daemon.stop();
    let watch = Stopwatch::start();
    ok(&place, &["restore", "--force", word(&file)]);
    let takes = watch.elapsed();
    let mut random = Random::new(11);
    let (mut olds, mut news, mut unfinished) = (0, 0, 0);
    for round in 0..12 {
        daemon.restart();
        daemon.client().reserve(repo.at(), &format!("round/{round}"));
        daemon.stop();
        let before = ok(&place, &["verify"])["content"].clone();
        cut_off(&place, &["restore", "--force", word(&file)], takes, &mut random);
        let said = say(&mut command(&place, &["verify", "--json"]));
        if said.code != Some(0) {
            // It counts, and is not in place yet: said, and completed by the start.
            assert!(said.stdout.contains("heddlectl daemon start"), "round {round}: {said:?}");
            unfinished += 1;
        }
        daemon.restart();
        let left = ["restore.new", "restore.ready"].map(|name| place.state().join(name).exists());
        assert_eq!(left, [false, false], "round {round}: nothing is left of it");
        assert_eq!(daemon.client().show(&first)["status"], "active", "it is in both");
        daemon.stop();
        let after = ok(&place, &["verify"])["content"].clone();
        let (tokens, sessions) = (&after["fencing_token"], &after["sessions"]);
        if *tokens == before["fencing_token"] {
            assert_eq!(*sessions, before["sessions"], "round {round}: the old one");
            olds += 1;
        } else {
            assert!(tokens.as_u64() > before["fencing_token"].as_u64(), "T1: round {round}");
            assert_eq!(*sessions, 1, "round {round}: the new one");
            news += 1;
        }
    }
    eprintln!(
        "12 restores of {takes:?} were killed: {olds} did not count, {news} did, {unfinished} of them not in place"
    );
}
