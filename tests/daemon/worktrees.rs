//! Worktrees that cannot be made: nothing is left of a reserve that asked for one.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Client, Place, Repo};

fn ask(repo: &Repo, thread: &str, path: Option<&str>) -> Value {
    let worktree = path.map_or(json!({}), |path| json!({"path": path}));
    json!({"repo": repo.at(), "thread": thread, "at_tip": true, "worktree": worktree})
}

fn sessions(client: &mut Client, repo: &Repo) -> usize {
    client.ok("agent.list", &json!({"repo": repo.at()}))["reservations"].as_array().unwrap().len()
}

#[test]
fn what_is_refused_for_its_worktree_leaves_no_branch_and_no_session() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    repo.git(&["branch", "elsewhere"]);
    let elsewhere = place.root.join("elsewhere");
    repo.git(&["worktree", "add", "--quiet", elsewhere.to_str().unwrap(), "elsewhere"]);
    repo.git(&["-C", elsewhere.to_str().unwrap(), "bisect", "start"]);
    repo.git(&["-C", elsewhere.to_str().unwrap(), "checkout", "--quiet", "--detach"]);
    let occupied = place.root.join("r.worktrees/occupied");
    std::fs::create_dir_all(&occupied).unwrap();
    std::fs::write(occupied.join("precious"), "").unwrap();
    let before = repo.branches();
    for (kind, thread, path) in [
        ("path_not_allowed", "outside", Some("/elsewhere/outside")),
        ("path_not_allowed", "occupied", None),
        ("thread_checked_out", "main", None),
        ("thread_checked_out", "elsewhere", None),
    ] {
        let fault = client.refused(kind, "agent.reserve", &ask(&repo, thread, path));
        assert_eq!(repo.branches(), before, "no branch is left: {}", fault.0);
        assert_eq!(sessions(&mut client, &repo), 0, "no session is left: {}", fault.0);
    }
    let mark = repo.path.join(".git/heddle-registry");
    assert!(!mark.exists(), "and no mark: nothing was ever reserved here");
    assert!(occupied.join("precious").exists());
    client.reserve(repo.at(), "main");
    let owner = client.refused("live_owner", "agent.reserve", &ask(&repo, "main", None));
    assert_eq!(owner.details()["owner"]["thread"], "main", "who holds it comes before where it is checked out");
}

#[test]
fn the_way_out_of_a_worktree_that_was_removed_by_hand_works() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let held = client.ok("agent.reserve", &ask(&repo, "t", None))["reservation"].take();
    let path = held["path"].as_str().unwrap().to_owned();
    std::fs::remove_dir_all(&path).unwrap();
    // Before and after its lock is taken off: the command must not depend on who is first.
    client.release(&held);
    let fault = client.refused("worktree_not_found", "agent.reserve", &ask(&repo, "t", None));
    assert_eq!(sessions(&mut client, &repo), 1, "only the one that ended");
    let command = fault.0["data"]["primary_command"].as_str().unwrap();
    assert!(Command::new("sh").args(["-c", command]).current_dir("/").status().unwrap().success(), "{command}");
    let again = client.ok("agent.reserve", &ask(&repo, "t", None))["reservation"].take();
    assert_eq!(again["path"], path);
    assert_eq!(repo.git(&["-C", &path, "rev-parse", "HEAD"]), repo.id("t"));
}
