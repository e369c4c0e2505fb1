//! Stored records that cannot be read.

use serde_json::json;

use crate::support::{Place, key};

#[test]
fn a_malformed_record_stops_nobody_else() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let sessions = ["a", "b", "c"].map(|thread| client.reserve(repo.at(), thread));
    daemon.stop();
    // As the store names it: the tree of sessions, by fencing token.
    let broken = sessions[1]["fencing_token"].as_u64().unwrap();
    {
        let database = sled::open(place.state().join("db")).unwrap();
        let records = database.open_tree("sessions").unwrap();
        let replaced = records.insert(broken.to_be_bytes(), b"garbage".as_slice()).unwrap();
        assert!(replaced.is_some(), "there was a record");
        database.flush().unwrap();
    }
    daemon.restart();
    let mut client = daemon.client();
    for session in [&sessions[0], &sessions[2]] {
        assert_eq!(client.ok("agent.heartbeat", &key(session))["reservation"]["status"], "active");
    }
    // Not even its own: what does not match the copy at rest is thrown away and made anew from it.
    assert_eq!(client.ok("agent.heartbeat", &key(&sessions[1]))["reservation"]["status"], "active");
    assert_eq!(client.ok("daemon.health", &json!({}))["healthy"], true);
    client.release(&sessions[1]);
    let next = client.reserve(repo.at(), "b");
    assert!(next["fencing_token"].as_u64() > sessions[2]["fencing_token"].as_u64(), "R2");
    daemon.stop();
    daemon.restart();
    let mut client = daemon.client();
    assert_eq!(client.ok("agent.heartbeat", &key(&next))["reservation"]["status"], "active");
}

#[test]
fn a_state_that_cannot_be_read_is_refused_and_left_as_it_is() {
    for (file, content) in [
        ("base/checkpoint", Some("garbage")),
        ("base/checkpoint", None),
        ("format", Some("heddled state, format 99\n")),
    ] {
        let place = Place::new();
        let mut daemon = place.start();
        daemon.client().reserve(place.repo("r").at(), "t");
        daemon.stop();
        let path = place.state().join(file);
        let before = std::fs::read(&path).unwrap();
        match content {
            Some(content) => std::fs::write(&path, content).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let (code, told) = place.run(&mut place.command());
        assert_eq!(code, Some(74), "{file}: {told}");
        assert!(told.contains(place.state().to_str().unwrap()), "{told}");
        assert_eq!(std::fs::read_to_string(&path).ok().as_deref(), content, "left as it was");
        // Put right, everything is there.
        std::fs::write(&path, before).unwrap();
        daemon.restart();
        let listed = daemon.client().ok("agent.list", &json!({"status": "active"}));
        assert_eq!(listed["reservations"].as_array().unwrap().len(), 1);
    }
}
