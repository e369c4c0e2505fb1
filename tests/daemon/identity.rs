//! Which repository, and whose: device, inode and path may lie, and so may a mark that anybody can write.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::mounts::{Mount, not_run};
use crate::support::{Daemon, Place, Repo, eventually, key};

/// The first token of an era that only many marks could have made.
const MANY_ERAS: u64 = 100 << 40;

fn token(reservation: &Value) -> u64 {
    reservation["fencing_token"].as_u64().unwrap()
}

fn mark_of(repo: &Repo) -> std::path::PathBuf {
    repo.path.join(".git/heddle-registry")
}

fn reserve(repo: &Repo, thread: &str) -> Value {
    json!({"repo": repo.at(), "thread": thread})
}

/// Makes another repository in the very directory of one, as when a new directory gets the inode of a removed one.
fn replace_by_another(repo: &Repo) {
    let git_dir = repo.path.join(".git");
    for entry in std::fs::read_dir(&git_dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }
    repo.git(&["init", "--quiet", "-b", "main"]);
    repo.commit("another");
}

#[test]
fn a_repository_seen_by_two_mounts_has_one_holder_for_each_branch() {
    let place = Place::new();
    let repo = place.repo("r");
    let Some(mount) = Mount::seen_again(&repo.path, &place.root.join("seen")) else {
        return not_run("showing a directory by a second mount needs root and bindfs");
    };
    let seen = repo.seen_from(mount.path.to_str().unwrap());
    let mut daemon = place.start();
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "t");
    client.refused("live_owner", "agent.reserve", &reserve(&seen, "t"));
    let other = client.reserve(seen.at(), "u");
    client.refused("live_owner", "agent.reserve", &reserve(&repo, "u"));
    assert_eq!(client.holder(seen.at(), "t").unwrap()["session_id"], held["session_id"]);
    daemon.kill();
    daemon.restart();
    let mut client = daemon.client();
    client.refused("live_owner", "agent.reserve", &reserve(&seen, "t"));
    client.refused("live_owner", "agent.reserve", &reserve(&repo, "u"));
    for session in [&held, &other] {
        assert_eq!(client.ok("agent.validate", &key(session))["valid"], true);
    }
}

#[test]
fn a_copy_of_a_repository_is_another_repository() {
    let place = Place::new();
    let repo = place.repo("r");
    let daemon = place.start();
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "t");
    let copy = repo.seen_from(place.root.join("copy").to_str().unwrap());
    assert!(Command::new("cp").arg("-a").args([&repo.path, &copy.path]).status().unwrap().success());
    assert!(client.holder(copy.at(), "t").is_none(), "nobody holds anything in the copy");
    let other = client.reserve(copy.at(), "t");
    for session in [&held, &other] {
        assert_eq!(client.ok("agent.validate", &key(session))["valid"], true);
    }
    client.refused("live_owner", "agent.reserve", &reserve(&repo, "t"));
    client.refused("live_owner", "agent.reserve", &reserve(&copy, "t"));
    assert_ne!(std::fs::read(mark_of(&repo)).unwrap(), std::fs::read(mark_of(&copy)).unwrap());
}

/// A session's right is to the repository that it was granted in, and not to one that got its device and inode.
fn sessions_of_a_removed_repository_end(daemon: &mut Daemon<'_>, repo: &Repo, restarts: bool) {
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "t");
    if restarts {
        daemon.stop();
    }
    replace_by_another(repo);
    if restarts {
        daemon.restart();
    }
    let mut client = daemon.client();
    let mut update = key(&held);
    update["expected"] = Value::Null;
    update["new"] = repo.id("HEAD").into();
    client.call("thread.update", &update).unwrap_err();
    assert!(!repo.branches().contains_key("t"), "a token of the other repository made a branch in this one");
    let mut capture = key(&held);
    capture["message"] = "m".into();
    client.call("agent.capture", &capture).unwrap_err();
    client.call("agent.ready", &key(&held)).unwrap_err();
    let ended = client.show(&held);
    assert_eq!((&ended["status"], &ended["end_reason"]), (&"abandoned".into(), &"evicted".into()));
    assert!(client.holder(repo.at(), "t").is_none());
    // The new one is free, and its threads are its own.
    let new = client.reserve(repo.at(), "t");
    assert!(token(&new) > token(&held));
    assert_eq!(client.ok("agent.validate", &key(&new))["valid"], true);
}

