//! T1 to T4 of `rescue/restore.rs`: what is kept, what ends, and what goes on above everything.

use serde_json::{Value, json};

use crate::run::{command, ok, refused, say, word};
use crate::support::{Client, Holder, Place, eventually, key};

fn token(reservation: &Value) -> u64 {
    reservation["fencing_token"].as_u64().unwrap()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

fn id(reservation: &Value) -> &str {
    reservation["session_id"].as_str().unwrap()
}

#[test]
fn t2_who_holds_a_thread_since_before_the_backup_goes_on_and_nobody_else_comes_back() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let [kept, given_back, handed_on] = ["kept", "given-back", "handed-on"].map(|name| client.reserve(repo.at(), name));
    let file = place.root.join("b");
    let made = ok(&place, &["backup", word(&file)]);
    assert_eq!(made["content"]["active_sessions"], 3);
    client.release(&given_back);
    client.release(&handed_on);
    let since = client.reserve(repo.at(), "handed-on");
    let revision = client.ok("daemon.info", &json!({}))["revision"].as_u64().unwrap();

    let error = refused(&place, 3, &["restore", word(&file)]);
    assert!(error["message"].as_str().unwrap().contains("a daemon is running"), "{error}");
    let next = error["data"]["primary_command"].as_str().unwrap();
    assert_eq!(next, format!("heddlectl daemon stop && heddlectl daemon restore {}", word(&file)));
    assert_eq!(client.show(&since)["status"], "active", "nothing was changed");

    daemon.stop();
    let error = refused(&place, 3, &["restore", word(&file)]);
    assert!(error["message"].as_str().unwrap().contains(id(&since)), "T2: it began after the backup: {error}");
    assert!(!place.state().join("restore.new").exists(), "nothing is left of a restore that was refused");
    let restored = ok(&place, &["restore", "--force", word(&file)]);
    let mut ended = names(&restored["ended"]);
    ended.sort_unstable();
    let mut expected = [id(&given_back), id(&handed_on)];
    expected.sort_unstable();
    assert_eq!(ended, expected);
    assert_eq!(names(&restored["forgotten"]), [id(&since)]);
    assert_eq!(restored["active_sessions"], 1);
    let before = restored["before"].as_str().unwrap();
    assert!(before.starts_with(&*place.state().to_string_lossy()), "{before}");
    assert!(std::path::Path::new(before).join("journal/00").exists(), "B1: what was there is kept");

    daemon.restart();
    let mut client = daemon.client();
    assert_eq!(client.ok("agent.heartbeat", &key(&kept))["reservation"]["status"], "active");
    assert_eq!(client.holder(repo.at(), "kept").unwrap()["session_id"], kept["session_id"]);
    for gone in [&given_back, &handed_on] {
        let shown = client.show(gone);
        assert_eq!((&shown["status"], &shown["end_reason"]), (&json!("abandoned"), &json!("evicted")));
        client.refused("agent_session_inactive", "agent.heartbeat", &key(gone));
    }
    client.refused("agent_session_not_found", "agent.heartbeat", &key(&since));
    let next = client.reserve(repo.at(), "handed-on");
    assert!(token(&next) > token(&since), "T1: {} after {}", token(&next), token(&since));
    // T3: whoever followed the log until then misses nothing of what comes.
    let page = client.ok("oplog.list", &json!({"after": revision, "limit": 100}));
    let kinds: Vec<_> = page["operations"].as_array().unwrap().iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(kinds[..3], [json!("evicted"), json!("evicted"), json!("daemon_started")], "{page}");
    let evicted = &page["operations"][0]["detail"];
    assert!(evicted["reason"].as_str().unwrap().contains("restored from a backup"), "{evicted}");
    assert!(evicted["by"]["pid"].is_number(), "{evicted}");
}

#[test]
fn t2_a_session_that_goes_on_is_held_as_it_is_now() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let [mut before, after] =
        ["1000", "1001"].map(|time| std::process::Command::new("sleep").arg(time).spawn().unwrap());
    let params = json!({"repo": repo.at(), "thread": "moved", "at_tip": true, "hold_for_pid": before.id()});
    let held = client.ok("agent.reserve", &params)["reservation"].clone();
    let file = place.root.join("b");
    ok(&place, &["backup", word(&file)]);
    let mut moved = key(&held);
    moved["hold_for_pid"] = after.id().into();
    client.ok("agent.heartbeat", &moved);
    before.kill().unwrap();
    before.wait().unwrap();
    daemon.stop();
    ok(&place, &["restore", word(&file)]);
    daemon.restart();
    let shown = daemon.client().show(&held);
    assert_eq!((&shown["status"], &shown["hold"]["process"]["pid"]), (&json!("active"), &json!(after.id())), "{shown}");
    let mut after = after;
    after.kill().unwrap();
    after.wait().unwrap();
}

