//! Every text parameter of every method with values that are dangerous somewhere: typed refusals, and nothing happens.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Client, Fault, Place, Repo, key};

const DANGEROUS: [&str; 26] = [
    "",
    " ",
    ".",
    "..",
    "../../../etc/passwd",
    "a/../../b",
    "/etc/passwd",
    "a\u{0}b",
    "a\nb",
    "a\rb",
    "\u{1b}[2J",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    "| touch pwned",
    "a'b\"c",
    "--upload-pack=touch pwned",
    "-c",
    "--help",
    "-",
    "@{-1}",
    "HEAD",
    "refs/heads/main",
    "a.lock",
    "\u{202e}txt",
    "~",
];

fn values() -> Vec<String> {
    let long = ["x".repeat(201), "x".repeat(5000), "x".repeat(900_000), "../".repeat(1000), "a/".repeat(3000)];
    DANGEROUS.iter().map(|value| (*value).to_owned()).chain(long).collect()
}

/// Every file below a directory but the daemon's own.
fn tree(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() && !path.ends_with("state") {
            tree(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn check(answer: &Result<Value, Fault>, value: &str, what: &str) {
    let Err(fault) = answer else { return };
    let data: proto_schema::ErrorData = serde_json::from_value(fault.0["data"].clone()).unwrap();
    assert_ne!(data.kind, proto_schema::Kind::Internal, "{what} = {:.60?}: {fault:?}", value);
    assert!(fault.0.to_string().len() < 32 * 1024, "{what}: an error repeats at length what it was sent");
}

/// A call with every text parameter that its method has.
fn calls(repo: &str, held: &Value) -> Vec<(&'static str, Value)> {
    let session = &held["session_id"];
    let mut update = key(held);
    update["expected"] = held["anchor_state"].clone();
    update["new"] = held["anchor_state"].clone();
    let mut validate = key(held);
    validate["thread"] = "held".into();
    vec![
        (
            "agent.reserve",
            json!({
                "repo": repo, "thread": "t", "anchor": "HEAD", "target_thread": "main", "path": repo, "task": "t",
                "request_id": "r", "reservation_token": held["reservation_token"], "provider": "p", "model": "m",
                "harness": "h", "thinking_level": "l", "policy": "p", "parent_session_id": session,
                "client_instance_id": "c", "native_actor_key": "a", "native_parent_actor_key": "b",
                "native_instance_key": "i",
            }),
        ),
        ("agent.heartbeat", key(held)),
        ("agent.resume", key(held)),
        (
            "agent.release",
            json!({"session_id": session, "reservation_token": held["reservation_token"], "status": "x"}),
        ),
        ("agent.list", json!({"repo": repo, "thread": "t", "status": "active", "cursor": "5"})),
        ("agent.show", json!({"session_id": session})),
        ("agent.validate", validate),
        ("agent.evict", json!({"session_id": "agent-aaaaaaaaaaaaaaaaaaaa", "reason": "r"})),
        ("thread.list", json!({"repo": repo, "state": "active", "cursor": "t"})),
        ("thread.show", json!({"repo": repo, "thread": "t"})),
        ("thread.update", update),
        ("oplog.list", json!({"repo": repo, "thread": "t", "session_id": session})),
        ("repo.adopt", json!({"repo": repo, "reason": "r"})),
        ("daemon.hello", json!({"protocol": [1, 1], "client": "c"})),
    ]
}

#[test]
fn every_text_parameter_stands_dangerous_values() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let held = client.reserve(repo.at(), "held");
    for (method, params) in calls(repo.at(), &held) {
        for (name, _) in params.as_object().unwrap().iter().filter(|(_, value)| value.is_string()) {
            for value in values() {
                let mut spoiled = params.clone();
                spoiled[name] = value.clone().into();
                // One reservation at a time, so that nothing but the value decides.
                let answer = client.call(method, &spoiled);
                check(&answer, &value, &format!("{method} {name}"));
                if let (Ok(result), "agent.reserve") = (&answer, method) {
                    client.release(&result["reservation"]);
                }
            }
        }
        // The reserve's request_id was used: the calls after it do not need it.
        assert_eq!(client.show(&held)["status"], "active", "{method}");
    }
    nothing_happened(&place.root, repo.at());
    assert!(!place.log().contains("panicked"));
    daemon.client().ok("daemon.info", &json!({}));
}

#[test]
fn dangerous_names_of_threads_are_refused_with_one_that_works() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    for name in values() {
        let params = json!({"repo": repo.at(), "thread": name});
        match client.call("agent.reserve", &params) {
            Ok(result) => {
                repo.git(&["check-ref-format", "--branch", &name]);
                client.release(&result["reservation"]);
                forget(&repo, &name);
            }
            Err(fault) => {
                assert_eq!(fault.kind(), "thread_name_invalid", "{:.60?}", name);
                let suggestion = fault.details()["suggestion"].as_str().unwrap();
                let held = client.reserve(repo.at(), suggestion);
                client.release(&held);
                forget(&repo, suggestion);
            }
        }
    }
    nothing_happened(&place.root, repo.at());
}

/// Removes a branch, so that the next name cannot conflict with it.
fn forget(repo: &Repo, thread: &str) {
    if thread != "main" {
        repo.git(&["update-ref", "-d", &format!("refs/heads/{thread}")]);
    }
}

/// No worktree, in places where dangerous paths point to.
#[test]
fn dangerous_paths_of_worktrees_make_nothing() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut paths = values();
    paths.extend(["/", "/tmp", "//", "/proc/self/root/tmp/x"].map(str::to_owned));
    paths.push(format!("{}/../outside", repo.at()));
    paths.push(format!("{}.worktrees/../../outside", repo.at()));
    paths.push(format!("{}/.git/hooks", repo.at()));
    for (n, path) in paths.iter().enumerate() {
        let params = json!({"repo": repo.at(), "thread": format!("t{n}"), "worktree": {"path": path}});
        match client.call("agent.reserve", &params) {
            Ok(result) => panic!("{path:.80?}: {result}"),
            Err(fault) => {
                assert!(matches!(fault.kind(), "invalid_params" | "path_not_allowed"), "{path:.80?}: {fault:?}");
            }
        }
        assert!(client.holder(repo.at(), &format!("t{n}")).is_none());
    }
    let listed = repo.git(&["worktree", "list", "--porcelain"]);
    assert_eq!(listed.matches("worktree ").count(), 1, "{listed}");
    nothing_happened(&place.root, repo.at());
}

fn nothing_happened(root: &Path, repo: &str) {
    let mut found = Vec::new();
    tree(root, &mut found);
    for path in found {
        assert!(!path.to_string_lossy().contains("pwned"), "{} was made", path.display());
        let is_ours = path.starts_with(repo)
            || ["home", "tmp", "heddle", "log", "state"].iter().any(|name| path.starts_with(root.join(name)));
        assert!(is_ours, "{} was made", path.display());
    }
    assert!(!Path::new("/tmp/pwned").exists() && !Path::new("pwned").exists());
}

/// A path that is not a repository is what the caller gave, and is named with care.
#[test]
fn a_client_is_not_told_of_files_by_way_of_errors() {
    let place = Place::new();
    let daemon = place.start();
    std::fs::write(place.root.join("home/secret"), "the content").unwrap();
    let mut client: Client = daemon.client();
    let path = place.root.join("home/secret");
    let fault = client.refused("repository_not_found", "agent.reserve", &json!({"repo": path, "thread": "t"}));
    assert!(!fault.0.to_string().contains("the content"));
}
