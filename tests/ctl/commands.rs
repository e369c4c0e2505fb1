//! Each command: what it prints for people, and with --json exactly the wire's result.

use std::io::{BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::process;
use crate::support::{World, steady};

/// Asks the daemon itself; gives the line's result as it was on the wire.
fn wire(world: &World, method: &str, params: &Value) -> String {
    let mut stream = UnixStream::connect(world.socket()).expect("connected");
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    writeln!(stream, "{call}").expect("asked");
    let line = process::read_line(&mut BufReader::new(stream));
    let start = line.find("\"result\":").expect("a result") + "\"result\":".len();
    line.trim_end()[start..].strip_suffix('}').expect("an object").to_owned()
}

#[test]
fn json_is_exactly_the_wires_result() {
    let world = World::with_daemon();
    let id = world.reserve("feature/x");
    let repo = world.path("app");
    for (arguments, method, params) in [
        (&["list"][..], "agent.list", json!({"repo": repo})),
        (
            &["list", "--status", "active", "-t", "feature/x"],
            "agent.list",
            json!({"repo": repo, "status": "active", "thread": "feature/x"}),
        ),
        (&["list", "--all-repos", "--limit", "1"], "agent.list", json!({"limit": 1})),
        (&["show"], "agent.show", json!({"session_id": id})),
        (&["thread", "list"], "thread.list", json!({"repo": repo})),
        (&["thread", "show", "feature/x"], "thread.show", json!({"repo": repo, "thread": "feature/x"})),
        (&["log"], "oplog.list", json!({"repo": repo})),
        (
            &["log", "--after", "0", "-n", "1", "--session", &id],
            "oplog.list",
            json!({"repo": repo, "after": 0, "limit": 1, "session_id": id}),
        ),
    ] {
        let said = world.run(&[&["--json"], arguments].concat());
        let place = world.path("").to_string_lossy().into_owned();
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        // The instant of expiry is told anew each time, and may differ by a millisecond.
        let wire = steady(&wire(&world, method, &params).replace(&place, "$ROOT/"));
        assert_eq!(steady(said.stdout.trim_end()), wire, "{arguments:?}");
    }
    let info = world.json(&["daemon", "status"]);
    assert_eq!(
        info["info"]["registry"],
        serde_json::from_str::<Value>(&wire(&world, "daemon.info", &json!({}))).expect("JSON")["registry"]
    );
    assert_eq!(info["health"]["healthy"], true);
}

#[test]
fn changes_answer_with_the_reservation() {
    let world = World::with_daemon();
    let reserved = world.json(&["reserve", "-t", "x", "--task", "Add it", "--model", "m1", "--ttl", "1h30m"]);
    assert_eq!((&reserved["thread_created"], &reserved["replayed"]), (&json!(true), &json!(false)));
    let reservation = &reserved["reservation"];
    assert_eq!((&reservation["task"], &reservation["model"]), (&json!("Add it"), &json!("m1")));
    assert_eq!(
        (&reservation["probe_source"], &reservation["probe_confidence"]),
        (&json!("explicit_payload"), &json!(1.0))
    );
    assert_eq!(reservation["anchor_state"].as_str(), Some(world.git(&["rev-parse", "refs/heads/x"]).trim()));
    let beat = world.json(&["heartbeat", "--progress", "--usage", r#"{"input_tokens":3,"tool_calls":1}"#]);
    assert_eq!(beat["reservation"]["usage_summary"]["input_tokens"], 3);
    assert_eq!(world.json(&["validate", "--thread", "x"])["valid"], true);
    let released = world.json(&["release", "--status", "abandoned"]);
    assert_eq!(
        (&released["reservation"]["status"], &released["reservation"]["end_reason"]),
        (&json!("abandoned"), &json!("released"))
    );
    let id = world.reserve("y");
    assert_eq!(world.json(&["evict", "--session", &id, "--reason", "r"])["reservation"]["end_reason"], "evicted");
}

#[test]
fn without_sessions_a_sentence() {
    let world = World::with_daemon();
    insta::assert_snapshot!(world.run(&["list"]), @r"
    There is no session in this repository.
    [exit 0]
    ");
    insta::assert_snapshot!(world.run(&["list", "--alive-only", "--thread", "x", "--all-repos"]), @r"
    There is no live session on x in any repository.
    [exit 0]
    ");
    insta::assert_snapshot!(world.run(&["thread", "list"]), @r"
    No thread was ever reserved in this repository.
    [exit 0]
    ");
}

#[test]
fn a_day_of_one_session_as_people_see_it() {
    let world = World::with_daemon();
    let said = world.run(&["reserve", "-t", "feature/x", "--task", "Add it", "--no-hold-for-agent"]).steady();
    insta::assert_snapshot!(said, @r"
    reserved feature/x, a new branch
      session   $AGENT
      thread    feature/x
      status    active, for 0s
      held      5m00s left, 5m00s from each heartbeat
      anchor    $STATE
      fencing   1
      task      Add it
      path      $ROOT/app
      repo      $ROOT/app
      started   $AT

    export HEDDLE_SESSION=$AGENT
    ! it expires at $AT unless `heddlectl heartbeat` renews it;
    !   --hold-for-pid holds it for a process
    [exit 0]
    ");
    let said = world.run(&["heartbeat"]).steady();
    insta::assert_snapshot!(said, @r"
    $AGENT holds feature/x: 5m00s left, 5m00s from each heartbeat
    [exit 0]
    ");
    assert_eq!(world.run(&["show"]).code, Some(0));
    assert_eq!(world.run(&["thread", "show", "feature/x"]).code, Some(0));
    insta::assert_snapshot!(world.run(&["release"]).steady(), @r"
    released feature/x: $AGENT is complete
    [exit 0]
    ");
    let id = world.reserve("feature/y");
    insta::assert_snapshot!(world.run(&["evict", &id, "--reason", "gone for lunch"]).steady(), @r"
    evicted $AGENT: feature/y is free
    [exit 0]
    ");
    let log = world.run(&["log"]);
    assert!(log.stdout.contains("evicted") && log.stdout.contains(r#"reason="gone for lunch""#), "{log}");
}

#[test]
fn quiet_prints_only_what_was_asked_for() {
    let world = World::with_daemon();
    insta::assert_snapshot!(world.run(&["reserve", "-q", "-t", "x"]).steady(), @r"
    $AGENT
    [exit 0]
    ");
    for arguments in [&["heartbeat", "-q"][..], &["validate", "-q"], &["release", "-q"]] {
        insta::allow_duplicates! { insta::assert_snapshot!(world.run(arguments), @"[exit 0]"); }
    }
}

#[test]
fn a_process_of_ones_choice_holds_it() {
    let world = World::with_daemon();
    let mut holder = std::process::Command::new("sleep").arg("60").spawn().expect("started");
    let pid = holder.id().to_string();
    let value = world.json(&["reserve", "-t", "x", "--hold-for-pid", &pid]);
    assert_eq!(value["reservation"]["hold"]["process"]["pid"], holder.id());
    let id = value["reservation"]["session_id"].as_str().expect("an id");
    let said = world.run(&["evict", id, "--reason", "stuck"]);
    let warning = format!("warning: its process {pid} is still running and may still write; end it with: kill {pid}\n");
    assert_eq!((said.code, &said.stderr), (Some(0), &warning), "whose thread was taken is told to be at work still");
    world.json(&["reserve", "-t", "x", "--hold-for-pid", &pid]);
    holder.kill().expect("killed");
    process::wait(&mut holder);
    crate::support::until("it is reaped", || world.standing("x") == ("abandoned".into(), "process_exited".into()));
}

#[test]
fn schemas_come_without_a_daemon() {
    let world = World::new();
    let document: Value = serde_json::from_str(&world.run(&["schema"]).stdout).expect("JSON");
    assert!(document["openrpc"].is_string() && document["methods"].is_array());
    let types = world.run(&["schema", "--types"]).stdout;
    for name in ["AgentReservationEnvelope", "AgentReservationListOutput", "AgentReservationOutput"] {
        assert!(types.contains(name), "{name}");
    }
}

#[test]
fn a_repository_is_adopted_from_a_registry_that_is_gone() {
    let mut world = World::with_daemon();
    world.reserve("x");
    world.kill_daemon();
    std::fs::rename(world.path("state"), world.path("other")).expect("moved");
    world.start_daemon();
    let said = world.run(&["reserve", "-t", "y"]);
    assert_eq!(said.code, Some(74), "{said}");
    assert!(said.stderr.contains("heddlectl repo adopt"), "{said}");
    insta::assert_snapshot!(world.run(&["repo", "adopt", "--reason", "moved house"]), @r"
    this repository is now served by your daemon
    [exit 0]
    ");
    assert_eq!(world.run(&["reserve", "-t", "y"]).code, Some(0));
    assert_eq!(world.json(&["repo", "adopt", "--reason", "again"]), json!({}));
}

/// The advice leads on while the other daemon runs too: it is stopped first, by the command that is named first.
#[test]
fn a_repository_of_a_running_daemon_is_adopted_in_two_steps() {
    let (mut first, second) = (World::with_daemon(), World::with_daemon());
    first.reserve("x");
    let repo = first.path("app");
    let repo = repo.to_str().expect("text");
    let ask = |arguments: &[&str]| second.run(&[&["--json", "--repo", repo], arguments].concat());
    let stop = format!("heddlectl --socket {} daemon stop", first.socket().display());
    let adopt = format!("heddlectl repo adopt --reason '<why>' --repo {repo}");
    for arguments in [&["reserve", "-t", "y"][..], &["repo", "adopt", "--reason", "r"]] {
        let said = ask(arguments);
        assert_eq!(said.error()["data"]["recovery_commands"], json!([stop, adopt]), "{said}");
    }
    let socket = first.socket();
    let stopping = second.command(&["-q", "--socket", socket.to_str().expect("text"), "daemon", "stop"]).spawn();
    first.reap_daemon();
    assert!(process::wait(&mut stopping.expect("started")).success());
    assert_eq!(ask(&["repo", "adopt", "--reason", "r"]).code, Some(0));
    assert_eq!(ask(&["reserve", "-t", "y"]).code, Some(0));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let world = World::with_daemon();
    world.reserve("x");
    for arguments in [&["schema"][..], &["list"], &["list", "--json"], &["log"], &["--help"], &["status"]] {
        let mut command = world.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        drop(child.stdout.take());
        let output = process::output_of(child);
        let said = (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned());
        assert_eq!(said, (Some(0), String::new()), "{arguments:?}");
    }
}

#[test]
fn color_comes_only_where_it_is_wanted() {
    let world = World::with_daemon();
    world.reserve("x");
    assert!(!world.run(&["list"]).stdout.contains('\u{1b}'));
    assert!(world.run(&["list", "--color", "always"]).stdout.contains('\u{1b}'));
}

#[test]
fn help_is_there_for_each_command() {
    let world = World::new();
    let said = world.run(&[]);
    assert_eq!(said.code, Some(2), "{said}");
    assert!(said.stderr.contains("Usage: heddlectl"), "{said}");
    for command in [
        "run",
        "reserve",
        "heartbeat",
        "release",
        "list",
        "show",
        "validate",
        "evict",
        "thread",
        "log",
        "watch",
        "status",
        "daemon",
        "repo",
        "demo",
        "schema",
        "completions",
        "man",
    ] {
        let said = world.run(&[command, "--help"]);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{command}");
        assert!(said.stdout.contains(&format!("Usage: heddlectl {command}")), "{said}");
        for line in said.stdout.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
    let version = world.run(&["--version"]);
    assert_eq!(version.stdout, format!("heddlectl {}\n", env!("CARGO_PKG_VERSION")));
    let wrong = world.run(&["lsit"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("list"), "{wrong}");
}