#[test]
fn t1_a_registry_that_was_restored_elsewhere_takes_its_repositories_along() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let held = daemon.client().reserve(repo.at(), "held");
    let file = place.root.join("b");
    ok(&place, &["backup", word(&file)]);
    daemon.stop();
    let elsewhere = Place::new();
    ok(&elsewhere, &["restore", word(&file)]);
    let other = elsewhere.start();
    other.client().reserve(repo.at(), "held");
    daemon.restart();
    let shown = daemon.client().show(&held);
    assert_eq!(shown["status"], "abandoned", "two daemons never have one thread held: {shown}");
}

#[test]
fn a_backup_is_not_made_within_the_state_it_is_of() {
    let place = Place::new();
    let daemon = place.start();
    for name in ["format", "restore.ready", "journal/b"] {
        let error = refused(&place, 3, &["backup", "--force", word(&place.state().join(name))]);
        assert!(error["message"].as_str().unwrap().contains("in the state directory"), "{error}");
    }
    drop(daemon);
}

/// Spoils the state so that no daemon can open it.
fn spoil(place: &Place) {
    std::fs::write(place.state().join("base/checkpoint"), "garbage").unwrap();
}

#[test]
fn t1_t2_a_rescue_ends_all_sessions_and_repeats_no_fencing_token_however_often() {
    let place = Place::new();
    let mut daemon = place.start();
    let (repo, holder) = (place.repo("r"), Holder::start());
    let mut client = daemon.client();
    let beats = client.reserve(repo.at(), "beats");
    let params = json!({"repo": repo.at(), "thread": "lives", "at_tip": true, "hold_for_pid": holder.pid()});
    let lives = client.ok("agent.reserve", &params)["reservation"].take();
    let file = place.root.join("b");
    ok(&place, &["backup", word(&file)]);
    let mut highest = 0;
    for round in 0..3 {
        for turn in 0..5 {
            let one = client.reserve(repo.at(), &format!("since/{turn}"));
            assert!(token(&one) > highest, "T1: round {round}");
            highest = token(&one);
            client.release(&one);
        }
        // A repository that no backup knows: only its mark says which tokens it has seen.
        let other = place.repo(&format!("other{round}"));
        highest = highest.max(token(&client.reserve(other.at(), "t")));
        daemon.stop();
        spoil(&place);
        let said = say(&mut command(&place, &[]));
        assert_eq!(said.code, Some(74), "{said:?}");
        assert!(said.stderr.contains("heddlectl daemon restore FILE"), "{said:?}");
        let said = say(&mut command(&place, &["verify"]));
        assert_eq!(said.code, Some(74), "{said:?}");
        assert!(said.stdout.contains("next: heddlectl daemon restore FILE"), "{said:?}");
        let restored = ok(&place, &["restore", word(&file)]);
        assert_eq!(names(&restored["ended"]).len(), 2, "T2: {restored}");
        assert!(restored["notes"][0].as_str().unwrap().contains("cannot be read"), "{restored}");
        daemon.restart();
        client = daemon.client();
        for gone in [&beats, &lives] {
            assert_eq!(client.show(gone)["end_reason"], "evicted");
        }
        for earlier in 0..=round {
            let known = place.root.join(format!("other{earlier}"));
            let one = client.ok(
                "agent.reserve",
                &json!({"repo": word(&known), "thread": format!("again/{round}"), "at_tip": true}),
            );
            let one = &one["reservation"];
            assert!(token(one) > highest, "T1: {} after {highest} in round {round}", token(one));
            highest = highest.max(token(one));
        }
    }
}

#[test]
fn t1_a_repository_that_the_backup_does_not_know_makes_the_tokens_rise_when_it_is_reserved_in() {
    let place = Place::new();
    let mut daemon = place.start();
    let (repo, other) = (place.repo("r"), place.repo("other"));
    let file = place.root.join("b");
    ok(&place, &["backup", word(&file)]);
    let before = daemon.client().reserve(other.at(), "t");
    daemon.client().release(&before);
    // It is of many eras before all of it is lost: each restore begins one.
    daemon.stop();
    for _ in 0..7 {
        ok(&place, &["restore", word(&file)]);
    }
    daemon.restart();
    daemon.client().reserve(other.at(), "in-a-later-era");
    let mark = other.path.join(".git/heddle-registry");
    assert!(std::fs::read_to_string(&mark).unwrap().lines().next().unwrap().ends_with(" 7"));
    daemon.stop();
    std::fs::remove_dir_all(place.state()).unwrap();
    ok(&place, &["restore", word(&file)]);
    daemon.restart();
    let mut client = daemon.client();
    let first = client.reserve(repo.at(), "t");
    assert!(token(&first) > token(&before), "T1");
    let next = client.reserve(other.at(), "u");
    assert!(token(&next) >> 40 == 8, "T1: in a later era than the mark's: {}", token(&next));
    assert!(token(&client.reserve(repo.at(), "u")) > token(&next), "one counter");
    assert!(std::fs::read_to_string(&mark).unwrap().lines().next().unwrap().ends_with(" 8"));
}

