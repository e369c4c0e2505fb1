//! Every command has help that fits a terminal, and mistakes are told as such.

use std::io::Write;
use std::process::{Command, Output, Stdio};

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
    &["daemon", "status"],
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

#[test]
fn every_command_has_help_that_fits_eighty_columns() {
    for command in COMMANDS {
        let helped = heddlectl(&[command, &["--help"][..]].concat());
        let text = String::from_utf8_lossy(&helped.stdout).into_owned();
        assert!(helped.status.success(), "{command:?}");
        let wide: Vec<_> = text.lines().filter(|line| line.chars().count() > 100).collect();
        assert!(wide.is_empty(), "{command:?}: {wide:?}");
    }
}

/// What bash completes at the end of these words, as bash itself says it.
fn completed(script: &str, words: &[&str]) -> Vec<String> {
    let ask = "source /dev/stdin; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1))
        _heddlectl heddlectl \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", ask, "bash"]).args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut bash = bash.spawn().expect("bash is there");
    bash.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("written");
    let output = bash.wait_with_output().expect("ended");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn shells_complete_commands_and_options() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let printed = heddlectl(&["completions", shell]);
        let script = String::from_utf8_lossy(&printed.stdout);
        assert!(printed.status.success() && script.contains("validate"), "{shell}: {script}");
    }
    let script = heddlectl(&["completions", "bash"]);
    let script = String::from_utf8_lossy(&script.stdout);
    assert_eq!(completed(&script, &["heddlectl", "va"]), ["validate"]);
    assert_eq!(completed(&script, &["heddlectl", "thread", "s"]), ["show"]);
    assert_eq!(completed(&script, &["heddlectl", "reserve", "--at"]), ["--at-tip"]);
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
