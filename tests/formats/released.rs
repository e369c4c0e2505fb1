//! What every version from the first on has written is read.

use std::process::Stdio;

use serde_json::json;

use crate::contents::{contents, expected, has, of_kind, released, unpack};
use crate::support::Place;

#[test]
fn this_version_has_a_fixture() {
    let ours = released().into_iter().any(|fixture| fixture.ends_with(env!("CARGO_PKG_VERSION")));
    assert!(ours, "cargo test -p heddled --test formats -- --ignored write_the_fixture_of_this_version");
}

#[test]
fn a_state_of_every_release_opens_with_every_record() {
    for fixture in released() {
        let place = tempfile::tempdir().unwrap();
        let state = place.path().join("state");
        unpack(&fixture, &state);
        let (found, expected) = (contents(&state), expected(&fixture));
        for kind in ["registry", "counters", "repo", "thread", "session", "operation"] {
            let (found, expected) = (of_kind(&found, kind), of_kind(&expected, kind));
            assert_eq!(found.len(), expected.len(), "{}: {kind}", fixture.display());
            assert!(!expected.is_empty(), "{kind}");
            for (found, expected) in found.iter().zip(&expected) {
                assert!(has(found, expected), "{}: {kind}\n{found}\nexpected:\n{expected}", fixture.display());
            }
        }
        for intent in ["Create", "Worktree", "Move", "Capture"] {
            let sessions = of_kind(&expected, "session");
            // Those that have nothing to say are a word, the others an object of that name.
            let is_there = sessions.iter().any(|one| one["intent"] == intent || one["intent"].get(intent).is_some());
            assert!(is_there, "{}: a session with the intent {intent}", fixture.display());
        }
    }
}

#[test]
fn the_daemon_serves_a_state_of_every_release() {
    for fixture in released() {
        let place = Place::new();
        unpack(&fixture, &place.state());
        let expected = expected(&fixture);
        let daemon = place.start();
        let mut client = daemon.client();
        assert_eq!(client.ok("daemon.health", &json!({}))["healthy"], true);
        let told = client.ok("oplog.list", &json!({"after": 0, "limit": 1000}));
        for (told, expected) in told["operations"].as_array().unwrap().iter().zip(of_kind(&expected, "operation")) {
            for field in ["revision", "at", "kind"] {
                assert_eq!(told[field], expected[field], "{told}\n{expected}");
            }
        }
        let listed = client.ok("agent.list", &json!({"status": "active", "limit": 100}));
        let active: Vec<_> = listed["reservations"].as_array().unwrap().iter().collect();
        // Their repository is gone, and their processes with the machine that they ran on.
        let held = of_kind(&expected, "session").into_iter().filter(|session| {
            let process = &session["hold"]["process"];
            session["status"] == "active" && session["intent"].is_null() && process.is_null()
        });
        for session in held {
            let found = active.iter().find(|one| one["session_id"] == session["id"]).expect("it is still held");
            for field in ["thread", "fencing_token", "anchor_state", "started_at", "path"] {
                assert_eq!(found[field], session[field], "{found}\n{session}");
            }
        }
        let next = client.reserve(place.repo("new").at(), "t");
        assert!(next["fencing_token"].as_u64() > of_kind(&expected, "counters")[0]["fencing"].as_u64(), "R2");
    }
}

#[test]
fn a_backup_of_every_release_is_sound_and_restores() {
    for fixture in released() {
        let place = Place::new();
        let backup = fixture.join("backup");
        for words in [&["verify", "--json", "--"][..], &["restore", "--json", "--"]] {
            let output = place.command().args(words).arg(&backup).stdout(Stdio::piped()).output().unwrap();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stdout));
        }
        let (found, expected) = (contents(&place.state()), expected(&fixture));
        let (found, expected) = (of_kind(&found, "session"), of_kind(&expected, "session"));
        // Those that ended more than a week ago go with the first change.
        for session in expected.iter().filter(|session| session["status"] == "active") {
            let restored = found.iter().find(|found| found["id"] == session["id"]).expect("restored");
            assert_eq!(restored["end_reason"], "evicted", "nobody knows what has become of it");
        }
        let daemon = place.start();
        let next = daemon.client().reserve(place.repo("new").at(), "t");
        assert!(next["fencing_token"].as_u64() > Some(1 << 40), "T1");
    }
}