#[test]
fn t4_a_backup_is_at_home_in_another_state_directory_too() {
    let (place, elsewhere) = (Place::new(), Place::new());
    let mut daemon = place.start();
    let repo = place.repo("r");
    let held = daemon.client().reserve(repo.at(), "t");
    let file = place.root.join("b");
    let made = ok(&place, &["backup", word(&file)]);
    let restored = ok(&elsewhere, &["restore", word(&file)]);
    assert_eq!((&restored["before"], names(&restored["ended"])), (&Value::Null, vec![id(&held)]));
    let second = elsewhere.start();
    let info = second.client().ok("daemon.info", &json!({}));
    let reserve = json!({"repo": repo.at(), "thread": "u", "at_tip": true});
    second.client().refused("repository_unavailable", "agent.reserve", &reserve);
    daemon.stop();
    let next = second.client().ok("agent.reserve", &reserve);
    assert!(token(&next["reservation"]) > token(&held), "T1");
    let mark = std::fs::read_to_string(repo.path.join(".git/heddle-registry")).unwrap();
    assert!(mark.starts_with(made["content"]["registry"].as_str().unwrap()), "T4: {mark}, {info}");
    // The one it was copied from is told so, and its own tokens are above the copy's when that is stopped.
    daemon.restart();
    daemon.client().refused("repository_unavailable", "agent.reserve", &reserve);
    drop(second);
    let free = json!({"repo": repo.at(), "thread": "v", "at_tip": true});
    let mut client = daemon.client();
    let last = eventually("the repository is free", || client.call("agent.reserve", &free).ok());
    assert!(token(&last["reservation"]) > token(&next["reservation"]), "T1");
}

#[test]
fn another_registry_is_replaced_only_where_that_was_meant() {
    let (place, other) = (Place::new(), Place::new());
    let (mut daemon, mut another) = (place.start(), other.start());
    let file = other.root.join("b");
    ok(&other, &["backup", word(&file)]);
    another.stop();
    // One that has granted nothing is no loss.
    daemon.stop();
    ok(&place, &["restore", word(&file)]);
    let fresh = Place::new();
    let mut third = fresh.start();
    third.client().reserve(fresh.repo("r").at(), "t");
    third.stop();
    let error = refused(&fresh, 3, &["restore", word(&file)]);
    assert!(error["message"].as_str().unwrap().contains("has registry"), "{error}");
    assert_eq!(ok(&fresh, &["verify"])["content"]["active_sessions"], 1, "nothing was changed");
    let restored = ok(&fresh, &["restore", "--force", word(&file)]);
    assert_eq!(names(&restored["forgotten"]).len(), 1);
    third.restart();
}

#[test]
fn a_backup_replaces_no_file_unless_that_was_meant_and_refuses_what_is_none() {
    let place = Place::new();
    let file = place.root.join("b");
    let said = say(&mut command(&place, &["backup", word(&file)]));
    assert_eq!(said.code, Some(74), "{said:?}");
    assert!(said.stderr.contains("there is no state in"), "{said:?}");
    let daemon = place.start();
    std::fs::write(&file, "precious").unwrap();
    let error = refused(&place, 3, &["backup", word(&file)]);
    assert_eq!(error["data"]["primary_command"], format!("heddlectl daemon backup --force {}", word(&file)), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    for command in ["verify", "restore"] {
        let said = say(&mut crate::run::command(&place, &[command, word(&file)]));
        assert_eq!(said.code, Some(74), "{said:?}");
        assert!((said.stdout + &said.stderr).contains("not a backup of heddled"));
    }
    ok(&place, &["backup", "--force", word(&file)]);
    assert_eq!(ok(&place, &["verify", word(&file)])["what"], "backup");
    let left = std::fs::read_dir(&place.root).unwrap().flatten().map(|entry| entry.file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().contains("partial")), "nothing is left beside it");
    assert_eq!(std::fs::read_dir(place.root.join("tmp")).unwrap().count(), 0, "and no copies");
    let mut client: Client = daemon.client();
    assert_eq!(client.ok("daemon.health", &json!({}))["healthy"], true);
}
