//! One branch has one name, whatever the file system, a link or a spelling makes of it.

use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::json;

use crate::mounts::{Mount, not_run};
use crate::support::{Daemon, Place, Repo};

fn conflict(daemon: &Daemon<'_>, repo: &Repo, thread: &str, existing: &str) {
    let params = json!({"repo": repo.at(), "thread": thread});
    let fault = daemon.client().refused("thread_name_conflict", "agent.reserve", &params);
    assert_eq!(fault.details()["existing"], existing, "{thread}: {fault:?}");
}

/// Where names that differ in case are one branch, two sessions never hold it by two names.
fn one_holder_where_case_is_folded(daemon: &Daemon<'_>, repo: &Repo) {
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "fix");
    conflict(daemon, repo, "Fix", "fix");
    conflict(daemon, repo, "FIX/a", "fix");
    client.release(&held);
    conflict(daemon, repo, "Fix", "fix");
    repo.git(&["branch", "feat/y"]);
    conflict(daemon, repo, "Feat/x", "feat/y");
    repo.git(&["pack-refs", "--all"]);
    conflict(daemon, repo, "fiX", "fix");
    conflict(daemon, repo, "FEAT/y", "feat/y");
    client.reserve(repo.at(), "fix");
    client.reserve(repo.at(), "feat/x");
}

#[test]
fn a_file_system_that_folds_case_has_one_holder_for_each_branch() {
    let place = Place::new();
    let Some(mount) = Mount::folding(&place.root) else {
        return not_run("mounting a file system that folds case needs root, losetup and lowntfs-3g");
    };
    let daemon = place.start();
    let link = place.root.join("at");
    symlink(&mount.path, &link).unwrap();
    let repo = place.repo("at/r");
    // As when it was cloned elsewhere: what the file system does counts, whatever is configured.
    repo.git(&["config", "core.ignorecase", "false"]);
    one_holder_where_case_is_folded(&daemon, &repo);
}

#[test]
fn a_repository_that_says_that_it_folds_case_is_believed() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    repo.git(&["config", "core.ignorecase", "true"]);
    one_holder_where_case_is_folded(&daemon, &repo);
    repo.git(&["config", "core.ignorecase", "false"]);
    daemon.client().reserve(repo.at(), "Fix");
}

#[test]
fn composed_and_decomposed_characters_are_one_where_the_file_system_says_so() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    repo.git(&["config", "core.precomposeunicode", "true"]);
    let (composed, decomposed) = ("b\u{fc}cher", "bu\u{308}cher");
    repo.git(&["branch", composed]);
    daemon.client().reserve(repo.at(), composed);
    conflict(&daemon, &repo, &format!("{decomposed}/a"), composed);
}

#[test]
fn a_branch_by_its_full_name_is_the_same_branch() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    client.reserve(repo.at(), "x");
    let params = json!({"repo": repo.at(), "thread": "refs/heads/x"});
    client.refused("live_owner", "agent.reserve", &params);
    assert_eq!(client.reserve(repo.at(), "refs/heads/y")["thread"], "y");
    assert!(!repo.branches().contains_key("refs/heads/y"));
}

#[test]
fn a_branch_behind_a_symbolic_link_is_not_reserved_by_that_name() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    client.reserve(repo.at(), "bb/x");
    let heads = repo.path.join(".git/refs/heads");
    symlink("bb", heads.join("aa")).unwrap();
    for thread in ["aa/x", "aa/new", "aa/deep/new"] {
        let params = json!({"repo": repo.at(), "thread": thread});
        let fault = client.refused("thread_name_invalid", "agent.reserve", &params);
        let suggested = fault.details()["suggestion"].as_str().unwrap().to_owned();
        client.reserve(repo.at(), &suggested);
    }
    // A folder that was one when the branch was read before, and became a link since.
    let held = client.reserve(repo.at(), "cc/x");
    client.release(&held);
    client.reserve(repo.at(), "cc/x");
    std::fs::rename(heads.join("cc"), heads.join("dd")).unwrap();
    symlink("dd", heads.join("cc")).unwrap();
    client.reserve(repo.at(), "dd/x");
    client.refused("thread_name_invalid", "agent.reserve", &json!({"repo": repo.at(), "thread": "cc/x"}));

    // All of the refs of another repository.
    let other = place.repo("other");
    std::fs::remove_dir_all(other.path.join(".git/refs")).unwrap();
    symlink(repo.path.join(".git/refs"), other.path.join(".git/refs")).unwrap();
    client.refused("thread_name_invalid", "agent.reserve", &json!({"repo": other.at(), "thread": "bb/x"}));
}

#[test]
fn a_branch_that_exists_is_held_under_any_name_that_git_allows() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    for name in ["feat(api)", "fix#12", "b\u{fc}cher", "\u{1f680}", "it's", "$(id)", "a;b", "a!b", "a\"b", "refs/x"] {
        let new = json!({"repo": repo.at(), "thread": name});
        if name != "refs/x" {
            let fault = client.refused("thread_name_invalid", "agent.reserve", &new);
            let suggested = fault.details()["suggestion"].as_str().unwrap();
            assert!(
                suggested.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte)),
                "{suggested}"
            );
        }
        repo.git(&["branch", "--", name]);
        let session = client.ok("agent.reserve", &json!({"repo": repo.at(), "thread": name, "worktree": {}}));
        assert_eq!(session["reservation"]["thread"], name);
        // The commands of a refusal do what they say in a shell, whatever the name.
        let fault = client.refused("live_owner", "agent.reserve", &new);
        let command = fault.0["data"]["primary_command"].as_str().unwrap();
        let words = Command::new("sh").args(["-c", &format!("printf '%s\\n' {command}")]).output().unwrap();
        let words = String::from_utf8(words.stdout).unwrap();
        assert!(words.lines().any(|word| word == name), "{name}: {command}: {words}");
    }
}

#[test]
fn a_new_branch_does_not_take_the_name_of_a_remote_tracking_branch() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    for packed in [false, true] {
        repo.git(&["update-ref", "refs/remotes/origin/topic", "HEAD"]);
        if packed {
            repo.git(&["pack-refs", "--all"]);
        }
        let params = json!({"repo": repo.at(), "thread": "origin/topic"});
        let fault = client.refused("thread_name_invalid", "agent.reserve", &params);
        let suggested = fault.details()["suggestion"].as_str().unwrap().to_owned();
        let session = client.reserve(repo.at(), &suggested);
        client.release(&session);
    }
    // One that somebody made all the same can be held: it is there.
    repo.git(&["update-ref", "refs/heads/origin/topic", "HEAD"]);
    client.reserve(repo.at(), "origin/topic");
}

#[test]
fn a_directory_of_git_new_workdir_is_refused_in_words() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let other = place.root.join("workdir/.git");
    std::fs::create_dir_all(&other).unwrap();
    for name in ["config", "refs", "objects", "info", "packed-refs"] {
        symlink(repo.path.join(".git").join(name), other.join(name)).unwrap();
    }
    std::fs::copy(repo.path.join(".git/HEAD"), other.join("HEAD")).unwrap();
    let params = json!({"repo": place.root.join("workdir"), "thread": "t"});
    let fault = daemon.client().refused("repository_unavailable", "agent.reserve", &params);
    let cause = fault.details()["cause"].as_str().unwrap();
    assert!(cause.contains("git-new-workdir") && cause.contains("git worktree add"), "{cause}");
}
