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
    client.refused("agent_session_not_found", "agent.heartbeat", &key(&sessions[1]));
    assert_eq!(client.ok("daemon.info", &json!({}))["counts"]["quarantined"], 1);
    let health = client.ok("daemon.health", &json!({}));
    assert_eq!(health["healthy"], false, "{health}");
    let next = client.reserve(repo.at(), "b");
    assert!(next["fencing_token"].as_u64() > sessions[2]["fencing_token"].as_u64(), "R2");
    // What was set aside is not found broken again.
    daemon.stop();
    daemon.restart();
    let mut client = daemon.client();
    assert_eq!(client.ok("agent.heartbeat", &key(&next))["reservation"]["status"], "active");
}

#[test]
fn the_last_fencing_token_is_not_granted_again_when_its_record_is_broken() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let last = daemon.client().reserve(repo.at(), "a")["fencing_token"].as_u64().unwrap();
    daemon.stop();
    {
        let database = sled::open(place.state().join("db")).unwrap();
        database.open_tree("sessions").unwrap().insert(last.to_be_bytes(), b"".as_slice()).unwrap();
        database.flush().unwrap();
    }
    daemon.restart();
    assert!(daemon.client().reserve(repo.at(), "a")["fencing_token"].as_u64() > Some(last), "R2");
}

#[test]
fn a_state_that_cannot_be_read_is_refused_and_left_as_it_is() {
    for (file, content) in
        [("checkpoint", Some("garbage")), ("checkpoint", None), ("format", Some("heddled state, format 99\n"))]
    {
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
