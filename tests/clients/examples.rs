//! The examples work as they stand there, on a real repository and a real daemon.

use crate::support::Place;
use crate::tools::{Language, in_both_languages, succeed};

fn the_example_works_as_it_stands_there(language: Language) {
    let place = Place::new();
    let repo = place.repo("repo");
    std::fs::write(place.root.join("home/.gitconfig"), "[user]\nname = Ada\nemail = ada@example.org\n").unwrap();
    let daemon = place.start();
    let Some(mut command) = language.command("examples/agent") else { return };
    let out = succeed(command.arg(repo.at()).env("HEDDLE_SOCKET", daemon.socket()));
    let thread = format!("agent/{}-example", format!("{language:?}").to_lowercase());
    assert!(out.contains(&format!("holding {thread} with fencing token 1\n")), "{out}");
    assert!(out.contains("captured greeting.txt\n"), "{out}");
    assert!(out.contains("completed; next: git -C "), "{out}");
    let kinds: Vec<_> = out.lines().filter_map(|line| line.strip_prefix("event ")?.split(' ').nth(1)).collect();
    assert_eq!(kinds, ["reserved", "thread_created", "captured", "ready", "released"], "{out}");
    assert_eq!(repo.git(&["show", &format!("{thread}:greeting.txt")]), "hello");
    let threads = daemon.client().ok("agent.list", &serde_json::json!({"repo": repo.at(), "thread": thread}));
    assert_eq!(threads["reservations"][0]["status"], "complete");
}

/// What the README of a package shows first is type-checked and run.
fn the_readme_works_as_it_stands_there(language: Language) {
    let place = Place::new();
    let repo = place.repo("repo");
    let daemon = place.start();
    let Some(mut command) = language.readme(repo.at(), &place.root) else { return };
    let out = succeed(command.env("HEDDLE_SOCKET", daemon.socket()));
    assert!(out.lines().count() == 1, "it prints what to do next: {out}");
    let listed = daemon.client().ok("agent.list", &serde_json::json!({"repo": repo.at(), "thread": "fix-login"}));
    assert_eq!(listed["reservations"][0]["status"], "complete");
}

in_both_languages!(the_example_works_as_it_stands_there, the_readme_works_as_it_stands_there);
