//! Checks by the real daemon: `git merge` and `git status` say whether its answer was right, and what it advises is done.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Client, Place, Repo, eventually, key};

/// A thread meant for `main` that is held in a worktree of its own.
struct Work {
    repo: Repo,
    tree: Repo,
    held: Value,
}

impl Work {
    fn new(place: &Place, client: &mut Client) -> Self {
        let repo = place.repo("r");
        let config = "[user]\n\tname = Ada\n\temail = ada@example.org\n";
        std::fs::write(place.root.join("home/.gitconfig"), config).unwrap();
        let params = json!({"repo": repo.at(), "thread": "t", "worktree": {}});
        let held = client.ok("agent.reserve", &params)["reservation"].take();
        let tree = repo.seen_from(held["path"].as_str().unwrap());
        Self { repo, tree, held }
    }

    fn ready(&self, client: &mut Client, more: &Value) -> Value {
        let mut params = key(&self.held);
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.ok("agent.ready", &params)
    }

    fn state(&self, client: &mut Client) -> Value {
        client.ok("thread.show", &json!({"repo": self.repo.at(), "thread": "t"}))["thread"]["state"].take()
    }

    fn release(&self, client: &mut Client) {
        client.ok("agent.release", &key(&self.held));
    }
}

fn kinds(findings: &Value) -> Vec<&str> {
    findings.as_array().unwrap().iter().map(|finding| finding["kind"].as_str().unwrap()).collect()
}

/// Runs a command of an answer just as it is, in a shell, as somebody who pastes it.
fn paste(place: &Place, command: &str) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    shell.env("HOME", place.root.join("home")).env("GIT_CONFIG_NOSYSTEM", "1").current_dir("/");
    shell.output().unwrap().status.success()
}

#[test]
fn a_thread_without_anything_in_its_way_is_ready_and_what_is_advised_merges_it() {
    let place = Place::new();
    let daemon = place.start();
    let mut client = daemon.client();
    let work = Work::new(&place, &mut client);
    std::fs::write(work.tree.path.join("new"), "new").unwrap();
    let verification = json!({"tests_passed": 12, "tests_failed": 0, "coverage_pct": 81.5, "lint_warnings": 3});
    let said = json!({"message": "Add it", "confidence": 0.8, "verification": verification});
    let answer = work.ready(&mut client, &said);
    assert_eq!((&answer["status"], &answer["captured"]), (&json!("completed"), &json!(true)), "{answer}");
    assert_eq!(answer["captured_state"], work.repo.id("t"));
    let report = &answer["report"];
    assert_eq!((&report["ahead"], &report["behind"]), (&json!(1), &json!(0)));
    assert_eq!((&report["target_thread"], &report["freshness"]), (&json!("main"), &json!("current")));
    assert_eq!((&report["changed_paths"], &report["changed_count"]), (&json!(["new"]), &json!(1)));
    assert_eq!((&report["blockers"], &report["warnings"]), (&json!([]), &json!([])));
    let thread = &answer["thread"];
    assert_eq!((&thread["state"], &thread["verification_summary"]), (&json!("ready"), &verification));
    assert_eq!(thread["confidence_summary"], json!({"value": 0.8, "band": "high"}));
    let log = client.ok("oplog.list", &json!({"repo": work.repo.at(), "thread": "t", "limit": 1}));
    let last = &log["operations"][0];
    assert_eq!((&last["kind"], &last["session_id"]), (&json!("ready"), &work.held["session_id"]));
    assert_eq!(last["detail"]["after"], work.repo.id("t"));

    work.release(&mut client);
    assert_eq!(work.state(&mut client), "ready", "what was checked stays checked");
    assert!(paste(&place, answer["recommended_action"].as_str().unwrap()), "{answer}");
    assert_eq!(work.repo.id("main"), work.repo.id("t"), "that merged it");
    let shown = client.ok("thread.show", &json!({"repo": work.repo.at(), "thread": "t"}));
    assert_eq!(shown["thread"]["state"], "merged");
    assert_eq!(shown["thread"]["merged_state"], work.repo.id("main"));
    let session = client.ok("agent.show", &json!({"session_id": work.held["session_id"]}));
    let session = &session["reservation"];
    assert_eq!((&session["status"], &session["end_reason"]), (&json!("merged"), &json!("merged")));
}

