//! What is refused: the exit codes of docs/protocol.md, the text, and the error object.

use serde_json::json;

use crate::support::{Said, World};

/// Asserts that an error is this kind, in JSON and by its exit code: the table's, where it is the daemon's.
#[track_caller]
fn is(said: &Said, kind: &str, code: i32, exit: i32) {
    let error = said.error();
    assert_eq!(error["message"], error["data"]["error"], "{said}");
    assert_eq!((&error["data"]["kind"], &error["code"], said.code), (&json!(kind), &json!(code), Some(exit)), "{said}");
    let members = error["data"].as_object().expect("data").keys().cloned().collect::<Vec<_>>();
    for name in [
        "kind",
        "error",
        "hint",
        "unsafe_condition",
        "would_change",
        "preserved",
        "primary_command",
        "recovery_commands",
        "retryable",
        "retry_after_ms",
        "details",
        "request",
    ] {
        assert!(members.iter().any(|member| member == name), "{kind} has no {name}");
    }
}

#[test]
fn each_kind_that_a_command_can_meet_has_its_exit_code() {
    let world = World::with_daemon();
    let ask = |arguments: &[&str]| world.run(&[&["--json"], arguments].concat());
    let id = world.reserve("held");
    is(&ask(&["reserve", "-t", "held"]), "live_owner", 1001, 3);
    is(&ask(&["reserve", "--thread=-bad"]), "thread_name_invalid", 1201, 2);
    is(&ask(&["reserve", "-t", "held/below"]), "thread_name_conflict", 1204, 2);
    is(&ask(&["reserve", "-t", "n", "--anchor", "no-such-rev"]), "anchor_not_found", 1102, 3);
    is(&ask(&["reserve", "-t", "n", "--hold-for-pid", "99999999"]), "holder_not_found", 1107, 3);
    is(&ask(&["reserve", "-t", "n", "--ttl", "1ms"]), "invalid_params", -32602, 2);
    is(&ask(&["reserve", "-t", "n", "--worktree", "/nowhere/else"]), "path_not_allowed", 1015, 77);
    is(&ask(&["reserve", "-t", "n", "--repo", "../home"]), "repository_not_found", 1104, 3);
    is(&ask(&["thread", "show", "never"]), "thread_not_found", 1105, 3);
    let nobody = format!("agent-{}", "b".repeat(20));
    is(&ask(&["show", &nobody]), "agent_session_not_found", 1101, 3);
    is(&ask(&["evict", &nobody, "--reason", "r"]), "agent_session_not_found", 1101, 3);
    let other = world.path("other-token");
    std::fs::write(&other, format!("hrt_{}\n", "a".repeat(52))).expect("written");
    let other = other.to_str().expect("text");
    is(&ask(&["release", "--session", &id, "--token-file", other]), "reservation_token_mismatch", 1301, 77);
    let empty = world.path("empty");
    std::fs::create_dir(&empty).expect("made");
    world.git(&["init", "--quiet", "../empty"]);
    is(&ask(&["reserve", "-t", "n", "--repo", "../empty"]), "no_head_state", 1103, 3);
    assert_eq!(ask(&["release"]).code, Some(0));
    world.git(&["commit", "--quiet", "--allow-empty", "--message=Next"]);
    is(&ask(&["reserve", "-t", "held"]), "anchor_drift", 1002, 3);
    let mut ended = world.command(&["--json", "heartbeat"]);
    is(&world.say(ended.env("HEDDLE_SESSION", &id)), "agent_session_inactive", 1005, 3);
    assert_eq!(world.token_files().len(), 1, "refused requests leave no token");
}

#[test]
fn a_wait_that_is_over_is_75() {
    let world = World::with_daemon();
    world.reserve("held");
    is(&world.run(&["--json", "reserve", "-t", "held", "--wait", "1ms"]), "wait_timeout", 1004, 75);
}