#[test]
fn sessions_of_a_repository_that_was_removed_end() {
    let place = Place::new();
    let repo = place.repo("r");
    let mut daemon = place.start();
    sessions_of_a_removed_repository_end(&mut daemon, &repo, false);
}

#[test]
fn sessions_of_a_repository_that_was_removed_while_no_daemon_ran_end() {
    let place = Place::new();
    let repo = place.repo("r");
    let mut daemon = place.start();
    sessions_of_a_removed_repository_end(&mut daemon, &repo, true);
}

#[test]
fn nobody_need_ask_for_the_sessions_of_a_removed_repository_to_end() {
    let place = Place::new();
    let repo = place.repo("r");
    let daemon = place.start();
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "t");
    replace_by_another(&repo);
    eventually("the session ends", || (client.show(&held)["status"] == "abandoned").then_some(()));
}

/// A repository that goes away and comes back, by another inode, is the same: its mark says so.
#[test]
fn a_repository_that_was_put_back_keeps_its_sessions() {
    let place = Place::new();
    let repo = place.repo("r");
    let mut daemon = place.start();
    let held = daemon.client().reserve(repo.at(), "t");
    let back = place.root.join("back");
    assert!(Command::new("cp").arg("-a").args([&repo.path, &back]).status().unwrap().success());
    for restarts in [false, true] {
        if restarts {
            daemon.stop();
        }
        std::fs::rename(&repo.path, place.root.join(format!("away-{restarts}"))).unwrap();
        assert!(Command::new("cp").arg("-a").args([&back, &repo.path]).status().unwrap().success());
        if restarts {
            daemon.restart();
        }
        let mut client = daemon.client();
        client.refused("live_owner", "agent.reserve", &reserve(&repo, "t"));
        assert_eq!(client.ok("agent.validate", &key(&held))["valid"], true);
    }
}

#[test]
fn marks_that_others_write_do_not_use_up_the_fencing_tokens() {
    let place = Place::new();
    let (repo, other) = (place.repo("r"), place.repo("other"));
    let mut daemon = place.start();
    let mut client = daemon.client();
    let first = client.reserve(repo.at(), "t");
    client.release(&first);
    let text = std::fs::read_to_string(mark_of(&repo)).unwrap();
    let id = text.split(' ').next().unwrap().to_owned();
    let state = place.state().display().to_string();
    let signed = text.lines().skip(2).collect::<Vec<_>>().join("\n");
    for mark in [
        format!("{id} 999\n{state}\n"),
        format!("{id} 1\n{state}\n"),
        format!("{id} 8191\n{state}\n"),
        format!("{id} 999\n{state}\n{signed}\n"),
        format!("{} 8191\n/no/such/state\n", "0".repeat(32)),
    ] {
        std::fs::write(mark_of(&repo), &mark).unwrap();
        for thread in ["t", "u"] {
            let fault = client.refused("repository_unavailable", "agent.reserve", &reserve(&repo, thread));
            if mark.starts_with(&id) {
                let said = fault.0["data"]["recovery_commands"].to_string();
                assert!(said.contains(mark_of(&repo).to_str().unwrap()), "the file is named: {said}");
            }
        }
        if mark.contains("999") || mark.contains("8191") {
            let adopt = json!({"repo": repo.at(), "reason": "why not"});
            client.refused("repository_unavailable", "repo.adopt", &adopt);
        }
        let next = client.reserve(other.at(), "t");
        client.release(&next);
        assert!(token(&next) < MANY_ERAS, "{mark}: {next}");
        daemon.stop();
        daemon.restart();
        client = daemon.client();
    }
    // The way out that was named.
    std::fs::remove_file(mark_of(&repo)).unwrap();
    let last = client.reserve(repo.at(), "t");
    assert!(token(&last) < MANY_ERAS && token(&last) > token(&first));
}

/// A daemon in a mount namespace of its own; ended when it is dropped.
struct Inner(std::process::Child);

