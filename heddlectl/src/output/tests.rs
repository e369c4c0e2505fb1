//! What people see, at 80 columns.

use anstream::adapter::strip_str;
use proto_schema::{CleanResult, ErrorObject, ListResult, OplogListResult, Reservation, Thread};
use serde_json::{Value, json};

use super::human::Page;
use super::{clean, log, problem, sessions, status, text, threads};
use crate::error::{Error, Refused};

/// 2026-08-01T12:10:00Z, on a terminal of 80 columns.
const PAGE: Page = Page { now_ms: 1_785_586_200_000, width: Some(80) };

fn plain(text: &str) -> String {
    for line in strip_str(text).to_string().lines() {
        let columns = unicode_width::UnicodeWidthStr::width(line);
        assert!(columns <= 80, "{columns} columns: {line}");
    }
    strip_str(text).to_string()
}

fn reservation(changes: &Value) -> Reservation {
    let mut value = json!({
        "session_id": "agent-abcdefghij234567abcd", "reservation_token": null, "fencing_token": 7,
        "repo": "/home/me/app", "thread": "feature/login", "anchor_state": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "anchor_root": "b".repeat(40), "status": "active", "end_reason": null,
        "hold": {"heartbeat": {"ttl_ms": 300_000, "expires_at": "2026-08-01T12:14:12.000Z"}, "process": null,
            "connection": false},
        "alive": "alive", "path": null, "task": null, "provider": null, "model": null, "harness": null,
        "thinking_level": null, "policy": null, "probe_source": "none", "probe_confidence": 0.0,
        "parent_session_id": null, "client_instance_id": null, "native_actor_key": null,
        "native_parent_actor_key": null, "usage_summary": null, "started_at": "2026-08-01T12:07:00.000Z",
        "heartbeat_at": "2026-08-01T12:09:00.000Z", "last_progress_at": "2026-08-01T12:09:00.000Z",
        "completed_at": null,
    });
    for (name, change) in changes.as_object().expect("an object") {
        value[name] = change.clone();
    }
    serde_json::from_value(value).expect("a reservation")
}

fn three() -> Vec<Reservation> {
    vec![
        reservation(&json!({"harness": "codex", "task": "Add the login form", "path": "/home/me/app"})),
        reservation(&json!({
            "session_id": "agent-zzzzzzzzzz2222222222", "harness": "claude-code",
            "thread": "refactor/storage-engine/split-the-writer-from-the-reader",
            "hold": {"heartbeat": null, "process": {"pid": 41_217, "boot_id": "b"}, "connection": false},
            "task": "Split the writer from the reader, so that a slow reader never holds up a writer",
            "path": "/home/me/app.worktrees/refactor/storage-engine/split-the-writer-from-the-reader",
        })),
        reservation(&json!({
            "session_id": "agent-yyyyyyyyyy3333333333", "thread": "fix", "status": "abandoned",
            "end_reason": "process_exited", "started_at": "2026-07-30T12:00:00.000Z",
            "completed_at": "2026-08-01T12:05:00.000Z", "task": "Fix the build",
        })),
    ]
}

