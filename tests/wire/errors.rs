//! Every error that can be brought about from outside, against its schema: code, kind, details, advice.

use serde_json::{Value, json};

use crate::schema::Schemas;
use crate::support::{Client, Place, Random, Repo, key, token};

/// Kinds that take another user, another daemon, a full disk or a defect; each is named with where it is tested.
const ELSEWHERE: [&str; 7] = [
    "unauthorized_peer",      // takes another user
    "store_unavailable",      // coordinator's tests, with a failing disk
    "internal",               // a defect
    "fencing_token_stale",    // a race, tests/daemon/captures.rs
    "events_compacted",       // tests/wire/events.rs
    "shutting_down",          // a race with the stop
    "repository_unavailable", // tests/daemon/places.rs, and here by a bad mark
];

#[test]
fn every_error_is_as_its_schema_says() {
    let place = Place::new();
    place.configure(&format!(
        "repos = [\"{}\"]\n[limits]\nactive_sessions = 6\nbatch = 3\n",
        place.root.join("r").display()
    ));
    let daemon = place.start();
    let repo = place.repo("r");
    let mut client = daemon.client();
    let mut schemas = Schemas::read();
    sessions(&mut client, &mut schemas, &repo);
    threads(&mut client, &mut schemas, &repo);
    captures(&mut client, &mut schemas, &place, &repo);
    repositories(&mut client, &mut schemas, &place, &repo);
    envelopes(&mut client, &mut schemas);
    let missing: Vec<String> = schemas
        .kinds()
        .difference(&schemas.failed)
        .filter(|kind| !ELSEWHERE.contains(&kind.as_str()))
        .cloned()
        .collect();
    assert!(missing.is_empty(), "not brought about: {missing:?}");
}

fn sessions(client: &mut Client, schemas: &mut Schemas, repo: &Repo) {
    let at = repo.at();
    let held = client.reserve(at, "t");
    let live = schemas.refused(client, "live_owner", "agent.reserve", &json!({"repo": at, "thread": "t"}));
    assert_eq!(live.details()["owner"]["session_id"], held["session_id"]);
    assert!(live.0["data"]["primary_command"].as_str().unwrap().starts_with("heddlectl thread show"));
    assert_eq!((&live.details()["waiters"], &live.details()["same_request"]), (&json!(0), &json!(false)));
    let patient = json!({"repo": at, "thread": "t", "wait_ms": 1});
    let over = schemas.refused(client, "wait_timeout", "agent.reserve", &patient);
    assert_eq!((&over.details()["owner"]["session_id"], &over.details()["position"]), (&held["session_id"], &json!(1)));
    assert_eq!(over.0["data"]["retryable"], true);
    let other = repo.loose_commit("HEAD", "other");
    let drift = json!({"repo": at, "thread": "t", "anchor": other});
    let fault = schemas.refused(client, "anchor_drift", "agent.reserve", &drift);
    assert_eq!(fault.details()["owner"]["session_id"], held["session_id"]);
    let mut wrong = key(&held);
    wrong["reservation_token"] = token(&mut Random::new(11)).into();
    for method in ["agent.heartbeat", "agent.resume", "agent.release"] {
        schemas.refused(client, "reservation_token_mismatch", method, &wrong);
    }
    malformed(client, schemas, &held);
    let mut unknown = key(&held);
    unknown["session_id"] = "agent-aaaaaaaaaaaaaaaaaaaa".into();
    schemas.refused(client, "agent_session_not_found", "agent.heartbeat", &unknown);
    schemas.refused(client, "agent_session_not_found", "agent.show", &json!({"session_id": unknown["session_id"]}));
    let mut update = key(&held);
    update["expected"] = Value::Null;
    update["new"] = other.clone().into();
    let fault = schemas.refused(client, "cas_conflict", "thread.update", &update);
    assert_eq!(fault.details(), &json!({"expected": null, "actual": held["anchor_state"]}));
    update["expected"] = held["anchor_state"].clone();
    update["new"] = "0123456789012345678901234567890123456789".into();
    schemas.refused(client, "anchor_not_found", "thread.update", &update);
    client.release(&held);
    schemas.refused(client, "agent_session_inactive", "agent.heartbeat", &key(&held));
    let fault = schemas.refused(client, "anchor_drift", "agent.reserve", &drift);
    assert_eq!(fault.details()["owner"], Value::Null, "nobody holds it, but it stands elsewhere");
    schemas.refused(
        client,
        "holder_not_found",
        "agent.reserve",
        &json!({"repo": at, "thread": "p", "hold_for_pid": i32::MAX}),
    );
    let mut request =
        json!({"repo": at, "thread": "i", "request_id": "r", "reservation_token": token(&mut Random::new(12))});
    let first = schemas.ok(client, "agent.reserve", &request)["reservation"].take();
    request["task"] = "other".into();
    schemas.refused(client, "idempotency_conflict", "agent.reserve", &request);
    client.release(&first);
    let held: Vec<Value> = (0..6).map(|n| client.reserve(at, &format!("limit{n}"))).collect();
    let fault = schemas.refused(client, "limit_exceeded", "agent.reserve", &json!({"repo": at, "thread": "over"}));
    assert_eq!(fault.details(), &json!({"limit": "active_sessions", "value": 6, "max": 6}));
    held.iter().for_each(|session| drop(client.release(session)));
    let held = client.reserve(at, "v");
    let mut mismatch = key(&held);
    mismatch["thread"] = "w".into();
    assert_eq!(schemas.ok(client, "agent.validate", &mismatch)["reason"], "agent_session_thread_mismatch");
    client.release(&held);
}

