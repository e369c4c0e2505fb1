//! A disk that is full for a while: nothing acknowledged is lost, health says so, and all of it mends itself without a restart.
//!
//! Needs a file system of a fixed size, and so root. Where it cannot run it says so and passes.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::support::{Client, Place, eventually, key, within};

/// A file system in memory, of that many MiB; unmounted when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, mib: u32) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let options = format!("size={mib}m,mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(at).output();
        if mounted.is_ok_and(|said| said.status.success()) {
            return Some(Self(at.to_owned()));
        }
        // Not `println!`: what a passing test prints is not shown.
        writeln!(std::io::stdout(), "full_disk: NOT RUN here: a file system in memory cannot be mounted").unwrap();
        None
    }

    /// Takes all room but `left` bytes.
    fn fill(&self, left: u64) {
        let found = rustix::fs::statvfs(&self.0).unwrap();
        let free = found.f_bavail * found.f_frsize;
        let mut file = File::create(self.0.join("fill")).unwrap();
        let mut more = free.saturating_sub(left);
        let piece = vec![1; 1 << 16];
        while more > 0 {
            let count = usize::try_from(more).unwrap().min(piece.len());
            match file.write(&piece[..count]) {
                Ok(written) => more -= written as u64,
                Err(_) => break,
            }
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("fill")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(std::thread::panicking() || unmounted.unwrap().success());
    }
}

/// How the daemon says that its store is: none where it is well.
fn store_problem(client: &mut Client) -> Option<String> {
    let health = client.ok("daemon.health", &json!({}));
    let store = health["checks"].as_array().unwrap().iter().find(|check| check["name"] == "store").unwrap().clone();
    (store["clean"] == false).then(|| store["summary"].as_str().unwrap().to_owned())
}

#[test]
fn a_checkpoint_that_failed_for_want_of_room_is_made_once_there_is_some() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(&place.state(), 320) else { return };
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let kept = client.reserve(repo.at(), "kept");
    disk.fill(0);
    // Large texts, so that a segment of the journal is full soon.
    let asked = json!({"repo": repo.at(), "thread": "t", "at_tip": true, "ttl_ms": 60_000, "task": "x".repeat(4000)});
    let mut cycles = 0;
    let told = loop {
        let session = client.ok("agent.reserve", &asked)["reservation"].take();
        client.release(&session);
        cycles += 1;
        if cycles % 50 == 0
            && let Some(told) = store_problem(&mut client)
        {
            break told;
        }
        assert!(cycles < 20_000, "the first segment is full long before");
    };
    assert!(told.contains("the last checkpoint failed") && told.contains("No space left"), "{told}");
    // On until the journal has no room for what can wait: what was begun can still be ended.
    let refused = loop {
        match client.call("agent.reserve", &asked) {
            Ok(mut session) => drop(client.release(&session["reservation"].take())),
            Err(fault) => break fault,
        }
        cycles += 1;
        assert!(cycles < 60_000, "all segments are full long before");
    };
    assert_eq!(refused.kind(), "store_unavailable");
    client.release(&kept);
    disk.make_room();
    // Tried again after 32 seconds at most.
    within(Duration::from_secs(120), "the checkpoint is made", || {
        std::thread::park_timeout(Duration::from_millis(20));
        store_problem(&mut client).is_none().then_some(())
    });
    let after = eventually("changes are taken again", || client.call("agent.reserve", &asked).ok());
    client.ok("agent.heartbeat", &key(&after["reservation"]));
    assert_eq!(client.ok("daemon.health", &json!({}))["healthy"], true);
}

#[test]
fn a_start_on_a_full_disk_ends_with_a_sentence_and_the_code_of_the_store() {
    // The journal takes 48 MiB, the rest some hundred KiB.
    for left in [1 << 20, 20 << 20, (48 << 20) + 80_000, (48 << 20) + 400_000] {
        let place = Place::new();
        let Some(disk) = SmallDisk::mount(&place.state(), 96) else { return };
        disk.fill(left);
        let mut daemon = place.launch(&mut place.command());
        let code = daemon.ended().code();
        let told = place.log();
        assert_eq!(code, Some(74), "{left}: {told}");
        let last = told.lines().last().unwrap();
        assert!(last.starts_with("error: ") && !told.contains("RUST_BACKTRACE"), "{left}: {told}");
        disk.make_room();
        // And the next start is fine.
        daemon.restart();
        daemon.client().reserve(place.repo("r").at(), "t");
        daemon.stop();
    }
}

#[test]
fn a_used_state_opens_on_a_full_disk_or_says_why_it_does_not() {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(&place.state(), 96) else { return };
    let mut daemon = place.start();
    let repo = place.repo("r");
    let kept = daemon.client().reserve(repo.at(), "kept");
    daemon.kill();
    disk.fill(0);
    let mut child = place.command().spawn().unwrap();
    let code = eventually("it serves or ends", || {
        let ended = child.try_wait().unwrap().map(|status| status.code());
        let serves = || Client::try_connect(&place.socket()).ok().map(|_| None);
        ended.or_else(serves)
    });
    assert!(matches!(code, None | Some(74)), "{code:?}: {}", place.log());
    child.kill().ok();
    child.wait().unwrap();
    assert!(!place.log().contains("RUST_BACKTRACE"), "{}", place.log());
    disk.make_room();
    daemon.restart();
    daemon.client().ok("agent.heartbeat", &key(&kept));
}