#[test]
fn changes_that_are_not_captured_are_in_the_way_until_they_are() {
    let place = Place::new();
    let daemon = place.start();
    let mut client = daemon.client();
    let work = Work::new(&place, &mut client);
    std::fs::write(work.tree.path.join("new file"), "new").unwrap();
    std::fs::write(work.tree.path.join("file"), "changed").unwrap();
    let before = work.repo.id("t");
    let answer = work.ready(&mut client, &json!({}));
    assert_eq!((&answer["status"], &answer["captured"]), (&json!("blocked"), &json!(false)));
    let blockers = &answer["report"]["blockers"];
    assert_eq!(kinds(blockers), ["worktree_dirty"]);
    assert_eq!(blockers[0]["paths"], json!(["file", "new file"]));
    assert_eq!((work.repo.id("t"), work.state(&mut client)), (before, json!("blocked")), "nothing was captured");
    assert_eq!(answer["recommended_action"], blockers[0]["command"]);
    let warned =
        work.ready(&mut client, &json!({"message": "m", "verification": {"tests_failed": 2}, "confidence": 0.25}));
    assert_eq!((&warned["status"], &warned["captured"]), (&json!("completed"), &json!(true)));
    assert_eq!(kinds(&warned["report"]["warnings"]), ["tests_failed", "low_confidence"]);
    let again = work.ready(&mut client, &json!({}));
    assert_eq!((&again["status"], &again["captured"]), (&json!("completed"), &json!(false)));
    assert_eq!(again["thread"]["verification_summary"]["tests_failed"], 2, "what was said of this state stands");
    std::fs::write(work.tree.path.join("file"), "and more").unwrap();
    client.ok("agent.capture", &key(&work.held));
    let shown = client.ok("thread.show", &json!({"repo": work.repo.at(), "thread": "t"}));
    assert_eq!(shown["thread"]["state"], "active", "what was checked is not what is there now");
    assert_eq!(shown["thread"]["verification_summary"], Value::Null, "and nobody said anything of that");
}

#[test]
fn conflicts_are_named_as_git_names_them_and_solved_by_what_is_advised() {
    let place = Place::new();
    let daemon = place.start();
    let mut client = daemon.client();
    let work = Work::new(&place, &mut client);
    work.tree.commit("mine");
    work.repo.commit("theirs");
    let answer = work.ready(&mut client, &json!({}));
    assert_eq!(answer["status"], "blocked");
    let report = &answer["report"];
    assert_eq!(kinds(&report["blockers"]), ["conflicts"]);
    assert_eq!(kinds(&report["warnings"]), ["stale"]);
    assert_eq!((&report["conflicts"], &report["conflict_count"]), (&json!(["file"]), &json!(1)));
    assert!(!work.repo.run(&["merge-tree", "--write-tree", "main", "t"]), "Git says so, too");

    assert!(!paste(&place, answer["recommended_action"].as_str().unwrap()), "the merge stops at the conflict");
    let answer = work.ready(&mut client, &json!({"message": "while it conflicts"}));
    let blockers = &answer["report"]["blockers"];
    let expected = ["operation_in_progress", "index_conflicted", "conflicts"];
    assert_eq!(kinds(blockers), expected, "nothing was captured: {blockers}");
    let answer = work.ready(&mut client, &json!({}));
    let blockers = &answer["report"]["blockers"];
    assert_eq!(kinds(blockers), expected);
    assert_eq!(blockers[1]["paths"], json!(["file"]));
    std::fs::write(work.tree.path.join("file"), "both").unwrap();
    work.tree.git(&["add", "file"]);
    assert!(paste(&place, answer["recommended_action"].as_str().unwrap()), "the merge is completed");
    let answer = work.ready(&mut client, &json!({}));
    assert_eq!((&answer["status"], &answer["report"]["behind"]), (&json!("completed"), &json!(0)), "{answer}");
    assert!(paste(&place, answer["recommended_action"].as_str().unwrap()));
    assert_eq!(work.repo.id("main"), work.repo.id("t"));
}

#[test]
fn an_operation_under_way_is_in_the_way_and_what_is_advised_ends_it() {
    for operation in ["merge", "rebase", "cherry-pick", "revert", "bisect"] {
        let place = Place::new();
        let daemon = place.start();
        let mut client = daemon.client();
        let work = Work::new(&place, &mut client);
        work.tree.commit("mine");
        let other = work.repo.commit("theirs");
        let begun = match operation {
            "merge" => work.tree.run(&["merge", "main"]),
            "rebase" => work.tree.run(&["rebase", "main"]),
            "cherry-pick" => work.tree.run(&["cherry-pick", &other]),
            "revert" => {
                work.tree.commit("more");
                work.tree.run(&["revert", "HEAD~"])
            }
            _ => {
                work.tree.git(&["bisect", "start", "HEAD", "HEAD~"]);
                false
            }
        };
        assert!(!begun, "{operation} stops on its way");
        let answer = work.ready(&mut client, &json!({}));
        assert_eq!(answer["status"], "blocked", "{operation}");
        let blockers = &answer["report"]["blockers"];
        assert_eq!(blockers[0]["kind"], "operation_in_progress", "{operation}: {blockers}");
        if operation != "bisect" {
            std::fs::write(work.tree.path.join("file"), "both").unwrap();
            work.tree.git(&["add", "file"]);
        }
        assert!(paste(&place, blockers[0]["command"].as_str().unwrap()), "{operation}: {blockers}");
        let answer = work.ready(&mut client, &json!({}));
        assert!(!kinds(&answer["report"]["blockers"]).contains(&"operation_in_progress"), "{operation}: {answer}");
    }
}