/// What is malformed is wrong, and is answered as what is wrong: a caller need not tell them apart.
fn malformed(client: &mut Client, schemas: &mut Schemas, held: &Value) {
    let (id, right) = (&held["session_id"], &held["reservation_token"]);
    for (session_id, token, kind) in [
        (&json!("agent-x"), right, "agent_session_not_found"),
        (&json!(""), &json!(""), "agent_session_not_found"),
        (&json!("agent-aaaaaaaaaaaaaaaaaaaa"), &json!("hrt_x"), "agent_session_not_found"),
        (id, &json!("hrt_x"), "reservation_token_mismatch"),
        (id, &json!(""), "reservation_token_mismatch"),
        (id, id, "reservation_token_mismatch"),
    ] {
        let who = json!({"session_id": session_id, "reservation_token": token});
        for method in ["agent.heartbeat", "agent.resume", "agent.release"] {
            let fault = schemas.refused(client, kind, method, &who);
            assert!(
                token == "" || !fault.0.to_string().contains(token.as_str().unwrap()) || token == id,
                "{}",
                fault.0
            );
        }
        let mut update = who.clone();
        update["expected"] = Value::Null;
        update["new"] = held["anchor_state"].clone();
        schemas.refused(client, kind, "thread.update", &update);
        // Not against the schema of the parameters, which these are not.
        let answer = client.ok("agent.validate", &who);
        assert_eq!((&answer["valid"], &answer["reason"]), (&json!(false), &json!(kind)), "{who}");
    }
    for (method, params) in
        [("agent.show", json!({"session_id": "x"})), ("agent.evict", json!({"session_id": "x", "reason": "stuck"}))]
    {
        schemas.refused(client, "agent_session_not_found", method, &params);
    }
}

fn threads(client: &mut Client, schemas: &mut Schemas, repo: &Repo) {
    let at = repo.at();
    let fault = schemas.refused(client, "thread_name_invalid", "agent.reserve", &json!({"repo": at, "thread": "a..b"}));
    let suggestion = fault.details()["suggestion"].as_str().unwrap().to_owned();
    let held = client.reserve(at, &suggestion);
    client.release(&held);
    let parent = client.reserve(at, "x");
    let fault = schemas.refused(client, "thread_name_conflict", "agent.reserve", &json!({"repo": at, "thread": "x/y"}));
    assert_eq!(fault.details()["existing"], "x");
    client.release(&parent);
    schemas.refused(client, "thread_not_found", "thread.show", &json!({"repo": at, "thread": "never"}));
    let revision = json!({"repo": at, "thread": "n", "anchor": "no-such-revision"});
    schemas.refused(client, "anchor_not_found", "agent.reserve", &revision);
    let outside = json!({"repo": at, "thread": "n", "worktree": {"path": "/elsewhere/n"}});
    let fault = schemas.refused(client, "path_not_allowed", "agent.reserve", &outside);
    assert_eq!(fault.details()["path"], "/elsewhere/n");
    schemas.refused(client, "worktree_not_found", "agent.reserve", &json!({"repo": at, "thread": "n", "path": "/tmp"}));
    let main = client.reserve(at, "main");
    let mut update = key(&main);
    update["expected"] = main["anchor_state"].clone();
    update["new"] = repo.loose_commit("HEAD", "moved").into();
    let fault = schemas.refused(client, "thread_checked_out", "thread.update", &update);
    assert_eq!(fault.details()["worktree"], at);
    client.release(&main);
}

