//! Worktrees that are made side by side, unlocked again, and those that cannot be made: nothing is left of a reserve that asked
//! for one.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Client, Daemon, Place, Repo, eventually};

/// Starts a daemon that runs `script` in place of `git worktree add`: `$root` is the place's folder, and `git` the real one
/// with what it was called with as `"$@"`.
fn start_with<'a>(place: &'a Place, script: &str) -> Daemon<'a> {
    let folder = place.root.join("bin");
    std::fs::create_dir(&folder).unwrap();
    let path = std::env::var("PATH").unwrap();
    let text = format!(
        "#!/bin/sh\nPATH='{path}' root='{}'\ncase \" $* \" in *' worktree add '*) ;; *) exec git \"$@\" ;; esac\n{script}\n",
        place.root.display()
    );
    let program = folder.join("git");
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = place.command();
    command.env("PATH", format!("{}:{path}", folder.display()));
    let daemon = place.launch(&mut command);
    eventually("the daemon listens", || Client::try_connect(&place.socket()).ok());
    daemon
}

/// What a failed reserve could have left in a repository: its branches, reflogs, records of worktrees, folders beside it.
fn leftovers(repo: &Repo) -> Vec<PathBuf> {
    let beside = PathBuf::from(format!("{}.worktrees", repo.at()));
    let folders = ["refs/heads", "logs/refs/heads", "worktrees"].map(|folder| repo.path.join(".git").join(folder));
    let mut found = vec![];
    for folder in folders {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        found.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with("main")));
    }
    found.extend(beside.exists().then_some(beside));
    found
}

fn locked(repo: &Repo) -> usize {
    repo.git(&["worktree", "list", "--porcelain"]).lines().filter(|line| line.starts_with("locked")).count()
}

#[test]
fn the_worktrees_of_one_repository_are_made_one_at_a_time_and_no_other_repository_waits() {
    let place = Place::new();
    let daemon = start_with(
        &place,
        r#"case "$GIT_DIR" in */crowded/.git) ;; *) exec git "$@" ;; esac
        while [ -e "$root/hold" ]; do sleep 0.01; done
        mkdir "$root/busy" || { echo >> "$root/two-at-once"; exec git "$@"; }
        git "$@"; status=$?; rmdir "$root/busy"; exit $status"#,
    );
    let (crowded, other) = (place.repo("crowded"), place.repo("other"));
    std::fs::write(place.root.join("hold"), "").unwrap();
    let mut clients: Vec<Client> = (0..12).map(|_| daemon.client()).collect();
    let asked: Vec<u64> = (0..)
        .zip(&mut clients)
        .map(|(number, client)| client.start("agent.reserve", &ask(&crowded, &format!("t{number}"), None)))
        .collect();
    daemon.client().ok("agent.reserve", &ask(&other, "t", None));
    std::fs::remove_file(place.root.join("hold")).unwrap();
    for (id, client) in asked.into_iter().zip(&mut clients) {
        let answer = client.receive();
        assert_eq!((&answer["id"], &answer["error"]), (&json!(id), &Value::Null));
        client.release(&answer["result"]["reservation"]);
    }
    assert!(!place.root.join("two-at-once").exists(), "Git made two worktrees of one repository at one time");
    assert_eq!((locked(&crowded), crowded.locks().len()), (0, 0), "each is unlocked once its session has ended");
}

#[test]
fn a_worktree_that_another_git_is_just_making_does_not_stop_this_one() {
    let place = Place::new();
    // The other one's record is half written at the first try, and gone at the third.
    let daemon = start_with(
        &place,
        r#"echo >> "$root/tries"; [ $(wc -l < "$root/tries") = 3 ] && rm -r "$GIT_DIR/worktrees/half"; exec git "$@""#,
    );
    let repo = place.repo("r");
    let record = repo.path.join(".git/worktrees/half");
    std::fs::create_dir_all(&record).unwrap();
    std::fs::write(record.join("gitdir"), format!("{}/half/.git\n", place.root.display())).unwrap();
    std::fs::write(record.join("HEAD"), "ref: refs/heads/half\n").unwrap();
    std::fs::write(record.join("commondir"), "").unwrap();
    daemon.client().ok("agent.reserve", &ask(&repo, "t", None));
    assert!(std::fs::read(place.root.join("tries")).unwrap().len() >= 3, "it was in the way");
}

