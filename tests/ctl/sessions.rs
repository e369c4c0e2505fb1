//! Which session a command is about, and whose token it uses.

use crate::support::World;

#[test]
fn the_session_of_this_worktree_is_the_default() {
    let world = World::with_daemon();
    insta::assert_snapshot!(world.run(&["heartbeat"]), @r"
    ! error: no session is active in $ROOT/app
    ! hint: reserve a thread first, name a session with --session, or set
    !       HEDDLE_SESSION
    ! next: heddlectl reserve --thread '<thread>' --repo $ROOT/app
    [exit 2]
    ");
    let id = world.reserve("x");
    let said = world.run(&["heartbeat", "--progress", "--repo", "src"]);
    assert_eq!(said.code, Some(0), "{said}");
    let second = world.reserve("y");
    let said = world.run(&["heartbeat"]);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("2 sessions are active"), "{said}");
    assert!(said.stderr.contains(&id) && said.stderr.contains(&second), "{said}");
    assert_eq!(world.say(world.command(&["heartbeat"]).env("HEDDLE_SESSION", &id)).code, Some(0));
    assert_eq!(world.say(world.command(&["heartbeat"]).env("HEDDLE_SESSION", "agent-1")).code, Some(2));
    assert_eq!(world.run(&["heartbeat", "--session", &second]).code, Some(0));
}

#[test]
fn a_worktree_of_the_thread_has_its_own_default() {
    let world = World::with_daemon();
    world.reserve("x");
    let said = world.run(&["reserve", "-q", "-t", "y", "--worktree", "--no-hold-for-agent"]);
    assert_eq!(said.code, Some(0), "{said}");
    let here = world.json(&["show"]);
    let there = world.json(&["show", "--repo", "../app.worktrees/y"]);
    assert_eq!((&here["reservation"]["thread"], &there["reservation"]["thread"]), (&"x".into(), &"y".into()));
}

#[test]
fn naming_a_session_of_elsewhere_is_not_enough() {
    let world = World::with_daemon();
    let id = world.reserve("x");
    assert_eq!(world.run(&["validate", "--session", &id]).code, Some(0), "in its own worktree it is");
    let mut elsewhere = world.command(&["release", "--session", &id]);
    let said = world.say(elsewhere.current_dir(world.path("home"))).steady();
    insta::assert_snapshot!(said, @r"
    ! error: $AGENT is not a session of this worktree
    !   naming a session does not give the right to act for it; nothing was sent
    ! hint: run this in the session's worktree, or bring its token with --token-file
    [exit 77]
    ");
    assert_eq!(world.standing("x").0, "active");
    let file = world.token_file(&id);
    let mut command = world.command(&["release", "--session", &id, "--token-file", file.to_str().expect("text")]);
    assert_eq!(world.say(command.current_dir(world.path("home"))).code, Some(0));
}

/// A directory that was removed under an agent does not keep it from giving its session back.
#[test]
fn without_a_current_directory_a_named_session_is_still_there() {
    let world = World::with_daemon();
    let id = world.reserve("x");
    let gone = world.path("home/gone");
    let script = "mkdir \"$1\" && cd \"$1\" && rmdir \"$1\" && shift && exec \"$@\"";
    let from_nowhere = |arguments: &[&str]| {
        let mut command = std::process::Command::new("sh");
        world.environment(&mut command).env("HEDDLE_SESSION", &id).args(["-c", script, "sh"]).arg(&gone);
        world.say(command.arg(crate::support::heddlectl()).args(arguments))
    };
    assert_eq!(from_nowhere(&["status"]).code, Some(0));
    assert_eq!(from_nowhere(&["list", "--all-repos"]).code, Some(0));
    let said = from_nowhere(&["list"]);
    assert_eq!(said.code, Some(74), "{said}");
    assert!(said.stderr.contains("use --repo"), "{said}");
    assert_eq!(from_nowhere(&["validate"]).code, Some(0));
    assert_eq!(from_nowhere(&["release"]).code, Some(0));
    assert_eq!(world.standing("x").0, "complete");
}

/// Inside of the Git directory no worktree's session is meant.
#[test]
fn a_git_directory_is_no_worktree() {
    let world = World::with_daemon();
    world.reserve("x");
    let said = world.run(&["release", "--repo", ".git"]);
    assert_eq!(said.code, Some(2), "{said}");
    assert_eq!(world.standing("x").0, "active");
}

#[test]
fn a_hook_is_told_by_exit_2_and_stderr() {
    let world = World::with_daemon();
    let id = world.reserve("x");
    insta::assert_snapshot!(world.run(&["validate", "--hook"]), @"[exit 0]");
    insta::assert_snapshot!(world.run(&["validate"]).steady(), @r"
    valid: $AGENT holds x
    [exit 0]
    ");
    let other = world.run(&["validate", "--hook", "--thread", "y"]);
    assert_eq!((other.code, other.stdout.as_str()), (Some(2), ""), "{other}");
    assert!(other.stderr.contains("no right to write y"), "{other}");
    assert_eq!(world.run(&["evict", &id, "--reason", "stuck"]).code, Some(0));
    let hook = world.say(world.command(&["validate", "--hook"]).env("HEDDLE_SESSION", &id));
    assert_eq!((hook.code, hook.stdout.as_str()), (Some(2), ""));
    assert!(hook.stderr.contains("evicted by an operator"), "{hook}");
    let plain = world.say(world.command(&["validate"]).env("HEDDLE_SESSION", &id));
    assert_eq!(plain.code, Some(3));
    let json = world.say(world.command(&["validate", "--json"]).env("HEDDLE_SESSION", &id));
    let value: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(
        (json.code, &value["valid"], &value["reason"]),
        (Some(3), &false.into(), &"agent_session_inactive".into())
    );
}

/// `validate` answers with 0 or 3 (a hook's with 0 or 2), also to those who have no token to show.
#[test]
fn without_a_token_there_is_no_right_to_write() {
    let world = World::with_daemon();
    let id = world.reserve("x");
    let refused = |arguments: &[&str], code: i32, why: &str| {
        let said = world.run(&[&["validate"], arguments].concat());
        assert_eq!((said.code, said.stdout.as_str()), (Some(code), ""), "{arguments:?}: {said}");
        assert!(said.stderr.contains(why), "{arguments:?}: {said}");
    };
    refused(&["--token-file", "/no/such/file"], 3, "cannot read the token file");
    refused(&["--session", &id, "--repo", "../home"], 3, "is not a session of this worktree");
    std::fs::remove_file(world.token_file(&id)).expect("removed");
    refused(&[], 3, "is not kept here");
    refused(&["--hook"], 2, "is not kept here");
    let said = world.run(&["--json", "validate"]);
    assert_eq!(said.code, Some(3), "{said}");
    assert!(said.error()["message"].as_str().expect("text").contains("is not kept here"), "{said}");
}

#[test]
fn a_hook_that_cannot_find_out_does_not_let_the_write_pass() {
    let world = World::new();
    let said = world.run(&["validate", "--hook"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{said}");
    assert!(said.stderr.contains("no daemon is listening"), "{said}");
}