impl Drop for Inner {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts a daemon whose state directory is at the same path, and another one: in a mount namespace of its own.
fn start_in_a_container(place: &Place, socket: &Path) -> Option<Inner> {
    let daemon = place.command();
    let script = "mount -t tmpfs -o mode=700 none \"$HEDDLE_STATE_DIR\" && exec \"$0\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(daemon.get_program());
    command.env_clear().envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut inner = Inner(command.env("HEDDLE_SOCKET", socket).spawn().ok()?);
    eventually("the daemon in the container serves, or cannot", || {
        if inner.0.try_wait().unwrap().is_some() {
            return Some(false);
        }
        std::os::unix::net::UnixStream::connect(socket).is_ok().then_some(true)
    })
    .then_some(inner)
}

#[test]
fn a_repository_is_not_taken_over_from_a_daemon_in_another_mount_namespace() {
    let place = Place::new();
    let repo = place.repo("r");
    let daemon = place.start();
    let held = daemon.client().reserve(repo.at(), "t");
    let socket = place.root.join("inner/d.sock");
    let Some(_inner) = start_in_a_container(&place, &socket) else {
        return not_run("a mount namespace with another state directory at the same path needs root");
    };
    let mut client = crate::support::Client::connect(&socket);
    let adopt = json!({"repo": repo.at(), "reason": "it seems to be free"});
    client.refused("repository_unavailable", "agent.reserve", &reserve(&repo, "t"));
    let fault = client.refused("repository_unavailable", "repo.adopt", &adopt);
    assert!(fault.0["data"]["recovery_commands"].to_string().contains("heddle-registry"), "a way out: {}", fault.0);
    client.refused("repository_unavailable", "agent.reserve", &reserve(&repo, "t"));
    assert_eq!(daemon.client().ok("agent.validate", &key(&held))["valid"], true);
}

/// A mark says which repository this is, but anybody can remove or spoil it: that must not end the sessions of others.
#[test]
fn a_mark_that_is_removed_or_cannot_be_read_ends_no_session() {
    let place = Place::new();
    let repo = place.repo("r");
    let daemon = place.start();
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "t");
    let mark = mark_of(&repo);
    let sound = std::fs::read(&mark).unwrap();
    type Spoil = (&'static str, fn(&Path));
    let spoil: [Spoil; 4] = [
        ("removed", |_| {}),
        ("garbage", |mark| std::fs::write(mark, "garbage").unwrap()),
        ("a directory", |mark| std::fs::create_dir(mark).unwrap()),
        ("another id", |mark| std::fs::write(mark, "another /state\n/nowhere\n").unwrap()),
    ];
    for (what, spoil) in spoil {
        std::fs::remove_file(&mark).unwrap();
        spoil(&mark);
        // Whatever these answer: they look at the mark.
        let _looked = client.call("thread.list", &json!({"repo": repo.at()}));
        let _refused = client.call("agent.reserve", &reserve(&repo, "t")).unwrap_err();
        assert_eq!(client.ok("agent.validate", &key(&held))["valid"], true, "{what}");
        if mark.is_dir() { std::fs::remove_dir(&mark) } else { std::fs::remove_file(&mark) }.unwrap_or_default();
        std::fs::write(&mark, &sound).unwrap();
        client.refused("live_owner", "agent.reserve", &reserve(&repo, "t"));
        assert_eq!(client.ok("agent.validate", &key(&held))["valid"], true, "{what}");
    }
    std::fs::remove_file(&mark).unwrap();
    let released = client.ok("agent.release", &key(&held));
    assert_eq!(released["reservation"]["status"], "complete");
}

/// A copy has the original's mark. While the original is away for a moment, nothing of it may pass to the copy.
#[test]
fn a_copy_does_not_take_the_place_of_an_original_that_is_away() {
    let place = Place::new();
    let repo = place.repo("r");
    let daemon = place.start();
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "t");
    let copy = repo.seen_from(place.root.join("copy").to_str().unwrap());
    assert!(Command::new("cp").arg("-a").args([&repo.path, &copy.path]).status().unwrap().success());
    let away = place.root.join("away");
    std::fs::rename(&repo.path, &away).unwrap();
    let _looked = client.call("thread.list", &json!({"repo": copy.at()}));
    client.refused("repository_unavailable", "agent.reserve", &reserve(&copy, "t"));
    client.refused("repository_unavailable", "agent.reserve", &reserve(&copy, "u"));
    std::fs::rename(&away, &repo.path).unwrap();
    client.refused("live_owner", "agent.reserve", &reserve(&repo, "t"));
    assert_eq!(client.ok("agent.validate", &key(&held))["valid"], true);
    // Now that the original is back, the copy is seen to be one.
    let other = client.reserve(copy.at(), "t");
    for session in [&held, &other] {
        assert_eq!(client.ok("agent.validate", &key(session))["valid"], true);
    }
}
