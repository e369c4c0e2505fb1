//! Which session a command is about, and whose token it uses.

use crate::support::World;

const SESSION: &str = "agent-aaaaaaaaaaaaaaaaaaab";

#[test]
fn the_session_of_this_worktree_is_the_default() {
    let (world, fake) = World::with_daemon();
    assert_eq!(world.run(&["heartbeat"]).code, Some(2));
    let said = world.run(&["reserve", "-q", "-t", "x", "--no-hold-for-agent"]);
    insta::assert_snapshot!(said, @r"
    agent-aaaaaaaaaaaaaaaaaaab
    [exit 0]
    ");
    let said = world.run(&["heartbeat", "--progress", "--repo", "src"]);
    assert_eq!(said.code, Some(0), "{said}");
    assert_eq!(fake.calls("agent.heartbeat")[0]["progress"], true);
    let _second = world.run(&["reserve", "-t", "y", "--no-hold-for-agent"]);
    let said = world.run(&["heartbeat"]);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("2 sessions are active") && said.stderr.contains(SESSION), "{said}");
    assert_eq!(world.say(world.command(&["heartbeat"]).env("HEDDLE_SESSION", SESSION)).code, Some(0));
}

#[test]
fn naming_a_session_of_elsewhere_is_not_enough() {
    let (world, fake) = World::with_daemon();
    let _reserved = world.run(&["reserve", "-t", "x", "--no-hold-for-agent"]);
    assert_eq!(world.run(&["validate", "--session", SESSION]).code, Some(0), "in its own worktree it is");
    let mut elsewhere = world.command(&["release", "--session", SESSION]);
    let said = world.say(elsewhere.current_dir(world.path("home")));
    insta::assert_snapshot!(said, @r"
    ! error: agent-aaaaaaaaaaaaaaaaaaab is not a session of this worktree
    !   naming a session does not give the right to act for it; nothing was sent
    ! hint: run this in the session's worktree, or bring its token with --token-file
    [exit 77]
    ");
    assert!(fake.calls("agent.release").is_empty());
    let file = world.path("run/heddle/sessions").join(SESSION);
    let mut command = world.command(&["release", "--session", SESSION, "--token-file", file.to_str().expect("text")]);
    assert_eq!(world.say(command.current_dir(world.path("home"))).code, Some(0));
}

#[test]
fn a_hook_is_told_by_exit_2_and_stderr() {
    let (world, fake) = World::with_daemon();
    let _reserved = world.run(&["reserve", "-t", "x", "--no-hold-for-agent"]);
    insta::assert_snapshot!(world.run(&["validate", "--hook"]), @"[exit 0]");
    insta::assert_snapshot!(world.run(&["validate"]), @r"
    valid: agent-aaaaaaaaaaaaaaaaaaab holds x
    [exit 0]
    ");
    fake.end_all("evicted");
    let hook = world.say(world.command(&["validate", "--hook"]).env("HEDDLE_SESSION", SESSION));
    assert_eq!((hook.code, hook.stdout.as_str()), (Some(2), ""));
    assert!(hook.stderr.contains("evicted by an operator"), "{hook}");
    let plain = world.say(world.command(&["validate"]).env("HEDDLE_SESSION", SESSION));
    assert_eq!(plain.code, Some(3));
}

#[test]
fn a_token_is_shown_only_when_asked_for() {
    let (world, _fake) = World::with_daemon();
    let said = world.run(&["--json", "reserve", "-t", "x"]);
    assert!(!said.stdout.contains("hrt_") && said.stdout.contains(r#""reservation_token":null"#), "{said}");
    assert!(world.run(&["--json", "reserve", "-t", "y", "--show-token"]).stdout.contains("hrt_"));
    let said = world.run(&["reserve", "-t", "z"]);
    assert!(!said.stdout.contains("hrt_"), "{said}");
    assert!(world.run(&["reserve", "-t", "w", "--show-token"]).stdout.contains("hrt_"));
}
