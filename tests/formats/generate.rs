//! Makes the fixture of this version, by the real daemon: work of every kind, a stop, more work, a kill. What a kill leaves
//! of changes of Git is too short to be met by chance, so intents are written behind it as the daemon writes them, and so
//! is an eviction.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use heddled::registry::{Actor, CaptureIntent, Change, Ending, Intent, Registry, SessionRecord};
use heddled::store::{self, Opened, Options};
use proto_schema::{EndReason, FencingToken, SessionId, SessionStatus};
use serde_json::{Value, json};

use crate::contents::{contents, fixtures};
use crate::support::{Client, Holder, Place, Random, Repo, eventually, key, token};

#[test]
#[ignore = "writes the fixture of this version, once, when it is released"]
fn write_the_fixture_of_this_version() {
    let fixture = fixtures().join(env!("CARGO_PKG_VERSION"));
    assert!(!fixture.exists(), "what was released is never changed");
    let place = Place::new();
    let (repo, holder) = (place.repo("r"), Holder::start());
    // Git's own, for the captures: the daemon has a home of its own here.
    for (name, value) in [("user.name", "Ada"), ("user.email", "ada@example.org")] {
        repo.git(&["config", "--global", name, value]);
    }
    let mut daemon = place.start();
    first_life(&mut daemon.client(), &repo, &place.root);
    daemon.stop();
    daemon.restart();
    second_life(&mut daemon.client(), &repo, holder.pid());
    daemon.kill();
    intend(&place.state());

    std::fs::create_dir_all(&fixture).unwrap();
    let backup = fixture.join("backup");
    let made = place.command().args(["backup", "--"]).arg(&backup).stdout(Stdio::piped()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    // The journal is 48 MiB, most of it zeros: with holes in their place it packs into nothing.
    let holes = place.root.join("holes");
    let copied = Command::new("cp").args(["-r", "--sparse=always"]).arg(place.state()).arg(&holes).status().unwrap();
    assert!(copied.success());
    let packed = Command::new("tar")
        .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "--sparse"])
        .args(["--use-compress-program=gzip -9n", "-C"])
        .args([&*holes, Path::new("-cf"), &fixture.join("state.tar.gz")])
        .args(["format", "journal", "base"])
        .status()
        .unwrap();
    assert!(packed.success());
    let mut expected = std::fs::File::create(fixture.join("expected.jsonl")).unwrap();
    for line in contents(&place.state()) {
        writeln!(expected, "{line}").unwrap();
    }
}

