//! Every command has help that fits a terminal, and mistakes are told as such.

use std::process::{Command, Output};

/// Every command.
const COMMANDS: &[&[&str]] = &[
    &[],
    &["run"],
    &["reserve"],
    &["heartbeat"],
    &["capture"],
    &["ready"],
    &["release"],
    &["list"],
    &["show"],
    &["validate"],
    &["evict"],
    &["thread"],
    &["thread", "list"],
    &["thread", "show"],
    &["thread", "clean"],
    &["log"],
    &["watch"],
    &["status"],
    &["schema"],
    &["completions"],
    &["man"],
    &["demo"],
    &["repo"],
    &["repo", "adopt"],
    &["daemon"],
    &["daemon", "start"],
    &["daemon", "stop"],
    &["daemon", "reload"],
    &["daemon", "status"],
    &["daemon", "logs"],
    &["doctor"],
    &["service"],
    &["service", "install"],
    &["service", "uninstall"],
    &["service", "status"],
    &["daemon", "backup"],
    &["daemon", "verify"],
    &["daemon", "restore"],
];

fn heddlectl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heddlectl"))
        .args(arguments)
        .env_remove("HOME")
        .env_remove("HEDDLE_STATE_DIR")
        .env("HEDDLE_NO_AUTOSTART", "1")
        .env("HEDDLE_SOCKET", "/nonexistent/heddled.sock")
        .env("COLUMNS", "80")
        .output()
        .expect("heddlectl runs")
}

/// The help of a command, on a terminal of this width.
fn help(command: &[&str], columns: &str) -> String {
    let mut ask = Command::new(env!("CARGO_BIN_EXE_heddlectl"));
    let helped = ask.args(command).arg("--help").env("COLUMNS", columns).output().expect("heddlectl runs");
    assert!(helped.status.success(), "{command:?}");
    String::from_utf8_lossy(&helped.stdout).into_owned()
}

/// What follows the options: the examples, and what is to be known beside them.
fn end(help: &str) -> &str {
    help.find("\nExample").or_else(|| help.find("\nStart here")).map_or("", |at| &help[at..])
}

#[test]
fn every_command_has_help_that_fits_eighty_columns() {
    for command in COMMANDS {
        let text = help(command, "80");
        let wide: Vec<_> = text.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{command:?}: {wide:?}");
        // What is laid out by hand must not be wrapped once more.
        assert_eq!(end(&text), end(&help(command, "100")), "{command:?}");
    }
}

#[test]
fn every_command_has_an_example() {
    let is_group =
        |command: &&[&str]| COMMANDS.iter().any(|other| other.len() > command.len() && other.starts_with(command));
    for command in COMMANDS.iter().filter(|command| !is_group(command)) {
        let name = format!("heddlectl {}", command.join(" "));
        assert!(end(&help(command, "80")).contains(&name), "{name} has no example");
    }
}

#[test]
fn help_of_a_command_is_what_its_option_says() {
    let asked = heddlectl(&["help", "thread", "clean"]);
    assert_eq!(String::from_utf8_lossy(&asked.stdout), help(&["thread", "clean"], "80"));
    let alone = heddlectl(&[]);
    assert_eq!(alone.status.code(), Some(2), "no command is no success");
    assert!(alone.stderr.iter().filter(|byte| **byte == b'\n').count() <= 24);
}

#[test]
fn every_shell_has_something_that_completes() {
    // What bash, zsh and fish make of theirs is in the suite `packages`.
    for (shell, mark) in
        [("bash", "=bash"), ("zsh", "=zsh"), ("fish", "=fish"), ("elvish", "validate"), ("powershell", "validate")]
    {
        let printed = heddlectl(&["completions", shell]);
        let script = String::from_utf8_lossy(&printed.stdout);
        assert!(printed.status.success() && script.contains(mark), "{shell}: {script}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let place = tempfile::tempdir().expect("a directory");
    let pages = place.path().join("man/man1");
    let said = heddlectl(&["man", pages.to_str().expect("text")]);
    assert!(said.status.success() && said.stdout.is_empty(), "{said:?}");
    let read =
        |name: &str| std::fs::read_to_string(pages.join(name)).unwrap_or_else(|error| format!("{name}: {error}"));
    for command in COMMANDS {
        let page = read(&format!("{}.1", [&["heddlectl"], *command].concat().join("-")));
        assert!(page.contains(".TH ") && page.contains(".SH SYNOPSIS"), "{command:?}: {page}");
    }
    assert_eq!(std::fs::read_dir(&pages).expect("there").count(), COMMANDS.len(), "each command is in the list");
    let first = heddlectl(&["man"]);
    assert_eq!(String::from_utf8_lossy(&first.stdout), read("heddlectl.1"));
}

#[test]
fn a_mistake_is_exit_2_and_no_daemon_is_exit_69() {
    assert_eq!(heddlectl(&["no-such-command"]).status.code(), Some(2));
    assert_eq!(heddlectl(&["run", "--thread", "x"]).status.code(), Some(2), "a command to run is missing");
    let homeless = heddlectl(&["list"]);
    assert_eq!(homeless.status.code(), Some(78), "there is no place for the daemon's state");
    let place = tempfile::tempdir().expect("a directory");
    let mut list = Command::new(env!("CARGO_BIN_EXE_heddlectl"));
    list.arg("list").env("HEDDLE_STATE_DIR", place.path()).env("HEDDLE_SOCKET", "/nonexistent/heddled.sock");
    assert_eq!(list.env("HEDDLE_NO_AUTOSTART", "1").output().expect("it runs").status.code(), Some(69));
}

#[test]
fn the_schema_needs_no_daemon_and_is_the_committed_one() {
    let printed = heddlectl(&["schema"]);
    let printed: serde_json::Value = serde_json::from_slice(&printed.stdout).expect("it is JSON");
    let committed = include_str!("../../proto-schema/schema/openrpc.json");
    let committed: serde_json::Value = serde_json::from_str(committed).expect("it is JSON");
    assert_eq!(printed, committed);
}
