//! `heddlectl ready`: what it says, how it ends, and that what it advises can be pasted.

use std::process::Command;

use serde_json::Value;

use crate::process;
use crate::support::{World, heddlectl};

/// Runs a command that was advised, as somebody who pastes it anywhere.
fn paste(world: &World, command: &str) -> bool {
    let programs = heddlectl().parent().expect("a directory").display().to_string();
    let mut shell = Command::new("sh");
    world.environment(&mut shell).args(["-c", command]).current_dir("/");
    shell.env("PATH", format!("{programs}:/usr/local/bin:/usr/bin:/bin"));
    process::run(&mut shell).status.success()
}

/// The command that it was advised to run next.
fn next(said: &str) -> &str {
    said.lines().find_map(|line| line.trim_start().strip_prefix("next:")).expect("a next command").trim()
}

#[test]
fn it_says_what_is_in_the_way_and_leads_to_the_merge() {
    let world = World::with_daemon();
    world.git(&["config", "--global", "user.name", "A"]);
    world.git(&["config", "--global", "user.email", "a@example.com"]);
    let said = world.run(&["reserve", "-q", "--no-hold-for-agent", "--thread", "x", "--worktree"]);
    let id = said.stdout.trim();
    let tree = world.path("app.worktrees/x");
    std::fs::write(tree.join("one"), "1").expect("written");
    let in_tree = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        process::run(command.current_dir(&tree))
    };
    let output = in_tree(&["ready"]);
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(5), "{said}");
    let paragraph = format!(
        "blocked: x\n  0 ahead of main, 0 behind; 0 paths changed\n  blocker: 1 changed path in the worktree that is not \
         captured\n             one\n  warning: 'main' has every commit of it: there is nothing to integrate\n  next:    \
         heddlectl capture --session {id} --repo {}\n",
        tree.display()
    );
    assert_eq!(said, paragraph);
    assert!(paste(&world, next(&said)), "{said}");

    let output = in_tree(&["ready", "--tests-passed", "3", "--confidence", "0.9", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let wire: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(wire["thread"]["verification_summary"]["tests_passed"], 3);
    let output = in_tree(&["ready"]);
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.starts_with("ready: x for main\n  1 ahead of main, 0 behind; 1 path changed\n"), "{said}");
    let card = world.run(&["thread", "show", "x"]);
    assert!(card.stdout.contains("1 ahead, 0 behind") && card.stdout.contains("3 tests passed"), "{card}");
    let list = world.run(&["thread", "list"]);
    assert!(list.stdout.contains("+1 -0"), "{list}");
    assert_eq!(in_tree(&["release"]).status.code(), Some(0));
    assert!(paste(&world, next(&said)), "{said}");
    assert_eq!(world.git(&["rev-parse", "main"]), world.git(&["rev-parse", "x"]));
    assert_eq!(world.standing("x").0, "complete", "nobody has looked yet");
    let merged = world.run(&["thread", "list", "--state", "merged"]);
    assert!(merged.stdout.contains("x ") && merged.stdout.contains("merged"), "now somebody did: {merged}");
    assert_eq!(world.standing("x"), ("merged".to_owned(), "merged".to_owned()));

    for wrong in [&["--confidence", "2"][..], &["--coverage", "101"], &["--tests-passed", "-1"], &["-m", " "]] {
        assert_eq!(world.run(&[&["ready"], wrong].concat()).code, Some(2), "{wrong:?}");
    }
}
