//! R2, S3, S7: a journal that lost its end, and a state directory that goes away, lead to a refusal and never to a fencing token
//! that is given twice, nor to an answer that no state has.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Client, Daemon, Place, Repo, eventually};

/// Kills the daemon after some grants. Returns the journal file that has them, where their bytes end, and the last token.
fn killed(daemon: &mut Daemon<'_>, repo: &Repo) -> (PathBuf, usize, u64) {
    let mut client = daemon.client();
    let tokens =
        (0..20).map(|number| client.reserve(repo.at(), &format!("t/{number}"))["fencing_token"].as_u64().unwrap());
    let last = tokens.max().unwrap();
    daemon.kill();
    let used = |path: &PathBuf| fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let journal = daemon.place.state().join("journal");
    let files = fs::read_dir(journal).unwrap().map(|entry| entry.unwrap().path());
    let (end, path) = files.map(|path| (used(&path), path)).max().unwrap();
    (path, end, last)
}

fn token_of_next(client: &mut Client, repo: &Repo) -> u64 {
    client.reserve(repo.at(), "next")["fencing_token"].as_u64().unwrap()
}

/// Starts the daemon, which must end by itself with the code of the store, and say what to do.
#[track_caller]
fn refused(place: &Place, what: &str) {
    let before = place.log().len();
    let code = place.launch(&mut place.command()).ended().code();
    let told = place.log().split_off(before);
    assert_eq!(code, Some(74), "{what}: {told}");
    assert!(told.contains("heddlectl daemon restore"), "{what}: what to do is named: {told}");
}

#[test]
fn a_journal_that_was_cut_short_is_refused_and_never_taken_for_a_young_one() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let (path, end, _) = killed(&mut daemon, &repo);
    let whole = fs::read(&path).unwrap();
    for length in [0, 100, 8192, end / 2, end, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        refused(&place, &format!("{length} bytes"));
    }
    fs::remove_file(&path).unwrap();
    refused(&place, "no file");
    fs::write(&path, &whole).unwrap();
    daemon.restart();
    let active = daemon.client().ok("agent.list", &json!({"status": "active"}));
    assert_eq!(active["reservations"].as_array().unwrap().len(), 20, "put right, everything is there");
}

#[test]
fn r2_no_fencing_token_is_given_twice_when_the_end_of_the_journal_is_lost() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let (path, end, last) = killed(&mut daemon, &repo);
    let mut lost = fs::read(&path).unwrap();
    // As in a file system that lost the pages and not the length. Nothing tells this from a journal with fewer batches.
    lost[8192 + (end - 8192) / 2 / 512 * 512..].fill(0);
    fs::write(&path, lost).unwrap();
    daemon.restart();
    let next = token_of_next(&mut daemon.client(), &repo);
    assert!(next > last, "{next} comes after {last}");
}

#[test]
fn s3_a_newest_batch_with_a_flipped_bit_is_refused_and_not_dropped() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let (path, end, _) = killed(&mut daemon, &repo);
    let whole = fs::read(&path).unwrap();
    for back in [1, 5, 40, 200, 500] {
        let mut flipped = whole.clone();
        flipped[end - back] ^= 4;
        fs::write(&path, flipped).unwrap();
        refused(&place, &format!("a bit, {back} bytes before the end"));
    }
}

#[test]
fn a_missing_fencing_ceiling_is_refused() {
    let place = Place::new();
    let mut daemon = place.start();
    daemon.client().reserve(place.repo("r").at(), "t");
    daemon.stop();
    let path = place.state().join("fencing");
    let content = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    refused(&place, "no ceiling");
    fs::write(&path, content).unwrap();
    daemon.restart();
}

fn store_of(client: &mut Client) -> Value {
    let health = client.ok("daemon.health", &json!({}));
    health["checks"].as_array().unwrap().iter().find(|check| check["name"] == "store").unwrap().clone()
}

#[test]
fn s7_a_state_directory_that_goes_away_is_noticed_and_nothing_is_acknowledged_into_nowhere() {
    type Way = (&'static str, fn(&Path));
    let ways: [Way; 3] = [
        ("removed", |state| fs::remove_dir_all(state).unwrap()),
        ("moved", |state| fs::rename(state, state.with_extension("moved")).unwrap()),
        ("without its journal", |state| fs::remove_dir_all(state.join("journal")).unwrap()),
    ];
    for (what, how) in ways {
        for is_idle in [true, false] {
            let place = Place::new();
            let daemon = place.start();
            let repo = place.repo("r");
            let mut client = daemon.client();
            client.reserve(repo.at(), "before");
            how(&place.state());
            if is_idle {
                let told = eventually("health says so", || {
                    let store = store_of(&mut client);
                    (store["clean"] == false).then(|| store["summary"].as_str().unwrap().to_owned())
                });
                assert!(told.contains("removed, moved or replaced"), "{what}: {told}");
                assert!(told.contains("heddlectl daemon start"), "{what}: what to do is named: {told}");
            }
            let asked = json!({"repo": repo.at(), "thread": "after", "at_tip": true, "ttl_ms": 60_000});
            client.refused("store_unavailable", "agent.reserve", &asked);
            let active = client.ok("agent.list", &json!({"status": "active"}));
            assert_eq!(active["reservations"].as_array().unwrap().len(), 1, "{what}: reads go on");
        }
    }
}

#[test]
fn s7_a_state_that_another_daemon_made_at_the_same_path_keeps_its_own_files() {
    let place = Place::new();
    let mut first = place.start();
    let repo = place.repo("r");
    first.client().reserve(repo.at(), "t");
    fs::rename(place.state(), place.root.join("moved")).unwrap();
    // Another one, in a place of its own, whose state is put where the first one had its.
    let other = Place::new();
    let mut second = other.start();
    second.client().reserve(other.repo("r").at(), "other");
    second.stop();
    fs::rename(other.state(), place.state()).unwrap();
    first.signal(nix::sys::signal::Signal::SIGTERM);
    first.ended();
    fs::rename(place.state(), other.state()).unwrap();
    second.restart();
    let active = second.client().ok("agent.list", &json!({"status": "active"}));
    assert_eq!(active["reservations"][0]["thread"], "other");
    fs::rename(place.root.join("moved"), place.state()).unwrap();
    first.restart();
    let active = first.client().ok("agent.list", &json!({"status": "active"}));
    assert_eq!(active["reservations"][0]["thread"], "t");
}
