//! `thread.clean` with real worktrees: what is merged and holds no work goes, all else stays, and nobody loses a worktree.

use std::path::{Path, PathBuf};
use std::sync::Barrier;

use serde_json::{Value, json};

use crate::support::{Client, Place, Repo, eventually};

/// Reserves a thread with a worktree of its own, meant for `main`.
fn reserve(client: &mut Client, repo: &Repo, thread: &str) -> Value {
    let params = json!({"repo": repo.at(), "thread": thread, "at_tip": true, "target_thread": "main", "worktree": {}});
    client.ok("agent.reserve", &params)["reservation"].take()
}

/// A thread with one commit of work, given back.
fn worked(client: &mut Client, repo: &Repo, thread: &str) -> PathBuf {
    let held = reserve(client, repo, thread);
    let path = held["path"].as_str().unwrap();
    std::fs::write(Path::new(path).join("work of ".to_owned() + &thread.replace('/', " ")), thread).unwrap();
    repo.git(&["-C", path, "add", "-A"]);
    repo.git(&["-C", path, "commit", "--quiet", "--allow-empty", "-m", thread]);
    client.release(&held);
    path.into()
}

fn clean(client: &mut Client, repo: &Repo, dry_run: bool) -> (Vec<String>, Vec<(String, String)>) {
    let cleaned = client.ok("thread.clean", &json!({"repo": repo.at(), "dry_run": dry_run}));
    let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
    let list = |name: &str| cleaned[name].as_array().unwrap().clone();
    let removed = list("removed").iter().map(|one| text(one, "thread")).collect();
    let kept = list("kept").iter().map(|one| (text(one, "thread"), text(one, "reason"))).collect();
    (removed, kept)
}

#[test]
fn merged_worktrees_without_work_go_and_the_others_say_why_not() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    std::fs::write(repo.path.join(".gitignore"), "*.log\n").unwrap();
    repo.git(&["add", "-A"]);
    repo.git(&["commit", "--quiet", "-m", "ignore logs"]);
    let mut client = daemon.client();
    let client = &mut client;
    assert_eq!(clean(client, &repo, false), (vec![], vec![]), "nothing was ever reserved here");
    assert!(!repo.path.join(".git/heddle-registry").exists());
    let names = ["a/merged", "b/squashed", "c/ignored", "d/ahead", "e/untouched"];
    let paths: Vec<PathBuf> = names[..4].iter().map(|name| worked(client, &repo, name)).collect();
    let untouched = reserve(client, &repo, names[4]);
    client.release(&untouched);
    std::fs::write(paths[2].join("notes.log"), "notes").unwrap();
    repo.git(&["merge", "--quiet", "--squash", names[1]]);
    repo.git(&["commit", "--quiet", "-m", "squashed"]);
    repo.git(&["merge", "--quiet", "--no-edit", names[0], names[2]]);
    let by_hand = place.root.join("by hand");
    repo.git(&["worktree", "add", "--quiet", "-b", "by-hand", by_hand.to_str().unwrap()]);
    let held = reserve(client, &repo, "f/held");
    let id = held["session_id"].as_str().unwrap();
    let kept = [
        ("c/ignored", "an ignored path is in it, which may be work"),
        ("d/ahead", "not merged into 'main' yet: 1 commit ahead"),
        ("e/untouched", "nothing was committed on it since it was first reserved"),
        ("f/held", &format!("{id} holds the thread")),
    ];
    let kept = kept.map(|(thread, reason)| (thread.to_owned(), reason.to_owned())).to_vec();
    let removed = names[..2].iter().map(ToString::to_string).collect::<Vec<_>>();
    let branches = repo.branches();
    assert_eq!(clean(client, &repo, true), (removed.clone(), kept.clone()));
    assert!(paths.iter().all(|path| path.exists()), "a dry run removes nothing");
    assert_eq!(clean(client, &repo, false), (removed, kept.clone()));
    assert_eq!(paths.iter().map(|path| path.exists()).collect::<Vec<_>>(), [false, false, true, true]);
    assert!(by_hand.exists() && Path::new(held["path"].as_str().unwrap()).exists());
    assert_eq!(repo.branches(), branches, "branches stay");
    let shown = client.ok("thread.show", &json!({"repo": repo.at(), "thread": names[1]}));
    assert_eq!(shown["thread"]["state"], "merged");
    let listed = repo.git(&["worktree", "list", "--porcelain"]);
    assert_eq!(listed.matches("worktree ").count(), 6, "{listed}");
    assert!(!listed.contains("prunable"), "Git knows of nothing that is gone: {listed}");
    assert_eq!(clean(client, &repo, false), (vec![], kept));
    // The thread is as good as before: its next session has the worktree made anew.
    let again = reserve(client, &repo, names[0]);
    assert!(paths[0].join("work of a merged").exists());
    client.release(&again);
    let inside = client.ok("thread.clean", &json!({"repo": paths[0].join(".").to_str().unwrap()}));
    assert_eq!(
        (&inside["removed"], &inside["kept"][0]["thread"]),
        (&json!([]), &json!(names[0])),
        "not the caller's own"
    );
    assert_eq!(clean(client, &repo, false).0, [names[0]]);
}