#[test]
fn usage_is_2_and_nothing_is_asked() {
    let world = World::new();
    for arguments in [
        &["reserve"][..],
        &["reserve", "-t", "x", "--ttl", "5"],
        &["reserve", "-t", "x", "--at-tip", "--anchor", "HEAD"],
        &["reserve", "-t", "x", "--hold-for-agent", "--no-hold-for-agent"],
        &["show", "agent-1"],
        &["evict", "agent-1"],
        &["evict", "--reason", "r"],
        &["run", "-t", "x"],
        &["run", "-t", "x", "true"],
        &["heartbeat", "--usage", "{"],
        &["list", "--status", "dead"],
        &["thread"],
        &["list", "--all-repos", "--repo", "."],
    ] {
        let said = world.run(arguments);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments:?}: {said}");
    }
}

/// With --json an error is an error object of one shape, whichever side of the socket it is of.
#[test]
fn errors_of_this_side_have_the_shape_of_the_wires() {
    let mut world = World::new();
    is(&world.run(&["--json", "list"]), "daemon_unreachable", 69, 69);
    let mut homeless = world.command(&["list", "--json"]);
    homeless.env_remove("HOME").env_remove("HEDDLE_STATE_DIR");
    is(&world.say(&mut homeless), "bad_configuration", 78, 78);
    for arguments in [&["--json"][..], &["reserve", "--json"], &["lsit", "--json"], &["list", "--json", "--limit", "x"]]
    {
        is(&world.run(arguments), "usage", 2, 2);
    }
    is(&world.run(&["--json", "run", "-t", "x", "--", "no-such-command"]), "command_not_found", 127, 127);
    world.start_daemon();
    let none = world.run(&["--json", "release"]);
    is(&none, "usage", 2, 2);
    let data = none.error()["data"].take();
    assert_eq!(data["primary_command"], data["recovery_commands"][0]);
    assert!(data["primary_command"].as_str().expect("text").starts_with("heddlectl reserve"), "{none}");
    let id = world.reserve("x");
    is(&world.run(&["--json", "release", "--token-file", "nowhere"]), "io", 74, 74);
    std::fs::remove_file(world.token_file(&id)).expect("removed");
    let kept = world.run(&["--json", "release"]);
    is(&kept, "not_allowed", 77, 77);
    let data = kept.error()["data"].take();
    assert_eq!(data["hint"], "bring it with --token-file");
    assert!(data["details"]["facts"][0].as_str().expect("a fact").contains("sessions"), "{kept}");
    is(&world.run(&["--json", "validate"]), "refused", 3, 3);
}