#[test]
fn a_worktree_that_cannot_be_made_leaves_neither_branch_nor_record_nor_folder() {
    let place = Place::new();
    // Git is killed once it has made everything.
    let daemon = start_with(&place, r#"git "$@"; [ -e "$root/works" ] || kill -9 $$"#);
    let repo = place.repo("r");
    let mut client = daemon.client();
    for thread in ["t", "deep/er/t"] {
        client.refused("repository_unavailable", "agent.reserve", &ask(&repo, thread, None));
        assert_eq!(leftovers(&repo), Vec::<PathBuf>::new());
    }
    assert_eq!(client.ok("thread.list", &json!({"repo": repo.at()}))["threads"], json!([]));
    let ended = client.ok("agent.list", &json!({"repo": repo.at()}))["reservations"].take();
    let reasons: Vec<&Value> = ended.as_array().unwrap().iter().map(|session| &session["end_reason"]).collect();
    assert_eq!(reasons, ["reserve_failed", "reserve_failed"]);
    std::fs::write(place.root.join("works"), "").unwrap();
    client.ok("agent.reserve", &ask(&repo, "t", None));
}

#[test]
fn the_branch_of_a_reserve_that_failed_stays_where_it_is_not_its_own() {
    let place = Place::new();
    // Somebody commits on the new branch before its worktree fails.
    let daemon =
        start_with(&place, r#"[ -e "$root/commit" ] && git update-ref refs/heads/t "$(cat "$root/commit")"; exit 1"#);
    let repo = place.repo("r");
    let mut client = daemon.client();
    repo.git(&["branch", "before"]);
    client.refused("repository_unavailable", "agent.reserve", &ask(&repo, "before", None));
    assert!(repo.branches().contains_key("before"), "it was there before");
    let commit = repo.loose_commit("main", "work");
    std::fs::write(place.root.join("commit"), &commit).unwrap();
    client.refused("repository_unavailable", "agent.reserve", &ask(&repo, "t", None));
    assert_eq!(repo.id("t"), commit, "it has somebody's work");
}

#[test]
fn a_worktree_is_unlocked_once_the_end_of_its_session_is_answered() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    for round in 0..20 {
        let held = client.ok("agent.reserve", &ask(&repo, "t", None))["reservation"].take();
        assert_eq!(locked(&repo), 1);
        if round % 2 == 0 {
            client.release(&held);
        } else {
            client.ok("agent.evict", &json!({"session_id": held["session_id"], "reason": "a test"}));
        }
        assert_eq!(locked(&repo), 0, "round {round}");
    }
}

#[test]
fn a_lock_that_an_ended_session_left_is_taken_over_and_any_other_stays() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let held = client.ok("agent.reserve", &ask(&repo, "t", None))["reservation"].take();
    let lock = repo.path.join(".git/worktrees/t/locked");
    let left = std::fs::read_to_string(&lock).unwrap();
    client.release(&held);
    daemon.kill();
    std::fs::write(&lock, left).unwrap();
    daemon.restart();
    let mut client = daemon.client();
    let held = client.ok("agent.reserve", &ask(&repo, "t", None))["reservation"].take();
    let id = held["session_id"].as_str().unwrap();
    assert_eq!(std::fs::read_to_string(&lock).unwrap().trim_end(), format!("reserved by {id}"));
    client.release(&held);
    assert_eq!(locked(&repo), 0);
    std::fs::write(&lock, "on a stick").unwrap();
    let held = client.ok("agent.reserve", &ask(&repo, "t", None))["reservation"].take();
    client.release(&held);
    assert_eq!(std::fs::read_to_string(&lock).unwrap(), "on a stick");
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named_before_anything_is_made() {
    if nix::unistd::geteuid().is_root() {
        eprintln!("NOT TESTED: root may write everywhere");
        return;
    }
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let home = std::fs::File::open(&place.root).unwrap();
    home.set_permissions(std::fs::Permissions::from_mode(0o555)).unwrap();
    let answer = client.call("agent.reserve", &ask(&repo, "t", None));
    home.set_permissions(std::fs::Permissions::from_mode(0o755)).unwrap();
    let fault = answer.expect_err("nothing can be made there");
    assert_eq!(fault.kind(), "path_not_allowed", "{}", fault.0);
    assert!(fault.0["data"]["hint"].as_str().unwrap().contains("worktree_roots"), "{}", fault.0);
    assert!(fault.0["message"].as_str().unwrap().contains(place.root.to_str().unwrap()), "{}", fault.0);
    assert_eq!(leftovers(&repo), Vec::<PathBuf>::new());
}

#[test]
fn a_partial_clone_that_lacks_files_names_what_fetches_them_and_keeps_no_branch() {
    let place = Place::new();
    let daemon = place.start();
    let source = place.repo("source");
    source.git(&["config", "uploadpack.allowFilter", "true"]);
    let (from, clone) = (format!("file://{}", source.at()), place.root.join("clone"));
    let config = "protocol.file.allow=always";
    source.git(&["-c", config, "clone", "--quiet", "--filter=blob:none", &from, clone.to_str().unwrap()]);
    source.commit("two");
    let repo = source.seen_from(clone.to_str().unwrap());
    repo.git(&["-c", config, "fetch", "--quiet"]);
    let params = json!({"repo": repo.at(), "thread": "t", "anchor": "origin/main", "worktree": {}});
    let mut client = daemon.client();
    let fault = client.refused("repository_unavailable", "agent.reserve", &params);
    assert_eq!(leftovers(&repo), Vec::<PathBuf>::new());
    let command = fault.0["data"]["primary_command"].as_str().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env("GIT_ALLOW_PROTOCOL", "file").current_dir("/");
    assert!(shell.status().unwrap().success(), "{command}");
    client.ok("agent.reserve", &params);
}

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
