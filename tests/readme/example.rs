//! The example of a harness, taken from README.md as it stands there.

use std::path::Path;
use std::process::Command;

use crate::support::Place;

const README: &str = include_str!("../../README.md");

/// The code block that follows this mark.
fn block(mark: &str) -> &'static str {
    let (_, rest) = README.split_once(mark).expect("README.md has the mark");
    let (_, rest) = rest.split_once("```python\n").expect("a block follows it");
    rest.split_once("```").expect("the block ends").0
}

#[test]
fn the_readme_s_harness_works_as_it_stands_there() {
    let place = Place::new();
    let repo = place.repo("repo");
    let daemon = place.start();
    let ran = Command::new("python3")
        .args(["-c", block("<!-- example: harness.py -->"), repo.at()])
        .env("HEDDLE_SOCKET", daemon.socket())
        .output()
        .expect("python3 runs");
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{err}");
    assert!(out.contains("holding agent/readme-example with fencing token 1"), "{out}");
    assert!(out.contains("released: complete"), "{out}");
    let kinds: Vec<_> = out.lines().filter_map(|line| line.strip_prefix("event ")?.split(' ').nth(1)).collect();
    assert_eq!(kinds, ["reserved", "thread_created", "released"], "{out}");
    assert!(repo.branches().contains_key("agent/readme-example"), "the thread is a branch");
}

#[test]
fn every_command_that_the_readme_names_exists() {
    let heddlectl = Path::new(env!("CARGO_BIN_EXE_heddled")).with_file_name("heddlectl");
    let (_, rest) = README.split_once("## Commands").expect("there is a section");
    let (table, _) = rest.split_once("Every command takes").expect("the table ends");
    let mut tried = 0;
    for line in table.lines().filter(|line| line.starts_with("| `heddlectl ")) {
        let command = line.trim_start_matches("| `heddlectl ");
        let words: Vec<_> = command.split([' ', '`']).take_while(|word| word.chars().all(char::is_lowercase)).collect();
        let words = words.into_iter().filter(|word| !word.is_empty());
        let helped =
            Command::new(&heddlectl).args(words).arg("--help").output().expect("heddlectl is built with the workspace");
        assert!(helped.status.success(), "heddlectl {command}: {}", String::from_utf8_lossy(&helped.stderr));
        tried += 1;
    }
    assert!(tried >= 11, "the table has its rows: {tried}");
}