#[test]
fn a_refusal_says_what_is_wrong_and_what_to_do() {
    let world = World::with_daemon();
    world.reserve("feature/x");
    let said = world.run(&["reserve", "-t", "feature/x"]).steady();
    insta::assert_snapshot!(said, @r"
    ! error: thread 'feature/x' is held by $AGENT
    !   why:  $AGENT holds 'feature/x' since
    !         $AT at $STATE,
    !         held by heartbeats within 5 min
    !   risk: a second writer would start a competing history
    !   kept: no ref and no reservation was changed
    ! hint: look at who holds it; then wait for it, reserve another thread, or evict
    !       the holder with a reason
    ! next: heddlectl thread show feature/x --repo $ROOT/app
    !   or: heddlectl reserve --thread feature/x --wait 10m --repo $ROOT/app
    !   or: heddlectl evict --session $AGENT --reason '<why>'
    [exit 3]
    ");
}

/// Each command of an advice is one that can be pasted into any shell: it finds the repository, and does something.
#[test]
fn the_commands_of_an_advice_can_be_run_from_anywhere() {
    let world = World::with_daemon();
    world.git(&["init", "--quiet", "../it's new"]);
    let ended = world.reserve("ended");
    assert_eq!(world.run(&["release"]).code, Some(0));
    let none = world.run(&["--json", "release"]);
    world.reserve("feature/x");
    let ask = |arguments: &[&str]| world.run(&[&["--json"], arguments].concat());
    for said in [
        ask(&["reserve", "-t", "n", "--anchor", "no-such-rev"]),
        ask(&["reserve", "-t", "feature/x/y"]),
        ask(&["reserve", "-t", "a..b"]),
        ask(&["list", "-t", "c..d"]),
        ask(&["log", "-t", "e..f"]),
        ask(&["reserve", "-t", "n", "--repo", "../it's new"]),
        ask(&["reserve", "-t", "h", "--hold-for-pid", "99999999"]),
        ask(&["thread", "show", "never"]),
        ask(&["reserve", "-t", "w", "--worktree", "/nowhere/else"]),
        none,
        world.say(world.command(&["--json", "heartbeat"]).env("HEDDLE_SESSION", &ended)),
    ] {
        follow(&world, &said);
    }
    let drifted = world.reserve("drifted");
    assert_eq!(world.run(&["release", "--session", &drifted]).code, Some(0));
    world.git(&["commit", "--quiet", "--allow-empty", "--message=Next"]);
    follow(&world, &ask(&["reserve", "-t", "drifted"]));
    // Last, for one of its commands ends the session.
    follow(&world, &ask(&["reserve", "-t", "feature/x"]));
}

/// Runs each command of an advice, with its blanks filled in.
fn follow(world: &World, said: &Said) {
    let mut commands = said.error()["data"]["recovery_commands"].as_array().expect("commands").clone();
    assert!(!commands.is_empty(), "{said}");
    // Who waits has the thread once one of the others has freed it.
    commands.sort_by_key(|command| command.as_str().is_some_and(|command| command.contains(" --wait ")));
    for command in commands {
        let command = command.as_str().expect("text").replace("$ROOT/", &world.path("").to_string_lossy());
        let command = command.replace("<thread>", "thread").replace("no-such-rev", "HEAD");
        let said = world.elsewhere(&command);
        assert_eq!(said.code, Some(0), "{command}: {said}");
    }
}

#[test]
fn who_named_a_socket_is_told_to_name_it_again() {
    let world = World::new();
    let mut command = world.command(&["list", "--socket", "it's.sock"]);
    let said = world.say(command.current_dir(world.path("run/heddle")));
    insta::assert_snapshot!(said, @r"
    ! error: no daemon is listening on $ROOT/run/heddle/it's.sock
    !   HEDDLE_NO_AUTOSTART is set
    ! next: heddlectl daemon start --socket '$ROOT/run/heddle/it'\''s.sock'
    [exit 69]
    ");
}

/// Whatever keeps a worktree from being captured: the first command of the advice, as it is, leads on.
#[test]
fn the_advice_of_a_refused_capture_leads_to_a_capture() {
    let world = World::with_daemon();
    world.reserve("x");
    std::fs::write(world.path("app/new"), "new").expect("written");
    let capture = || world.run(&["--json", "capture"]);
    let follow = |said: &Said| {
        let command = said.error()["data"]["primary_command"].as_str().expect("a command").to_owned();
        let command = command.replace("$ROOT/", &world.path("").to_string_lossy());
        let done = world.elsewhere(&command);
        assert_eq!(done.code, Some(0), "{command}: {done}");
    };
    let said = capture();
    is(&said, "agent_session_thread_mismatch", 1006, 3);
    follow(&said);
    world.git(&["config", "--global", "user.useConfigOnly", "true"]);
    let said = capture();
    is(&said, "git_identity_missing", 1010, 3);
    follow(&said);
    world.git(&["config", "--global", "user.email", "a@example.com"]);
    assert_eq!(capture().code, Some(0));

    // A merge that stops.
    world.git(&["branch", "side"]);
    std::fs::write(world.path("app/new"), "mine").expect("written");
    assert_eq!(capture().code, Some(0));
    world.git(&["switch", "--quiet", "side"]);
    std::fs::write(world.path("app/new"), "theirs").expect("written");
    world.git(&["commit", "--quiet", "-am", "theirs"]);
    world.git(&["switch", "--quiet", "x"]);
    let merged = world.elsewhere(&format!("git -C {} merge --quiet side", world.path("app").display()));
    assert_eq!(merged.code, Some(1), "{merged}");
    let said = capture();
    is(&said, "index_conflicted", 1013, 3);
    follow(&said);
    std::fs::write(world.path("app/new"), "both").expect("written");
    world.git(&["add", "new"]);
    let said = capture();
    is(&said, "operation_in_progress", 1009, 3);
    follow(&said);
    let said = world.json(&["capture"]);
    assert_eq!(said["capture"]["created"], false, "Git has completed the merge, and it is the holder's own: {said}");

    std::fs::write(world.path("app/.gitattributes"), "new filter=mine\n").expect("written");
    std::fs::write(world.path("app/new"), "more").expect("written");
    let said = capture();
    is(&said, "filter_not_allowed", 1011, 3);
    follow(&said);
}
