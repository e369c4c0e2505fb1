//! The example of a harness and the commands that the documents name, taken from them as they stand there.

use std::path::Path;
use std::process::Command;

use crate::support::Place;

const README: &str = include_str!("../../README.md");
const GUIDE: &str = include_str!("../../docs/harnesses/custom.md");

/// The first Python block of the guide after this heading.
fn block(heading: &str) -> &'static str {
    let (_, rest) = GUIDE.split_once(heading).expect("the guide has the heading");
    let (_, rest) = rest.split_once("```python\n").expect("a block follows it");
    rest.split_once("```").expect("the block ends").0
}

#[test]
fn the_harness_of_the_guide_works_as_it_stands_there() {
    let place = Place::new();
    let repo = place.repo("repo");
    let daemon = place.start();
    let ran = Command::new("python3")
        .args(["-c", block("\n## Speak to the socket\n"), repo.at()])
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
    let (_, rest) = README.split_once("## The commands of a day").expect("there is a section");
    let (table, _) = rest.split_once("Every refusal names").expect("the table ends");
    let mut tried = 0;
    let commands = table.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    for command in commands.filter_map(|code| code.strip_prefix("heddlectl ")) {
        let words = command.split(' ').take_while(|word| word.chars().all(char::is_lowercase));
        let helped =
            Command::new(&heddlectl).args(words).arg("--help").output().expect("heddlectl is built with the workspace");
        assert!(helped.status.success(), "heddlectl {command}: {}", String::from_utf8_lossy(&helped.stderr));
        tried += 1;
    }
    assert!(tried >= 11, "the table has its rows: {tried}");
}
