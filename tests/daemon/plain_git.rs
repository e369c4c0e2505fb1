//! Plain Git moves branches without asking: the log says so, and nothing of Git's is overwritten.

use serde_json::{Value, json};

use crate::support::{Client, Holder, Place, Repo, eventually};

/// What the log says of a thread's moves: before, after, session.
fn moves(client: &mut Client, repo: &Repo, thread: &str) -> Vec<(Value, Value, Value)> {
    let listed = client.ok("oplog.list", &json!({"repo": repo.at(), "thread": thread, "limit": 1000}));
    let moved = listed["operations"].as_array().unwrap().iter().filter(|one| one["kind"] == "thread_moved");
    moved
        .map(|one| (one["detail"]["before"].clone(), one["detail"]["after"].clone(), one["session_id"].clone()))
        .collect()
}

fn shown(client: &mut Client, repo: &Repo, thread: &str) -> Value {
    client.ok("thread.show", &json!({"repo": repo.at(), "thread": thread}))["thread"].take()
}

#[test]
fn what_plain_git_does_to_a_held_thread_is_in_the_log_without_anybody_asking() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "t");
    let (one, two) = (repo.id("t"), repo.loose_commit("t", "two"));
    repo.git(&["update-ref", "refs/heads/t", &two]);
    let expected = |count: usize| {
        let all = [(json!(one), json!(two), Value::Null), (json!(two), Value::Null, Value::Null)];
        all[..count].to_vec()
    };
    let mut client_2 = daemon.client();
    eventually("the move is in the log", || (moves(&mut client_2, &repo, "t") == expected(1)).then_some(()));
    repo.git(&["update-ref", "-d", "refs/heads/t"]);
    eventually("the deletion is in the log", || (moves(&mut client_2, &repo, "t") == expected(2)).then_some(()));
    assert_eq!(shown(&mut client, &repo, "t")["state"], "active", "its session goes on");
    assert!(!repo.branches().contains_key("t"), "what Git deleted is not made again");
    client.release(&held);
    assert_eq!(moves(&mut client, &repo, "t"), expected(2), "each move once");
}

#[test]
fn what_plain_git_does_to_a_free_thread_is_in_the_log_once_somebody_looks() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut tips = vec![repo.id("HEAD")];
    for look in ["show", "list", "reserve"] {
        let held = client.reserve(repo.at(), "t");
        client.release(&held);
        let before = tips.last().unwrap().clone();
        let after = repo.loose_commit("t", look);
        repo.git(&["update-ref", "refs/heads/t", &after]);
        match look {
            "show" => drop(shown(&mut client, &repo, "t")),
            "list" => drop(client.ok("thread.list", &json!({"repo": repo.at()}))),
            _ => {
                let held = client.reserve(repo.at(), "t");
                assert_eq!(held["anchor_state"], json!(after));
                client.release(&held);
            }
        }
        let last = moves(&mut client, &repo, "t").pop();
        assert_eq!(last, Some((json!(before), json!(after), Value::Null)), "{look}");
        tips.push(after);
    }
    assert_eq!(moves(&mut client, &repo, "t").len(), 3, "each move once");
    let listed = client.ok("oplog.list", &json!({"repo": repo.at(), "thread": "t", "limit": 3}));
    let kinds: Vec<_> = listed["operations"].as_array().unwrap().iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(kinds, ["thread_moved", "reserved", "released"], "what a reserve saw comes before it");
}

#[test]
fn commits_of_plain_git_make_an_abandoned_session_s_thread_abandoned() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    for (thread, commits) in [("changed", true), ("unchanged", false)] {
        let mut holder = Holder::start();
        let reserve = json!({"repo": repo.at(), "thread": thread, "hold_for_pid": holder.pid()});
        let held = client.ok("agent.reserve", &reserve)["reservation"].take();
        if commits {
            let commit = repo.loose_commit(thread, "the last thing it did");
            repo.git(&["update-ref", &format!("refs/heads/{thread}"), &commit]);
        }
        holder.kill_and_wait();
        eventually("it has ended", || (client.show(&held)["status"] == "abandoned").then_some(()));
        let expected = if commits { "abandoned" } else { "draft" };
        // Without a look at the thread: whoever reads the list by state must not miss it.
        let by_state = json!({"repo": repo.at(), "state": expected});
        eventually(expected, || {
            let listed = client.ok("thread.list", &by_state);
            listed["threads"].as_array().unwrap().iter().any(|one| one["thread"] == thread).then_some(())
        });
    }
}

#[test]
fn a_repository_that_was_moved_is_served_where_it_is() {
    let place = Place::new();
    let mut daemon = place.start();
    let mut repo = place.repo("r");
    let held = daemon.client().reserve(repo.at(), "t");
    // Whichever call is the first that comes from there.
    for first in ["agent.list", "thread.list", "thread.show", "oplog.list"] {
        let there = place.root.join(first);
        std::fs::rename(std::mem::replace(&mut repo.path, there.clone()), there).unwrap();
        let mut client = daemon.client();
        let params =
            if first == "thread.show" { json!({"repo": repo.at(), "thread": "t"}) } else { json!({"repo": repo.at()}) };
        let answer = client.ok(first, &params);
        let named = answer["reservations"][0]["repo"].as_str().or(answer["threads"][0]["repo"].as_str());
        let named = named.or(answer["thread"]["repo"].as_str()).or(answer["operations"][0]["repo"].as_str());
        assert_eq!(named, Some(repo.at()), "{first}: {answer}");
        let tip = repo.id("t");
        assert_eq!(shown(&mut client, &repo, "t")["current_state"], tip, "{first}");
        let mut update = crate::support::key(&held);
        update["expected"] = tip.clone().into();
        update["new"] = repo.loose_commit(&tip, first).into();
        client.ok("thread.update", &update);
        assert_eq!(repo.id("t"), update["new"].as_str().unwrap(), "{first}: moved where it is");
    }
    daemon.kill();
    daemon.restart();
    assert_eq!(daemon.client().show(&held)["repo"], repo.at(), "after a start, too");
}

#[test]
fn a_lock_that_git_left_behind_is_named_with_its_age_and_the_way_out() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("a repo");
    let mut client = daemon.client();
    let lock = repo.path.join(".git/refs/heads/t.lock");
    let ask = json!({"repo": repo.at(), "thread": "t"});
    let file = std::fs::File::create(&lock).unwrap();
    let fault = client.refused("repository_unavailable", "agent.reserve", &ask);
    let told = fault.0.to_string();
    assert!(told.contains(lock.to_str().unwrap()) && !told.contains("rm "), "somebody is at work there: {told}");
    let long_ago = file.metadata().unwrap().modified().unwrap() - std::time::Duration::from_secs(3 * 3600 + 60);
    file.set_modified(long_ago).unwrap();
    let fault = client.refused("repository_unavailable", "agent.reserve", &ask);
    let told = fault.0["data"]["error"].as_str().unwrap();
    assert!(told.contains(lock.to_str().unwrap()) && told.contains("since 3 h"), "{told}");
    assert!(lock.exists(), "it may be another's: the daemon leaves it");
    let command = fault.0["data"]["primary_command"].as_str().unwrap();
    assert!(std::process::Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
    client.ok("agent.reserve", &ask);
}