/// Each refusal of a capture; what its advice says is in tests/daemon/captures.rs.
fn captures(client: &mut Client, schemas: &mut Schemas, place: &Place, repo: &Repo) {
    let reserve = json!({"repo": repo.at(), "thread": "c", "worktree": {}});
    let held = client.ok("agent.reserve", &reserve)["reservation"].take();
    let tree = repo.seen_from(held["path"].as_str().unwrap());
    let private = std::path::PathBuf::from(tree.git(&["rev-parse", "--absolute-git-dir"]));
    let mut refused = |client: &mut Client, kind| schemas.refused(client, kind, "agent.capture", &key(&held));
    std::fs::write(tree.path.join("new"), "new").unwrap();

    repo.git(&["config", "--global", "user.useConfigOnly", "true"]);
    refused(client, "git_identity_missing");
    std::fs::write(place.root.join("home/.gitconfig"), "[user]\n\tname = Ada\n\temail = ada@example.org\n").unwrap();

    tree.git(&["switch", "--quiet", "--detach"]);
    let fault = refused(client, "agent_session_thread_mismatch");
    assert_eq!(fault.details(), &json!({"reserved_thread": "c", "current_thread": null}));
    tree.git(&["switch", "--quiet", "c"]);

    std::fs::write(private.join("MERGE_HEAD"), format!("{}\n", repo.id("main"))).unwrap();
    assert_eq!(refused(client, "operation_in_progress").details(), &json!({"operation": "merge"}));
    std::fs::remove_file(private.join("MERGE_HEAD")).unwrap();

    std::fs::write(tree.path.join(".gitattributes"), "new filter=none\n").unwrap();
    assert_eq!(refused(client, "filter_not_allowed").details(), &json!({"filter": "none", "path": "new"}));
    std::fs::remove_file(tree.path.join(".gitattributes")).unwrap();

    std::fs::write(private.join("index.lock"), "").unwrap();
    assert_eq!(refused(client, "worktree_busy").details(), &json!({"lock": private.join("index.lock")}));
    std::fs::remove_file(private.join("index.lock")).unwrap();

    repo.git(&["config", "--global", "commit.gpgsign", "true"]);
    repo.git(&["config", "--global", "gpg.program", "false"]);
    refused(client, "signing_refused");
    std::fs::remove_file(place.root.join("home/.gitconfig")).unwrap();

    tree.git(&["switch", "--quiet", "-c", "other"]);
    tree.commit("other");
    tree.git(&["switch", "--quiet", "c"]);
    tree.commit("mine");
    assert!(!tree.run(&["merge", "--quiet", "other"]), "it conflicts");
    assert_eq!(refused(client, "index_conflicted").details(), &json!({"paths": ["file"]}));
    tree.git(&["merge", "--abort"]);

    let mut params = key(&held);
    params["worktree"] = "/tmp".into();
    schemas.refused(client, "worktree_not_found", "agent.capture", &params);
    let moved = repo.loose_commit("c", "by another");
    repo.git(&["update-ref", "refs/heads/c", &moved]);
    let fault = schemas.refused(client, "cas_conflict", "agent.capture", &key(&held));
    assert_eq!(fault.details()["actual"], moved);
    client.release(&held);
}

fn repositories(client: &mut Client, schemas: &mut Schemas, place: &Place, repo: &Repo) {
    for (path, reason) in [("/", "not_a_repository"), (place.repo("other").at(), "not_served")] {
        let fault =
            schemas.refused(client, "repository_not_found", "agent.reserve", &json!({"repo": path, "thread": "t"}));
        assert_eq!(fault.details()["reason"], reason);
        for (method, params) in
            [("repo.verify", json!({"repo": path})), ("agent.list", json!({"repo": path, "verify": true}))]
        {
            let fault = schemas.refused(client, "repository_not_found", method, &params);
            assert_eq!(fault.details()["reason"], reason, "{method}");
        }
    }
    let empty = repo.path.join("empty");
    std::fs::create_dir(&empty).unwrap();
    repo.git(&["init", "--quiet", "empty"]);
    schemas.refused(client, "no_head_state", "agent.reserve", &json!({"repo": empty, "thread": "t"}));
    let mark = repo.path.join(".git/heddle-registry");
    let content = std::fs::read(&mark).unwrap();
    std::fs::write(&mark, "0\n/no/such/state\n").unwrap();
    let fault =
        schemas.refused(client, "repository_unavailable", "agent.reserve", &json!({"repo": repo.at(), "thread": "q"}));
    assert_eq!(fault.details()["registry"], "/no/such/state");
    std::fs::write(&mark, content).unwrap();
}