/// A session that says everything of itself.
fn told_all(client: &mut Client, repo: &Repo, thread: &str, more: &Value) -> Value {
    let mut params = json!({
        "repo": repo.at(), "thread": thread, "at_tip": true, "task": "make it work", "provider": "anthropic",
        "model": "opus", "harness": "claude-code", "thinking_level": "high", "policy": "auto",
        "client_instance_id": "instance", "native_actor_key": "actor",
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.ok("agent.reserve", &params)["reservation"].take()
}

fn with(reservation: &Value, more: &Value) -> Value {
    let mut params = key(reservation);
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

/// What is in the checkpoint.
fn first_life(client: &mut Client, repo: &Repo, root: &Path) {
    let mut random = Random::new(3);
    let request = json!({"request_id": "request-1", "reservation_token": token(&mut random), "target_thread": "main"});
    let first = told_all(client, repo, "agent/first", &request);
    let usage = json!({"progress": true, "usage": {"input_tokens": 7, "tool_calls": 2}});
    client.ok("agent.heartbeat", &with(&first, &usage));
    let two = repo.loose_commit("HEAD", "two");
    client.ok("thread.update", &with(&first, &json!({"expected": first["anchor_state"], "new": two})));
    client.ok("agent.release", &with(&first, &json!({"status": "complete"})));

    let worktree = json!({"worktree": {}, "parent_session_id": first["session_id"]});
    let second = told_all(client, repo, "agent/second", &worktree);
    let there = second["path"].as_str().unwrap();
    assert!(there.starts_with(root.to_str().unwrap()));
    std::fs::write(Path::new(there).join("new"), "content").unwrap();
    client.ok("agent.capture", &with(&second, &json!({"message": "keep it"})));
    client.ok("agent.ready", &with(&second, &json!({"verification": {"tests_passed": 3}, "confidence": 0.5})));
    client.ok("agent.release", &with(&second, &json!({"status": "abandoned"})));

    let _evicted = client.reserve(repo.at(), "agent/evicted");
    let _kept = client.reserve(repo.at(), "agent/kept");
}

/// What is in the journal only.
fn second_life(client: &mut Client, repo: &Repo, pid: i32) {
    let lives = json!({"hold_for_pid": pid, "ttl_ms": 86_400_000});
    told_all(client, repo, "agent/lives", &lives);
    let moved = client.reserve(repo.at(), "agent/moved");
    let three = repo.loose_commit("HEAD", "three");
    repo.git(&["update-ref", "refs/heads/agent/moved", &three]);
    eventually("the move is seen", || {
        let page = client.ok("oplog.list", &json!({"thread": "agent/moved", "repo": repo.at(), "limit": 100}));
        page["operations"].as_array().unwrap().iter().any(|one| one["kind"] == "thread_moved").then_some(())
    });
    let wait = json!({"repo": repo.at(), "thread": "agent/moved", "at_tip": true, "wait_ms": 1});
    client.refused("wait_timeout", "agent.reserve", &wait);
    client.release(&moved);
}

fn happen(opened: &mut Opened, registry: &Registry, change: Change) -> Registry {
    let at = registry.sessions(None).next().unwrap().started_at.plus_ms(1000);
    store::append(opened, registry, &[registry.entry(at, change)]).unwrap()
}

/// A session for each change of Git that may be under way.
fn intend(state: &Path) {
    let mut opened = store::open(state, &Options::default()).unwrap();
    let mut registry = opened.registry.clone();
    let kept = registry.active(None).find(|session| session.thread.as_str() == "agent/kept");
    let like = kept.unwrap().clone();
    let (parent, new) = (like.anchor_state, like.anchor_root);
    let worktree_git_dir = Path::new("/r/.git/worktrees/w").into();
    let capture = CaptureIntent { worktree_git_dir, parent, new, changed_count: 3 };
    // Who evicts is recorded by its path, and this program's is nobody's business.
    let evicted = registry.active(None).find(|session| session.thread.as_str() == "agent/evicted").unwrap().id;
    let by = Some(Actor { pid: Some(42), executable: Some("/usr/bin/heddlectl".into()) });
    let (status, reason, note) = (SessionStatus::Abandoned, EndReason::Evicted, "it hangs".parse().ok());
    let ending = Ending { session: evicted, status, reason, by, note };
    registry = happen(&mut opened, &registry, Change::Ended(Box::new(ending)));
    for (number, intent) in [
        Intent::Create,
        Intent::Worktree,
        Intent::Move { expected: Some(parent), new },
        Intent::Capture(Box::new(capture)),
    ]
    .into_iter()
    .enumerate()
    {
        let counters = registry.counters();
        let is_made = matches!(intent, Intent::Create | Intent::Worktree);
        let session = SessionRecord {
            id: SessionId::from_random(number as u128 + 1),
            thread: format!("agent/intent-{number}").parse().unwrap(),
            thread_id: counters.thread + 1,
            fencing_token: FencingToken(counters.fencing + 1),
            intent: is_made.then(|| intent.clone()),
            ..SessionRecord::clone(&like)
        };
        let id = session.id;
        registry = happen(&mut opened, &registry, Change::Reserved { session: Arc::new(session), repo: None });
        if !is_made {
            registry = happen(&mut opened, &registry, Change::MoveIntended { session: id, intent });
        }
    }
}
