//! Every command has help that fits a terminal, and mistakes are told as such.

use std::process::{Command, Output};

fn heddlectl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heddlectl"))
        .args(arguments)
        .env("HEDDLE_NO_AUTOSTART", "1")
        .env("HEDDLE_SOCKET", "/nonexistent/heddled.sock")
        .env("COLUMNS", "80")
        .output()
        .expect("heddlectl runs")
}

#[test]
fn every_command_has_help_that_fits_eighty_columns() {
    let commands: &[&[&str]] = &[
        &[],
        &["run"],
        &["reserve"],
        &["heartbeat"],
        &["release"],
        &["list"],
        &["show"],
        &["validate"],
        &["evict"],
        &["thread"],
        &["thread", "list"],
        &["thread", "show"],
        &["log"],
        &["status"],
        &["schema"],
        &["demo"],
        &["repo"],
        &["repo", "adopt"],
        &["daemon"],
        &["daemon", "start"],
        &["daemon", "stop"],
        &["daemon", "status"],
    ];
    for command in commands {
        let helped = heddlectl(&[command, &["--help"][..]].concat());
        let text = String::from_utf8_lossy(&helped.stdout).into_owned();
        assert!(helped.status.success(), "{command:?}");
        let wide: Vec<_> = text.lines().filter(|line| line.chars().count() > 100).collect();
        assert!(wide.is_empty(), "{command:?}: {wide:?}");
    }
}

#[test]
fn a_mistake_is_exit_2_and_no_daemon_is_exit_69() {
    assert_eq!(heddlectl(&["no-such-command"]).status.code(), Some(2));
    assert_eq!(heddlectl(&["run", "--thread", "x"]).status.code(), Some(2), "a command to run is missing");
    assert_eq!(heddlectl(&["list"]).status.code(), Some(69));
}

#[test]
fn the_schema_needs_no_daemon_and_is_the_committed_one() {
    let printed = heddlectl(&["schema"]);
    let printed: serde_json::Value = serde_json::from_slice(&printed.stdout).expect("it is JSON");
    let committed = include_str!("../../proto-schema/schema/openrpc.json");
    let committed: serde_json::Value = serde_json::from_str(committed).expect("it is JSON");
    assert_eq!(printed, committed);
}