#[test]
fn the_lock_of_a_session_that_ended_does_not_count_and_any_other_does() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let path = worked(&mut client, &repo, "t");
    repo.git(&["merge", "--quiet", "t"]);
    let path = path.to_str().unwrap();
    let listed = client.ok("agent.list", &json!({"repo": repo.at()}));
    let ended = listed["reservations"][0]["session_id"].as_str().unwrap();
    let lock = |reason: &str| {
        // The daemon takes its own off when the session has ended.
        eventually("the worktree is unlocked", || {
            repo.run(&["worktree", "lock", "--reason", reason, path]).then_some(())
        });
    };
    for reason in ["on a stick", "reserved by agent-aaaaaaaaaaaaaaaaaaaa", &format!("reserved by {ended} and me")] {
        lock(reason);
        let kept = vec![("t".to_owned(), format!("it is locked: {reason}"))];
        assert_eq!(clean(&mut client, &repo, false), (vec![], kept));
        repo.git(&["worktree", "unlock", path]);
    }
    lock(&format!("reserved by {ended}"));
    assert_eq!(clean(&mut client, &repo, false), (vec!["t".to_owned()], vec![]));
}

/// Lets some time pass in which the daemon is as busy as ever: a removal takes some ten milliseconds.
fn wait(client: &mut Client, steps: usize) {
    for _ in 0..steps * 40 {
        client.ok("daemon.info", &json!({}));
    }
}

/// Cleans while another client reserves, many times; `reserve` gets the round and answers the session, if it has one.
fn contend(reserve: impl Fn(&mut Client, &Repo, &Path) -> Option<Value> + Sync) {
    const ROUNDS: usize = 12;
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let (mut cleaner, mut agent) = (daemon.client(), daemon.client());
    for round in 0..ROUNDS {
        let path = worked(&mut agent, &repo, "t");
        repo.git(&["merge", "--quiet", "--no-edit", "t"]);
        let start = Barrier::new(2);
        let (reserved, removed) = std::thread::scope(|scope| {
            let reserved = scope.spawn(|| {
                start.wait();
                wait(&mut agent, round / 4);
                reserve(&mut agent, &repo, &path)
            });
            start.wait();
            wait(&mut cleaner, round % 4);
            let removed = clean(&mut cleaner, &repo, false).0;
            (reserved.join().unwrap(), removed)
        });
        let Some(held) = reserved else {
            assert_eq!(removed.len(), 1, "only a worktree that is gone is no place to reserve from");
            continue;
        };
        let worktree = repo.seen_from(held["path"].as_str().unwrap());
        assert_eq!(worktree.git(&["status", "--porcelain"]), "", "it has all of it: {held}");
        assert_eq!(worktree.git(&["symbolic-ref", "--short", "HEAD"]), "t");
        agent.release(&held);
        std::fs::write(worktree.path.join("more"), round.to_string()).unwrap();
        worktree.git(&["add", "-A"]);
        worktree.git(&["commit", "--quiet", "-m", "more"]);
    }
}

#[test]
fn a_reserve_beside_a_clean_always_has_its_worktree() {
    contend(|client, repo, _| Some(reserve(client, repo, "t")));
}

#[test]
fn a_session_in_a_worktree_that_another_thread_has_keeps_it() {
    contend(|client, _, path| {
        let params = json!({"repo": path.to_str().unwrap(), "thread": "other", "at_tip": true});
        match client.call("agent.reserve", &params) {
            Ok(mut granted) => Some(granted["reservation"].take()),
            Err(fault) if fault.kind() == "repository_not_found" => None,
            Err(fault) => panic!("{}", fault.0),
        }
    });
}