#[test]
fn a_target_that_is_missing_unrelated_or_not_named_is_told() {
    let place = Place::new();
    let daemon = place.start();
    let mut client = daemon.client();
    let work = Work::new(&place, &mut client);
    work.tree.commit("mine");
    work.repo.git(&["switch", "--quiet", "--detach"]);
    work.repo.git(&["branch", "-D", "main"]);
    let answer = work.ready(&mut client, &json!({}));
    assert_eq!(kinds(&answer["report"]["blockers"]), ["target_missing"]);
    assert_eq!(answer["report"]["freshness"], "unknown");
    assert!(paste(&place, answer["recommended_action"].as_str().unwrap()));
    let answer = work.ready(&mut client, &json!({}));
    assert_eq!(answer["status"], "completed", "{answer}");
    assert!(paste(&place, answer["recommended_action"].as_str().unwrap()), "nobody has main checked out");
    assert_eq!(work.repo.id("main"), work.repo.id("t"));
    let answer = work.ready(&mut client, &json!({}));
    assert_eq!(kinds(&answer["report"]["warnings"]), ["nothing_to_integrate"]);

    let orphan = work.repo.git(&["commit-tree", "-m", "orphan", &work.repo.id("main^{tree}")]);
    work.repo.git(&["update-ref", "refs/heads/main", &orphan]);
    let answer = work.ready(&mut client, &json!({}));
    assert_eq!(kinds(&answer["report"]["blockers"]), ["unrelated_histories"]);
    assert!(paste(&place, answer["recommended_action"].as_str().unwrap()), "{answer}");
    assert_eq!(work.ready(&mut client, &json!({}))["status"], "completed");

    let alone = client.ok("agent.reserve", &json!({"repo": work.repo.at(), "thread": "alone"}))["reservation"].take();
    work.repo.git(&["switch", "--quiet", "alone"]);
    let answer = client.ok("agent.ready", &key(&alone));
    assert_eq!(kinds(&answer["report"]["warnings"]), ["no_target"], "HEAD was detached: {answer}");
}

#[test]
fn a_check_of_the_wrong_checkout_is_refused_with_the_switch() {
    let place = Place::new();
    let daemon = place.start();
    let mut client = daemon.client();
    let repo = place.repo("r");
    let held = client.ok("agent.reserve", &json!({"repo": repo.at(), "thread": "t"}))["reservation"].take();
    let fault = client.refused("agent_session_thread_mismatch", "agent.ready", &key(&held));
    assert_eq!(fault.0["data"]["preserved"], "no capture, ref or worktree was changed");
    assert!(paste(&place, fault.0["data"]["primary_command"].as_str().unwrap()));
    assert_eq!(client.ok("agent.ready", &key(&held))["status"], "completed");
}

#[test]
fn work_that_reached_its_target_is_merged_however_it_got_there() {
    for way in ["fast-forward", "merge commit", "squash", "deleted after", "held", "given up"] {
        let place = Place::new();
        let daemon = place.start();
        let mut client = daemon.client();
        let work = Work::new(&place, &mut client);
        work.tree.commit("mine");
        work.tree.git(&["commit", "--quiet", "--allow-empty", "-m", "two"]);
        let commit = |name: &str| {
            std::fs::write(work.repo.path.join(name), name).unwrap();
            work.repo.git(&["add", name]);
            work.repo.git(&["commit", "--quiet", "-m", name]);
        };
        if way != "held" {
            work.release(&mut client);
        }
        match way {
            "merge commit" => {
                commit("other");
                work.repo.git(&["merge", "--no-edit", "t"]);
            }
            "squash" => {
                work.repo.git(&["merge", "--squash", "t"]);
                work.repo.git(&["commit", "--quiet", "-m", "all of it"]);
                commit("later");
            }
            "given up" => {}
            _ => {
                work.repo.git(&["merge", "--ff-only", "t"]);
            }
        }
        let tip = work.repo.id("t");
        if way == "deleted after" {
            eventually("the branch is known where it is", || {
                let shown = client.ok("thread.show", &json!({"repo": work.repo.at(), "thread": "t"}));
                (shown["thread"]["current_state"] == tip.as_str()).then_some(())
            });
            work.repo.git(&["worktree", "remove", "--force", "--force", work.tree.at()]);
            work.repo.git(&["branch", "-D", "t"]);
        }
        let expected = match way {
            "held" => "active",
            "given up" => "draft",
            _ => "merged",
        };
        let listed = client.ok("thread.list", &json!({"repo": work.repo.at()}));
        assert_eq!(listed["threads"][0]["state"], expected, "{way}: {listed}");
        let log = client.ok("oplog.list", &json!({"repo": work.repo.at(), "thread": "t", "limit": 100}));
        let merges = log["operations"].as_array().unwrap().iter().filter(|one| one["kind"] == "merged").count();
        assert_eq!(merges, usize::from(expected == "merged"), "{way}: once");
    }
}

#[test]
fn a_session_that_is_ended_meanwhile_marks_nothing() {
    let place = Place::new();
    let daemon = place.start();
    let mut client = daemon.client();
    let work = Work::new(&place, &mut client);
    work.tree.commit("mine");
    client.ok("agent.evict", &json!({"session_id": work.held["session_id"], "reason": "a test"}));
    client.refused("agent_session_inactive", "agent.ready", &key(&work.held));
    assert_eq!(work.state(&mut client), "abandoned");
}
