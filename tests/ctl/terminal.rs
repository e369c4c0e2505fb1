//! At a terminal of 80 columns, made by `script` of util-linux.

#![cfg(target_os = "linux")]

use std::io::Write;
use std::process::{Child, Command, Stdio};

use crate::process;
use crate::support::{World, heddlectl, text_of, until};

/// heddlectl at a terminal; what is written to its standard input is typed there.
fn at_terminal(world: &World, arguments: &[&str]) -> Child {
    let mut words = vec![heddlectl().to_str().expect("text").to_owned()];
    words.extend(arguments.iter().map(|word| format!("'{word}'")));
    let mut command = Command::new("script");
    world.environment(&mut command).env("SHELL", "/bin/sh").env("TERM", "xterm");
    command.args(["--quiet", "--return", "--command"]).arg(format!("stty cols 80 rows 24; exec {}", words.join(" ")));
    command.arg("/dev/null").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("script of util-linux is there")
}

/// The text without what drives the terminal.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace('\r', "");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        out += before;
        rest = after.find(|character: char| character.is_ascii_alphabetic()).map_or("", |end| &after[end + 1..]);
    }
    out + rest
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let world = World::with_daemon();
    let long = &("refactor/".repeat(22) + "xy");
    let task = "Split the writer from the reader, so that a slow reader never holds up a writer, and measure it";
    for (thread, harness) in [("x", "codex"), (long, "a-harness-with-quite-a-long-name")] {
        let said = world.run(&["reserve", "-t", thread, "--task", task, "--harness", harness, "--ttl", "23h"]);
        assert_eq!(said.code, Some(0), "{said}");
    }
    let ended = world.reserve("ended");
    assert_eq!(world.run(&["evict", &ended, "--reason", &"a long reason ".repeat(20)]).code, Some(0));
    for arguments in
        [&["list"][..], &["thread", "list"], &["log"], &["status"], &["thread", "show", long], &["show", &ended]]
    {
        let output = process::output_of(at_terminal(&world, arguments));
        let text = plain(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(text.lines().count() > 2, "{text}");
        for line in text.lines() {
            // On a card what is to be copied is on one line: a name, a path, an id. In a table names and paths are broken.
            let is_card = matches!(arguments, ["show" | "status", ..] | ["thread", "show", ..]);
            let whole = is_card && line.trim().split("  ").last().is_some_and(|word| !word.trim().contains(' '));
            assert!(line.chars().count() <= 80 || whole, "{} columns: {line}\n{text}", line.chars().count());
        }
    }
}

#[test]
fn at_a_terminal_there_is_color() {
    let world = World::with_daemon();
    world.reserve("x");
    let output = process::output_of(at_terminal(&world, &["list"]));
    assert!(String::from_utf8_lossy(&output.stdout).contains('\u{1b}'));
}

#[test]
fn ctrl_c_reaches_the_command_once_and_its_end_is_ours() {
    let world = World::with_daemon();
    let script = "trap \"echo int >> got; exit 4\" INT; echo > ready; while :; do sleep 0.01; done";
    let mut child = at_terminal(&world, &["run", "-q", "-t", "x", "--", "sh", "-c", script]);
    until("the command runs", || world.path("app/ready").exists());
    child.stdin.as_mut().expect("a pipe").write_all(b"\x03").expect("typed");
    until("it ended", || world.standing("x").0 != "active");
    let output = process::output_of(child);
    assert_eq!(output.status.code(), Some(4), "{}", plain(&output.stdout));
    assert_eq!(text_of(&world.path("app/got")), "int\n");
    assert_eq!(world.standing("x"), ("abandoned".into(), "released".into()));
}
