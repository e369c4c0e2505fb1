//! The manual pages: of every command, made by `heddlectl man`; of the daemon and its configuration, written by hand and
//! compared with the daemon.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::is_installed;
use crate::support::{HEDDLED, World};

/// A page that is written by hand.
fn written(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/man").join(name)
}

fn text_of(name: &str) -> String {
    std::fs::read_to_string(written(name)).expect("the page is there").replace("\\-", "-")
}

/// The pages of all commands.
fn made(world: &World) -> Vec<PathBuf> {
    let folder = world.path("man1");
    let said = world.run(&["man", folder.to_str().expect("text")]);
    assert_eq!(said.code, Some(0), "{said}");
    let pages: Vec<_> = folder.read_dir().expect("there").map(|page| page.expect("a page").path()).collect();
    assert!(pages.len() > 25, "{pages:?}");
    pages
}

fn print(world: &World, program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    let said = world.say(world.environment(&mut command).args(arguments));
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said}");
    said.stdout
}

#[test]
fn every_page_is_read_without_an_error_by_those_who_show_pages() {
    let world = World::new();
    let pages = [made(&world), vec![written("heddled.1"), written("heddled.toml.5")]].concat();
    for page in &pages {
        let page = page.to_str().expect("text");
        let check = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            // Wide enough that no word of a synopsis has to be cut.
            let said = world.say(world.environment(&mut command).env("MANWIDTH", "120").args(arguments).arg(page));
            assert!(said.code == Some(0) && said.stderr.is_empty(), "{page}: {said}");
        };
        if is_installed("mandoc") {
            check("mandoc", &["-T", "lint", "-W", "error"]);
        }
        if is_installed("man") && is_installed("groff") {
            check("man", &["--warnings=w", "-l"]);
        }
    }
}

#[test]
fn examples_keep_their_lines() {
    let world = World::new();
    let page = made(&world).into_iter().find(|page| page.ends_with("heddlectl-run.1")).expect("the page of run");
    let page = std::fs::read_to_string(page).expect("there").replace("\\-", "-");
    let example = "\n.nf\nExamples:\n  heddlectl run --thread fix-login --worktree -- claude\n";
    assert!(page.contains(example) && page.contains("\n.fi\n"), "{page}");
    assert!(page.contains(".SH \"SEE ALSO\"\nheddlectl(1), heddled(1)"), "{page}");
}

#[test]
fn the_daemon_s_page_has_every_option_and_no_other() {
    let world = World::new();
    let help = print(&world, HEDDLED, &["--help"]);
    let page = text_of("heddled.1");
    let options = |text: &str| -> Vec<String> {
        let words = text.split(|character: char| !character.is_ascii_lowercase() && character != '-');
        let mut found: Vec<String> = words.filter(|word| word.starts_with("--")).map(str::to_owned).collect();
        found.sort();
        found.dedup();
        found
    };
    assert_eq!(options(&page), options(&help));
    assert!(options(&help).len() > 4, "{help}");
}

#[test]
fn the_page_of_the_configuration_has_every_key_and_its_default() {
    let world = World::new();
    let configuration = print(&world, HEDDLED, &["--check-config"]);
    let page = text_of("heddled.toml.5");
    // `repos` is in force only where it is set.
    let mut keys = vec!["repos"];
    for line in configuration.lines() {
        let Some((key, value)) = line.split_once(" = ") else { continue };
        keys.push(key);
        let entry = page.lines().find(|line| line.starts_with(&format!("\\fB{key}\\fR ")));
        let entry = entry.unwrap_or_else(|| panic!("packaging/man/heddled.toml.5 does not have the key {key}"));
        if value.parse::<u64>().is_ok() {
            assert!(entry.ends_with(&format!("default {value})")), "{key} is {value} by default: {entry}");
        }
    }
    let entries = page.lines().filter_map(|line| line.strip_prefix("\\fB")?.split_once("\\fR ("));
    let mut named: Vec<_> = entries.map(|(key, _)| key).collect();
    keys.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, keys);
}
