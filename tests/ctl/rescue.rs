//! `heddlectl daemon backup|verify|restore`: what the daemon's program says is what heddlectl says.

use serde_json::Value;

use crate::support::World;

#[test]
fn the_registry_is_backed_up_verified_and_restored() {
    // One that nobody waits for, so that it is gone when it has stopped.
    let world = World::new();
    assert_eq!(world.run(&["-q", "daemon", "start"]).code, Some(0));
    let session = world.reserve("a");
    let file = world.path("b");
    let file = file.to_str().expect("text");
    let said = world.run(&["daemon", "backup", file]);
    assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{said}");
    assert!(said.stdout.starts_with("backed up to $ROOT/b: revision "), "{said}");
    let said = world.run(&["-q", "daemon", "backup", "--force", file]);
    assert_eq!((said.code, &*said.stdout, &*said.stderr), (Some(0), "", ""), "{said}");
    for arguments in [&["daemon", "verify"][..], &["daemon", "verify", file]] {
        let verified = world.json(arguments);
        assert_eq!((&verified["ok"], &verified["content"]["active_sessions"]), (&true.into(), &1.into()), "{verified}");
    }

    let refused = world.run(&["daemon", "restore", file]);
    assert_eq!(refused.code, Some(3), "{refused}");
    assert!(refused.stderr.contains("next: heddlectl daemon stop && heddlectl daemon restore"), "{refused}");
    // The command that is recommended does it, from wherever it is pasted.
    let next = refused.stderr.lines().find_map(|line| line.strip_prefix("next: ")).expect("a command");
    let next = next.replace("$ROOT/", world.path("").to_str().expect("text"));
    let said = world.elsewhere(&next);
    assert_eq!(said.code, Some(0), "{said}");
    assert!(said.stdout.contains("1 session of the backup: 1 active, 0 ended by this restore"), "{said}");
    assert_eq!(world.run(&["-q", "daemon", "start"]).code, Some(0));
    assert_eq!(world.standing("a"), ("active".to_owned(), "-".to_owned()));
    assert!(world.json(&["show", "--session", &session])["reservation"].is_object());
}

#[test]
fn a_mistake_is_told_in_the_shape_of_every_error() {
    let world = World::new();
    let file = world.path("b");
    std::fs::write(&file, "not a backup").expect("written");
    let file = file.to_str().expect("text");
    for (arguments, code) in [
        (["daemon", "restore", file], 74),
        (["daemon", "backup", file], 3),
        (["daemon", "restore", "--relative"], 2),
        (["daemon", "restore", "none"], 74),
    ] {
        let said = world.run(&[&["--json"], &arguments[..]].concat());
        assert_eq!(said.code, Some(code), "{arguments:?}: {said}");
        let error: Value = said.error();
        assert_eq!(error["code"], code, "{error}");
        for field in ["kind", "error", "hint", "primary_command", "recovery_commands", "retryable", "details"] {
            assert!(error["data"].get(field).is_some(), "{field}: {error}");
        }
    }
    let said = world.run(&["daemon", "verify", file]);
    assert_eq!(said.code, Some(74), "{said}");
    assert!(said.stdout.contains("it is not a backup of heddled"), "{said}");
    assert!(said.stdout.contains("next: heddlectl daemon backup FILE"), "{said}");
}