#[test]
fn sessions_as_a_table() {
    insta::assert_snapshot!(plain(&sessions::list(&three(), PAGE)), @r"
    SESSION                     STATUS     THREAD            HOLDER       AGE   LEFT
    agent-abcdefghij234567abcd  active     feature/login     codex         3m  4m12s
        Add the login form · /home/me/app
    agent-zzzzzzzzzz2222222222  active     refactor/storag…  claude-code   3m      -
        refactor/storage-engine/split-the-writer-from-the-reader · process 41217
        Split the writer from the reader, so that a slow reader never holds up a wr…
        /home/me/app.worktrees/refactor/storage-engine/
        split-the-writer-from-the-reader
    agent-yyyyyyyyyy3333333333  abandoned  fix               -             2d      -
        its process exited 5m ago · Fix the build
    ");
}

/// A page of 80 columns is enough for whatever a list may have; ids stay whole, and so do names and paths in their lines.
#[test]
fn the_longest_of_everything_fits() {
    let name = "feature/".repeat(24) + "12345678";
    assert_eq!(name.len(), 200);
    let (path, task) = (format!("/home/me/app.worktrees/{name}"), "日本語の task ".repeat(200));
    let ended = json!({"thread": name, "task": task, "path": path, "harness": "a-harness-of-many-words",
        "status": "abandoned", "end_reason": "heartbeat_expired", "completed_at": "2026-08-01T12:05:00.000Z"});
    let held = json!({"thread": name, "task": task, "path": path, "hold": {"heartbeat": {"ttl_ms": 86_400_000,
        "expires_at": "2026-08-02T12:09:59.000Z"}, "process": {"pid": 4_194_304, "boot_id": "b"}, "connection": false}});
    let sessions = [reservation(&ended), reservation(&held)];
    let holder = serde_json::to_value(&sessions[1]).expect("JSON");
    let threads = [
        thread(holder, &json!({"thread": name, "task": task})),
        thread(Value::Null, &json!({"thread": "x", "state": "abandoned", "updated_at": "2026-01-01T00:00:00.000Z"})),
    ];
    let operations: OplogListResult = serde_json::from_value(json!({"revision": 1, "oldest": 1, "operations": [
        {"revision": 123_456, "at": "2026-08-01T12:07:00.000Z", "kind": "thread_created", "repo": path, "thread": name,
            "session_id": "agent-abcdefghij234567abcd", "detail": {"task": task}}]}))
    .expect("a log");
    for (page, width) in [(PAGE, 80), (Page { width: None, ..PAGE }, usize::MAX)] {
        for text in [
            sessions::list(&sessions, page),
            threads::list(&threads, page),
            log::table_of(&operations.operations, page),
        ] {
            let text = strip_str(&text).to_string();
            for line in text.lines() {
                let columns = unicode_width::UnicodeWidthStr::width(line);
                assert!(columns <= width, "{columns} columns: {line}");
            }
            assert!(text.contains("agent-abcdefghij234567abcd"), "{text}");
            assert!(text.split_whitespace().collect::<String>().contains(&name), "{text}");
            assert!(width == 80 || (text.contains(&name) && !text.contains('…')), "in a pipe nothing is cut: {text}");
        }
    }
}

#[test]
fn a_session_as_a_card() {
    let one = reservation(&json!({
        "harness": "claude-code", "provider": "anthropic", "model": "opus", "path": "/home/me/app",
        "task": "Split the writer from the reader, so that a slow reader never holds up a writer",
        "usage_summary": {"input_tokens": 1200, "output_tokens": 30, "reasoning_tokens": 0, "tool_calls": 3,
            "cost_micros_usd": 1_250_000},
    }));
    insta::assert_snapshot!(plain(&sessions::card("reserved feature/login, a new branch", &one, PAGE)), @r"
    reserved feature/login, a new branch
      session   agent-abcdefghij234567abcd
      thread    feature/login
      status    active, for 3m
      held      4m12s left, 5m00s from each heartbeat
      anchor    4b825dc642cb6eb9a060e54bf8d69288fbee4904
      fencing   7
      agent     claude-code / anthropic / opus
      task      Split the writer from the reader, so that a slow reader never holds
                up a writer
      path      /home/me/app
      repo      /home/me/app
      usage     1200 tokens in, 30 out, 0 thinking, 3 tool calls, $1.250000
      started   2026-08-01T12:07:00.000Z
    ");
    insta::assert_snapshot!(plain(&sessions::card("agent", &three()[2], PAGE)), @r"
    agent
      session   agent-yyyyyyyyyy3333333333
      thread    fix
      status    abandoned: its process exited 5m ago
      anchor    4b825dc642cb6eb9a060e54bf8d69288fbee4904
      fencing   7
      task      Fix the build
      repo      /home/me/app
      started   2026-07-30T12:00:00.000Z
      ended     2026-08-01T12:05:00.000Z
    ");
}

#[test]
fn a_session_that_its_connection_holds_says_how_that_is() {
    let hold = |process: Value| json!({"heartbeat": null, "process": process, "connection": true});
    let process = json!({"pid": 7, "boot_id": "b"});
    for (alive, process, words) in [
        ("alive", Value::Null, "held      while its connection is open"),
        ("unknown", Value::Null, "held      its connection is lost; it ends unless it is resumed within 10 s"),
        ("unknown", process.clone(), "its connection is lost, or its process cannot"),
        ("alive", process, "held      while process 7 lives; while its connection is open"),
    ] {
        let one = reservation(&json!({"alive": alive, "hold": hold(process)}));
        let card = plain(&sessions::card("agent", &one, PAGE));
        assert!(card.contains(words), "{words}: {card}");
    }
    let row = reservation(&json!({"alive": "unknown", "hold": hold(Value::Null), "task": "Fix the build"}));
    insta::assert_snapshot!(plain(&sessions::list(&[row], PAGE)), @r"
    SESSION                     STATUS  THREAD         HOLDER  AGE  LEFT
    agent-abcdefghij234567abcd  active  feature/login  -        3m     -
        its connection is lost; it ends unless it is resumed within 10 s
        Fix the build
    ");
}

fn thread(holder: Value, changes: &Value) -> Thread {
    let mut value = json!({
        "id": "thread-1", "repo": "/home/me/app", "thread": "feature/login", "target_thread": "main",
        "parent_thread": null, "mode": "in_place", "state": "active",
        "base_state": "4b825dc642cb6eb9a060e54bf8d69288fbee4904", "base_root": "b".repeat(40),
        "current_state": "5b825dc642cb6eb9a060e54bf8d69288fbee4904", "merged_state": null, "task": "Add the login form",
        "execution_path": "/home/me/app", "ahead": 3, "behind": 0, "changed_paths": ["src/login.rs", "Cargo.toml"],
        "changed_count": 2, "impact_categories": ["dependency_graph"], "freshness": "current",
        "verification_summary":
            {"tests_passed": 41, "tests_failed": 0, "coverage_pct": null, "lint_warnings": null},
        "confidence_summary": {"value": 0.9, "band": "high"},
        "integration_policy_result": null, "holder": holder, "created_at": "2026-08-01T12:00:00.000Z",
        "updated_at": "2026-08-01T12:09:00.000Z",
    });
    for (name, change) in changes.as_object().expect("an object") {
        value[name] = change.clone();
    }
    serde_json::from_value(value).expect("a thread")
}

#[test]
fn threads_as_a_table_and_as_a_card() {
    let holder = serde_json::to_value(&three()[0]).expect("JSON");
    let long = json!({"thread": "refactor/storage-engine/split-the-writer", "state": "merged", "task": null});
    let all = [thread(holder, &json!({})), thread(Value::Null, &long)];
    insta::assert_snapshot!(plain(&threads::list(&all, PAGE)), @r"
    THREAD                STATE   TIP         AHEAD  HELD BY                     AGE
    feature/login         active  5b825dc642  +3 -0  agent-abcdefghij234567abcd   1m
        Add the login form
    refactor/storage-en…  merged  5b825dc642  +3 -0  -                            1m
        refactor/storage-engine/split-the-writer
    ");
    insta::assert_snapshot!(plain(&threads::card(&all[0], PAGE)), @r"
    feature/login
      state     active
      held by   agent-abcdefghij234567abcd (codex; 4m12s left, 5m00s from each
                heartbeat)
      tip       5b825dc642cb6eb9a060e54bf8d69288fbee4904
      base      4b825dc642cb6eb9a060e54bf8d69288fbee4904
      target    main
      stands    3 ahead, 0 behind: it has all of its target's commits
      changed   2 paths: src/login.rs Cargo.toml
      touches   dependency_graph
      checked   41 tests passed, 0 tests failed, confidence 0.9
      task      Add the login form
      work      in place
      path      /home/me/app
      repo      /home/me/app
      updated   2026-08-01T12:09:00.000Z (1m ago)
      next      heddlectl show --session agent-abcdefghij234567abcd
    ");
}

#[test]
fn the_log_as_a_table() {
    let list: OplogListResult = serde_json::from_value(json!({"revision": 12, "oldest": 1, "operations": [
        {"revision": 11, "at": "2026-08-01T12:07:00.000Z", "kind": "reserved", "repo": "/home/me/app",
            "thread": "feature/login", "session_id": "agent-abcdefghij234567abcd", "detail": {}},
        {"revision": 12, "at": "2026-08-01T12:08:00.000Z", "kind": "evicted", "repo": "/home/me/app",
            "thread": "feature/login", "session_id": "agent-abcdefghij234567abcd",
            "detail": {"reason": "gone for lunch", "by": {"pid": 4121, "executable": "/usr/bin/heddlectl"}}},
    ]}))
    .expect("a log");
    insta::assert_snapshot!(plain(&log::table_of(&list.operations, PAGE)), @r#"
    REV  AT (UTC)             WHAT      THREAD         SESSION
     11  2026-08-01 12:07:00  reserved  feature/login  agent-abcdefghij234567abcd
     12  2026-08-01 12:08:00  evicted   feature/login  agent-abcdefghij234567abcd
        reason="gone for lunch" by={"executable":"/usr/bin/heddlectl","pid":4121}
    "#);
}

#[test]
fn the_log_as_lines() {
    let operation = |changes: Value| {
        let mut value = json!({"revision": 11, "at": "2026-08-01T12:07:00.000Z", "kind": "reserved",
            "repo": "/home/me/app", "thread": "feature/login", "session_id": "agent-abcdefghij234567abcd", "detail": {}});
        value.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        serde_json::from_value(value).expect("an operation")
    };
    let operations = [
        operation(json!({"detail": {"task": "Add the\nlogin\u{1b}[2J form"}})),
        operation(json!({"revision": 1_234_567, "kind": "thread_created", "thread": "feature/".repeat(24) + "x"})),
        operation(
            json!({"kind": "daemon_started", "thread": null, "session_id": null, "detail": {"pid": 41, "version": "1"}}),
        ),
    ];
    let lines = |page| {
        let lines: String = operations.iter().map(|operation| log::line(operation, page)).collect();
        strip_str(&(log::heading(page) + &lines)).to_string()
    };
    insta::assert_snapshot!(plain(&lines(PAGE)), @r"
       REV  AT (UTC)  WHAT            THREAD              SESSION
        11  12:07:00  reserved        feature/login       agent-abcdefghij234567abcd
    1234567  12:07:00  thread_created  feature/feature/…  agent-abcdefghij234567abcd
        11  12:07:00  daemon_started  -                   pid=41 version=1
    ");
    let whole = lines(Page { width: None, ..PAGE });
    assert_eq!(whole.lines().count(), 4, "one line each: {whole}");
    assert!(whole.contains("2026-08-01 12:07:00") && !whole.contains('…'), "in a pipe nothing is cut: {whole}");
    assert!(whole.contains("agent-abcdefghij234567abcd  task="), "{whole}");
}

#[test]
fn the_daemon_as_a_card() {
    let info = json!({
        "version": "0.1.0", "protocol": [1, 1], "pid": 4121, "started_at": "2026-08-01T10:00:00.000Z",
        "socket": "/run/user/1000/heddle/heddled.sock", "state_dir": "/home/me/.local/state/heddle",
        "registry": "abc", "boot_id": "b", "revision": 12,
        "counts": {"connections": 1, "subscriptions": 0, "active_sessions": 2, "sessions": 5, "threads": 3, "repositories": 1,
            "quarantined": 0},
        "limits": {"line_bytes": 1, "connections": 1, "calls_in_flight": 1, "batch": 1, "active_sessions": 1,
            "subscriptions": 1, "events_behind": 1, "request_timeout_ms": 1},
    });
    insta::assert_snapshot!(plain(&status::info(&serde_json::from_value(info).expect("info"), PAGE)), @r"
    heddled 0.1.0 is running
      pid        4121, for 2h
      socket     /run/user/1000/heddle/heddled.sock
      state      /home/me/.local/state/heddle
      registry   abc, revision 12
      sessions   2 active, 5 kept
      threads    3 threads, in 1 repository
      clients    1 connection
    ");
    let health = json!({"healthy": false, "checks": [
        {"name": "store", "clean": true, "summary": "changes are durable"},
        {"name": "disk", "clean": false, "summary": "12 MB are left"},
    ]});
    insta::assert_snapshot!(plain(&status::health(&serde_json::from_value(health).expect("health"))), @r"
    ok    store: changes are durable
    BAD   disk: 12 MB are left
    ");
}

#[test]
fn an_error_of_the_daemon() {
    let object = json!({"code": 1001, "message": "m", "data": {
        "kind": "live_owner", "error": "thread 'feature/login' is held by agent-abcdefghij234567abcd",
        "hint": "wait for it with --wait 30s, work on another thread, or evict the holder with a reason if it is gone",
        "unsafe_condition": "codex has held it for 3 minutes at 4b825dc642, until 12:14:12 unless renewed",
        "would_change": "a second writer would start a competing history",
        "preserved": "no ref, no reservation was changed", "primary_command": "heddlectl thread show feature/login",
        "recovery_commands": ["heddlectl thread show feature/login", "heddlectl reserve --thread feature/login --wait 30s",
            "heddlectl evict --session agent-abcdefghij234567abcd --reason '<why>'"],
        "retryable": true, "retry_after_ms": null, "details": {}, "request": null,
    }});
    let object: ErrorObject = serde_json::from_value(object).expect("an error");
    let error = Error::Refused(Box::new(Refused { object, wire: String::new() }));
    insta::assert_snapshot!(plain(&problem::render(&error.report(), 80)), @r"
    error: thread 'feature/login' is held by agent-abcdefghij234567abcd
      why:  codex has held it for 3 minutes at 4b825dc642, until 12:14:12 unless
            renewed
      risk: a second writer would start a competing history
      kept: no ref, no reservation was changed
    hint: wait for it with --wait 30s, work on another thread, or evict the holder
          with a reason if it is gone
    next: heddlectl thread show feature/login
      or: heddlectl reserve --thread feature/login --wait 30s
      or: heddlectl evict --session agent-abcdefghij234567abcd --reason '<why>'
    ");
}

#[test]
fn an_error_of_ours() {
    let error = Error::usage("there is\u{7} no session").fact("a fact").hint("do that").command("heddlectl list");
    insta::assert_snapshot!(plain(&problem::render(&error.report(), 80)), @r"
    error: there is\u{7} no session
      a fact
    hint: do that
    next: heddlectl list
    ");
}

#[test]
fn lists_are_read_with_members_of_tomorrow() {
    let list = json!({"reservations": [], "alive_only": false, "thread": null, "verification": null, "revision": 1,
        "next_cursor": null, "of_tomorrow": 1});
    serde_json::from_value::<ListResult>(list).expect("unknown members are ignored");
}

#[test]
fn a_clean_says_what_went_and_why_the_rest_stays() {
    let result: CleanResult = serde_json::from_value(json!({
        "removed": [{"thread": "feature/login", "worktree": "/home/me/app.worktrees/feature/login"}],
        "kept": [
            {"thread": "fix", "worktree": "/home/me/app.worktrees/fix", "reason": "'src/main.rs' is not committed"},
            {"thread": "refactor", "worktree": "/home/me/app.worktrees/refactor",
             "reason": "it was changed while it was removed, at 'build/x'; `git -C /home/me/app.worktrees/refactor \
                restore -- :/` brings back what was removed by then"},
        ],
    }))
    .expect("a result");
    insta::assert_snapshot!(plain(&clean::report(&result, false, PAGE)), @r"
    removed  feature/login
             /home/me/app.worktrees/feature/login
    kept     fix
             /home/me/app.worktrees/fix
             'src/main.rs' is not committed
    kept     refactor
             /home/me/app.worktrees/refactor
             it was changed while it was removed, at 'build/x'; `git -C
             /home/me/app.worktrees/refactor restore -- :/` brings back what was
             removed by then
    1 worktree was removed; its branch stays.
    ");
    let nothing = CleanResult { removed: Vec::new(), kept: Vec::new() };
    insta::assert_snapshot!(plain(&clean::report(&nothing, true, PAGE)), @"There is nothing to clean: no thread of this repository has a linked worktree.");
}

#[test]
fn what_cannot_be_seen_is_escaped_wherever_text_of_others_is_printed() {
    let strange = [
        "\u{200b}",
        "\u{200d}",
        "\u{ad}",
        "\u{feff}",
        "\u{202e}",
        "\u{2066}",
        "\u{2060}",
        "\u{3164}",
        "\u{e0041}",
        "\u{fe0f}",
        "\u{9b}",
        "\u{1b}",
    ];
    for character in strange {
        let text = format!("fix{character}me");
        let shown = text::clean(&text);
        assert!(!shown.contains(character) && shown.contains("\\u{"), "{}: {shown}", text.escape_unicode());
        let page = text::without_invisible(&text);
        let is_ours = matches!(character, "\u{9b}" | "\u{1b}");
        assert_eq!(page.contains(character), is_ours, "{}: controls of ours stay", text.escape_unicode());
    }
    for plain in ["two\nlines", "Grün für Zoë", "日本語", "עברית", "ไทย", "e\u{301}", "🎉"] {
        assert_eq!(text::clean(plain), plain);
    }
}
