//! What the reader sees.

use std::process::Stdio;

use crate::support::World;

#[test]
fn without_sessions_a_sentence() {
    let (world, _fake) = World::with_daemon();
    insta::assert_snapshot!(world.run(&["list"]), @r"
    There is no session in this repository.
    [exit 0]
    ");
    insta::assert_snapshot!(world.run(&["list", "--alive-only", "--thread", "x", "--all-repos"]), @r"
    There is no live session on x in any repository.
    [exit 0]
    ");
}

#[test]
fn a_refusal_says_what_is_wrong_and_what_to_do() {
    let (world, _fake) = World::with_daemon();
    let _first = world.run(&["reserve", "-t", "feature/x", "--no-hold-for-agent"]);
    insta::assert_snapshot!(world.run(&["reserve", "-t", "feature/x"]), @r"
    ! error: thread 'feature/x' is held by agent-aaaaaaaaaaaaaaaaaaab
    !   why:  agent-aaaaaaaaaaaaaaaaaaab has held it since 2026-08-01T12:00:00.000Z at
    !         aaaaaaaaaa, while process 4121 lives
    !   risk: a second writer would start a competing history
    !   kept: no ref, no reservation was changed
    ! hint: wait for it with --wait, or look at who holds it
    ! next: heddlectl thread show feature/x
    !   or: heddlectl reserve --thread feature/x --wait 30s
    [exit 3]
    ");
    let json = world.run(&["--json", "reserve", "-t", "feature/x"]);
    assert_eq!((json.code, json.stderr.as_str()), (Some(3), ""));
    assert!(json.stdout.starts_with(r#"{"code":1001,"#), "{json}");
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let (world, _fake) = World::with_daemon();
    let mut child = world.command(&["schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ended");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn color_comes_only_where_it_is_wanted() {
    let (world, _fake) = World::with_daemon();
    let _first = world.run(&["reserve", "-t", "x", "--no-hold-for-agent"]);
    assert!(!world.run(&["list"]).stdout.contains('\u{1b}'));
    assert!(world.run(&["list", "--color", "always"]).stdout.contains('\u{1b}'));
}
