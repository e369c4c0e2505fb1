//! Every method's success, and that results say what they should.

use serde_json::{Value, json};

use crate::schema::Schemas;
use crate::support::{Holder, Place, Random, key, token};

#[expect(clippy::too_many_lines, reason = "one story, each method once")]
#[test]
fn every_method_answers_as_its_schema_says() {
    let place = Place::new();
    let mut daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let client = &mut client;
    let mut schemas = Schemas::read();
    let at = repo.at();

    let hello = schemas.ok(client, "daemon.hello", &json!({"protocol": [1, 7], "client": "test/1"}));
    assert_eq!(hello["protocol"], 1);
    let full = json!({
        "repo": at, "thread": "full", "anchor": "HEAD", "target_thread": "main", "task": "a task", "ttl_ms": 60_000,
        "hold_for_pid": std::process::id(), "request_id": "r1", "reservation_token": token(&mut Random::new(10)),
        "provider": "p", "model": "m", "harness": "h", "thinking_level": "high", "policy": "free text",
        "probe": {"source": "argv_env", "confidence": 0.5, "process": {"pid": 1, "name": "init"}},
        "client_instance_id": "c", "native_actor_key": "a", "native_parent_actor_key": "b", "native_instance_key": "i",
        "path": at, "wait_ms": 1000,
    });
    let parent = schemas.ok(client, "agent.reserve", &full)["reservation"].take();
    assert_eq!((&parent["task"], &parent["path"], &parent["model"]), (&json!("a task"), &json!(at), &json!("m")));
    let plain = schemas.ok(
        client,
        "agent.reserve",
        &json!({"repo": at, "thread": "plain", "parent_session_id": parent["session_id"]}),
    );
    assert_eq!((&plain["thread_created"], &plain["replayed"]), (&json!(true), &json!(false)));
    let plain = &plain["reservation"];
    let tree = schemas.ok(client, "agent.reserve", &json!({"repo": at, "thread": "tree", "worktree": {}}));
    let path = tree["reservation"]["path"].as_str().unwrap();
    assert!(path.ends_with("r.worktrees/tree"), "{path}");
    assert!(std::path::Path::new(path).join("file").exists());

    let mut beat = key(plain);
    beat["progress"] = true.into();
    beat["usage"] = json!({"input_tokens": 5, "tool_calls": 1});
    let beaten = schemas.ok(client, "agent.heartbeat", &beat);
    assert_eq!(beaten["reservation"]["usage_summary"]["input_tokens"], 5);
    beat["usage"] = json!({"tool_calls": 2});
    let beaten = schemas.ok(client, "agent.heartbeat", &beat);
    let usage = &beaten["reservation"]["usage_summary"];
    assert_eq!((&usage["input_tokens"], &usage["tool_calls"]), (&json!(5), &json!(2)), "totals so far: {usage}");
    let holder = Holder::start();
    let mut moved = key(plain);
    moved["hold_for_pid"] = holder.pid().into();
    assert_eq!(schemas.ok(client, "agent.heartbeat", &moved)["reservation"]["hold"]["process"]["pid"], holder.pid());
    assert_eq!(schemas.ok(client, "agent.validate", &key(plain))["valid"], true);
    assert_eq!(schemas.ok(client, "agent.resume", &key(plain))["reservation"]["hold"]["connection"], false);
    let shown = schemas.ok(client, "agent.show", &json!({"session_id": plain["session_id"]}));
    assert_eq!(shown["chain"][0]["session_id"], parent["session_id"]);
    let new = repo.loose_commit("HEAD", "two");
    let mut update = key(plain);
    update["expected"] = plain["anchor_state"].clone();
    update["new"] = new.clone().into();
    schemas.ok(client, "thread.update", &update);
    assert_eq!(repo.id("refs/heads/plain"), new);
    std::fs::write(std::path::Path::new(path).join("new"), "new").unwrap();
    std::fs::write(place.root.join("home/.gitconfig"), "[user]\n\tname = Ada\n\temail = ada@example.org\n").unwrap();
    let mut capture = key(&tree["reservation"]);
    capture["message"] = "a message".into();
    capture["confidence"] = json!(0.5);
    capture["worktree"] = path.into();
    for created in [true, false] {
        assert_eq!(schemas.ok(client, "agent.capture", &capture)["capture"]["created"], created);
    }
    let mut check = key(&tree["reservation"]);
    check["verification"] = json!({"tests_passed": 1});
    assert_eq!(schemas.ok(client, "agent.ready", &check)["status"], "completed");
    std::fs::write(std::path::Path::new(path).join("new"), "newer").unwrap();
    assert_eq!(schemas.ok(client, "agent.ready", &check)["status"], "blocked");
    schemas.ok(client, "agent.release", &key(plain));
    schemas.ok(client, "agent.evict", &json!({"session_id": parent["session_id"], "reason": "a test"}));

    let page = schemas.ok(client, "agent.list", &json!({"repo": at, "limit": 2}));
    let cursor = page["next_cursor"].clone();
    let rest = schemas.ok(client, "agent.list", &json!({"repo": at, "cursor": cursor}));
    assert_eq!(rest["reservations"].as_array().unwrap().len(), 1, "{rest}");
    assert_eq!(rest["next_cursor"], Value::Null);
    assert!(!page.to_string().contains("hrt_"), "a list has no secret");
    for params in
        [json!({}), json!({"alive_only": true}), json!({"status": "abandoned"}), json!({"repo": at, "thread": "plain"})]
    {
        schemas.ok(client, "agent.list", &params);
    }
    let verified = schemas.ok(client, "repo.verify", &json!({"repo": at}));
    assert_eq!((&verified["git_branch"], &verified["worktree_dirty"]), (&json!("main"), &json!(false)), "{verified}");
    let listed = schemas.ok(client, "agent.list", &json!({"repo": at, "verify": true}));
    assert_eq!(listed["verification"], verified);
    let in_git_dir = schemas.ok(client, "repo.verify", &json!({"repo": repo.path.join(".git")}));
    assert_eq!((&in_git_dir["git_branch"], &in_git_dir["worktree_dirty"]), (&Value::Null, &Value::Null));
    // Without a repository there is nothing to verify.
    assert_eq!(schemas.ok(client, "agent.list", &json!({"verify": true}))["verification"], Value::Null);
    schemas.ok(client, "thread.list", &json!({"repo": at}));
    schemas.ok(client, "thread.list", &json!({"repo": at, "state": "active", "limit": 1}));
    schemas.ok(client, "thread.show", &json!({"repo": at, "thread": "full"}));
    for params in [json!({"repo": at}), json!({"repo": at, "dry_run": true})] {
        let cleaned = schemas.ok(client, "thread.clean", &params);
        assert_eq!(cleaned["removed"], json!([]), "tree is held");
        assert_eq!((&cleaned["kept"][0]["thread"], &cleaned["kept"][0]["worktree"]), (&json!("tree"), &json!(path)));
    }
    for params in [
        json!({}),
        json!({"repo": at, "after": 1, "limit": 3}),
        json!({"thread": "plain"}),
        json!({"session_id": plain["session_id"]}),
    ] {
        schemas.ok(client, "oplog.list", &params);
    }
    let subscriber = &mut daemon.client();
    let subscription = schemas.ok(subscriber, "events.subscribe", &json!({"repo": at, "thread": "full"}));
    for known in [true, false] {
        let ended = schemas.ok(subscriber, "events.unsubscribe", &json!({"subscription": subscription}));
        assert_eq!(ended, known);
    }
    schemas.ok(client, "repo.adopt", &json!({"repo": at, "reason": "it is ours already"}));
    schemas.ok(client, "daemon.info", &json!({}));
    schemas.ok(client, "daemon.health", &json!({}));
    schemas.ok(client, "daemon.metrics", &json!({}));
    let document = schemas.ok(client, "rpc.discover", &json!({}));
    let committed = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto-schema/schema/openrpc.json");
    assert_eq!(document, serde_json::from_slice::<Value>(&std::fs::read(committed).unwrap()).unwrap());
    schemas.ok(client, "daemon.shutdown", &json!({"drain_ms": 100}));
    daemon.ended();
    assert_eq!(schemas.succeeded, schemas.methods(), "every method was called");
}