/// Parameters of a capture by nobody.
fn capture(more: &Value) -> Value {
    let mut params = json!({"session_id": "agent-aaaaaaaaaaaaaaaaaaaa", "reservation_token": "hrt_x"});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

fn envelopes(client: &mut Client, schemas: &mut Schemas) {
    schemas.refused(client, "protocol_unsupported", "daemon.hello", &json!({"protocol": [2, 3], "client": "test/1"}));
    let older = json!({"protocol": [0, 0], "client": "test/0"});
    let fault = schemas.refused(client, "protocol_unsupported", "daemon.hello", &older);
    let (hint, details) = (fault.0["data"]["hint"].as_str().unwrap(), fault.details());
    assert!(hint.contains("the client is older") && details["server"] == json!([1, 1]), "{fault:?}");
    schemas.refused(client, "method_not_found", "agent.sleep", &json!({}));
    let cases = [
        ("agent.reserve", json!({"thread": "t"}), "repo"),
        ("agent.reserve", json!({"repo": "relative", "thread": "t"}), "repo"),
        ("agent.reserve", json!({"repo": "/r", "thread": "t", "ttl_ms": 999}), "ttl_ms"),
        ("agent.reserve", json!({"repo": "/r", "thread": "t", "wait_ms": -5}), "wait_ms"),
        ("agent.reserve", json!({"repo": "/r", "thread": "t", "request_id": "unused"}), "reservation_token"),
        (
            "agent.reserve",
            json!({"repo": "/r", "thread": "t", "probe": {"source": "none", "confidence": 2.0}}),
            "probe.confidence",
        ),
        ("agent.capture", capture(&json!({"message": "x\n\nHeddle-Session: y"})), "message"),
        ("agent.capture", capture(&json!({"message": "\u{1b}[2J"})), "message"),
        ("agent.capture", capture(&json!({"confidence": 1.5})), "confidence"),
        ("agent.capture", capture(&json!({"worktree": "relative"})), "worktree"),
        ("agent.ready", capture(&json!({"confidence": -0.1})), "confidence"),
        ("agent.ready", capture(&json!({"worktree": "relative"})), "worktree"),
        ("agent.ready", capture(&json!({"verification": {"tests": 1}})), "verification.tests"),
        ("agent.ready", capture(&json!({"verification": {"coverage_pct": 100.5}})), "verification.coverage_pct"),
        ("repo.verify", json!({"repo": "relative"}), "repo"),
        ("agent.list", json!({"repo": "relative", "verify": true}), "repo"),
        ("agent.list", json!({"limit": 0}), "limit"),
        ("agent.list", json!({"limit": 1001}), "limit"),
        ("agent.list", json!({"cursor": "x"}), "cursor"),
        ("agent.evict", json!({"session_id": "agent-aaaaaaaaaaaaaaaaaaaa", "reason": " "}), "reason"),
        ("agent.show", json!({"session_id": 5}), "session_id"),
        ("daemon.info", json!({"unknown": 1}), "unknown"),
        (
            "agent.reserve",
            json!({"repo": "/r", "thread": "t", "request_id": "unused", "reservation_token": "hrt_x"}),
            "reservation_token",
        ),
        ("agent.release", json!({"session_id": "agent-x", "reservation_token": 5}), "reservation_token"),
    ];
    for (method, params, field) in cases {
        let fault = schemas.refused(client, "invalid_params", method, &params);
        assert_eq!(fault.details()["field"], field, "{method} {params}");
    }
    for (line, kind) in [
        ("{", "parse_error"),
        ("[]", "invalid_request"),
        ("5", "invalid_request"),
        ("{}", "invalid_request"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"daemon.info"}"#, "invalid_request"),
        (r#"{"jsonrpc":"2.0","id":1,"method":5}"#, "invalid_request"),
        ("[1,2,3,4]", "limit_exceeded"),
    ] {
        client.send_line(line);
        let answer = client.receive();
        assert_eq!(answer["error"]["data"]["kind"], kind, "{line}: {answer}");
        schemas.check_error(&answer["error"]);
    }
}

#[test]
fn unknown_parameters_are_errors_of_every_method_that_name_them() {
    let place = Place::new();
    let daemon = place.start();
    let mut client = daemon.client();
    let mut schemas = Schemas::read();
    for method in schemas.methods() {
        let fault = schemas.refused(&mut client, "invalid_params", &method, &json!({"no_such_parameter": 1}));
        assert_eq!(fault.details()["field"], "no_such_parameter", "{method}: {fault:?}");
    }
}
