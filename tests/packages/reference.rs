//! docs/cli.md is what `--help` says, of every command.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::support::{HEDDLED, World, heddlectl};

/// What has it written instead of compared.
const UPDATE: &str = "UPDATE_REFERENCE";

const TITLE: &str = "\
<!-- What --help says, written by `just reference`. Change the help, not this file: a test compares the two. -->

# The command line

Everything that `heddlectl` and `heddled` take. [README.md](../README.md) says what it is for.

Every command of `heddlectl` takes the global options, which are listed once.
";

/// The help of a command.
fn help(world: &World, program: &Path, command: &[String]) -> String {
    let mut ask = Command::new(program);
    // As wide as help gets.
    let said = world.say(world.environment(&mut ask).env("COLUMNS", "100").args(command).arg("--help"));
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{command:?}: {said}");
    said.stdout
}

/// The commands that this help lists.
fn below(help: &str) -> Vec<String> {
    let (_, list) = help.split_once("\nCommands:\n").unwrap_or_default();
    let lines: Vec<&str> = list.lines().take_while(|line| !line.is_empty()).collect();
    let is_grouped = lines.first().is_some_and(|line| !line.starts_with(' '));
    let mut found: Vec<String> = Vec::new();
    for line in lines {
        // In groups: the group, one or more commands, what they do. Else a command and what it does, which may go on in the
        // next line, further to the right.
        let names = if is_grouped { line[11..29].trim() } else { line.strip_prefix("  ").unwrap_or_default() };
        let names = names.split(", ").filter_map(|name| name.split(' ').next());
        let names = if is_grouped { names.collect() } else { names.take(1).collect::<Vec<_>>() };
        found.extend(names.into_iter().filter(|name| !name.is_empty() && *name != "help").map(str::to_owned));
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|name| seen.insert(name.clone()));
    found
}

/// The help without the options that every command has.
fn own(help: &str) -> String {
    let (before, after) = help.split_once("\nGlobal options:\n").unwrap_or((help, ""));
    let after = after.split_once("\n\n").map(|(_, after)| format!("\n{after}")).unwrap_or_default();
    format!("{before}{after}").trim_end().to_owned()
}

fn describe(world: &World, command: &[String], text: &mut String) {
    let program = heddlectl();
    let said = help(world, &program, command);
    let shown = if command.is_empty() { said.trim_end().to_owned() } else { own(&said) };
    let name = [&["heddlectl".to_owned()], command].concat().join(" ");
    write!(text, "\n## {name}\n\n```text\n{shown}\n```\n").expect("written");
    for name in below(&said) {
        describe(world, &[command, &[name]].concat(), text);
    }
}

#[test]
fn the_reference_is_what_the_programs_say() {
    let world = World::new();
    let mut text = TITLE.to_owned();
    describe(&world, &[], &mut text);
    write!(text, "\n## heddled\n\n```text\n{}\n```\n", help(&world, Path::new(HEDDLED), &[]).trim_end())
        .expect("written");
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&reference, &text).expect("written");
        return;
    }
    let committed = std::fs::read_to_string(&reference).unwrap_or_default();
    let differs = committed.lines().zip(text.lines()).find(|(committed, said)| committed != said);
    assert!(committed == text, "docs/cli.md is not what --help says (`just reference` writes it): {differs:?}");
}
