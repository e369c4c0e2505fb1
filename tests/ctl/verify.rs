//! `heddlectl status` of a repository, by `repo.verify`: what is found, and that each command it recommends does what it is
//! recommended for, wherever it is pasted.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::World;

/// What `repo.verify` says of a path.
fn verify_at(world: &World, path: &str) -> Value {
    let said = world.run(&["--json", "status", "--repo", path]);
    assert_eq!(said.stderr, "", "{said}");
    let root = world.path("").to_string_lossy().into_owned();
    let mut status: Value = serde_json::from_str(&said.stdout.replace("$ROOT/", &root)).expect("JSON");
    let repository = status["repository"].take();
    assert_eq!(said.code, Some(i32::from(repository["status"] == "broken")), "{said}");
    repository
}

fn verify(world: &World) -> Value {
    verify_at(world, ".")
}

/// The names of the checks that found something.
fn unclean(verified: &Value) -> Vec<String> {
    let checks = verified["checks"].as_array().expect("checks").iter();
    let names = checks.filter(|check| check["clean"] == false).map(|check| check["name"].as_str().expect("a name"));
    names.map(str::to_owned).collect()
}

/// These checks find something, and the repository can be worked in.
#[track_caller]
fn assert_found(verified: &Value, names: &[&str]) {
    assert_eq!(unclean(verified), names, "{verified:#}");
    assert_eq!((&verified["status"], &verified["verified"]), (&"attention".into(), &false.into()));
}

#[track_caller]
fn assert_clean(verified: &Value) {
    assert_eq!(unclean(verified), [""; 0], "{verified:#}");
    assert_eq!((&verified["status"], &verified["verified"]), (&"clean".into(), &true.into()));
    assert_eq!(verified["recommended_action"], Value::Null);
    assert_eq!(verified["recovery_commands"], Value::Array(Vec::new()));
}

/// Pastes the recommended command into a shell that is somewhere else.
#[track_caller]
fn follow(world: &World, verified: &Value) {
    let action = verified["recommended_action"].as_str().expect("an action");
    assert_eq!(verified["recovery_commands"][0], action);
    let said = world.elsewhere(action);
    assert_eq!(said.code, Some(0), "{action}: {said}");
}

#[test]
fn a_worktree_that_is_not_clean_and_what_it_is_in_the_middle_of() {
    let world = World::with_daemon();
    let verified = verify(&world);
    assert_clean(&verified);
    assert_eq!((&verified["git_branch"], &verified["worktree_dirty"]), (&"main".into(), &false.into()));
    let names: Vec<_> = verified["checks"].as_array().expect("checks").iter().map(|check| &check["name"]).collect();
    let expected = ["repository", "registry", "head", "worktree", "operation", "upstream", "sessions", "threads"];
    assert_eq!(names, expected);
    assert!(!world.path("app/.git/heddle-registry").exists(), "a look marks nothing");

    fs::write(world.path("app/new"), "").expect("written");
    let verified = verify(&world);
    assert_found(&verified, &["worktree"]);
    assert_eq!(verified["worktree_dirty"], true);
    follow(&world, &verified);
    fs::remove_file(world.path("app/new")).expect("removed");

    world.git(&["switch", "--quiet", "--create", "side"]);
    fs::write(world.path("app/src/a.txt"), "side\n").expect("written");
    world.git(&["commit", "--quiet", "--all", "--message=Side"]);
    world.git(&["switch", "--quiet", "main"]);
    fs::write(world.path("app/src/a.txt"), "main\n").expect("written");
    world.git(&["commit", "--quiet", "--all", "--message=Main"]);
    for operation in ["merge", "rebase", "cherry-pick"] {
        let command = format!("git -C {} {operation} side", world.path("app").display());
        assert_ne!(world.elsewhere(&command).code, Some(0), "it stops at the conflict");
        let verified = verify(&world);
        assert_found(&verified, &["worktree", "operation"]);
        assert_eq!(verified["active_operation"], operation.replace('-', "_"));
        follow(&world, &verified);
        let abort = verified["recovery_commands"].as_array().expect("commands").iter();
        let abort =
            abort.filter_map(Value::as_str).find(|command| command.ends_with("--abort")).expect("one that ends it");
        assert_eq!(world.elsewhere(abort).code, Some(0), "{abort}");
        assert_clean(&verify(&world));
    }
}

#[test]
fn a_head_without_a_branch_or_without_a_commit() {
    let world = World::with_daemon();
    world.git(&["switch", "--quiet", "--detach"]);
    let verified = verify(&world);
    assert_found(&verified, &["head"]);
    assert_eq!(verified["git_branch"], Value::Null);
    follow(&world, &verified);
    assert_clean(&verify(&world));
    world.git(&["init", "--quiet", "--initial-branch=first", "../it's new"]);
    let new = world.path("it's new");
    let at = new.to_str().expect("text");
    let verified = verify_at(&world, at);
    assert_found(&verified, &["head"]);
    assert_eq!(verified["git_branch"], "first");
    follow(&world, &verified);
    assert_clean(&verify_at(&world, at));
    // A Git directory has no worktree to be clean or not.
    let verified = verify_at(&world, new.join(".git").to_str().expect("text"));
    assert_clean(&verified);
    assert_eq!((&verified["git_branch"], &verified["worktree_dirty"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_branch_and_its_upstream() {
    let world = World::with_daemon();
    world.git(&["clone", "--quiet", ".", "../copy"]);
    let copy = world.path("copy");
    let at = copy.to_str().expect("text");
    let in_copy = |arguments: &[&str]| world.git(&[&["-C", at], arguments].concat());
    let drift = |verified: &Value| {
        let drift = &verified["remote_drift"];
        (drift["upstream"].clone(), drift["ahead"].clone(), drift["behind"].clone())
    };
    assert_eq!(drift(&verify_at(&world, at)), ("origin/main".into(), 0.into(), 0.into()));
    world.git(&["commit", "--quiet", "--allow-empty", "--message=Two"]);
    in_copy(&["fetch", "--quiet"]);
    let verified = verify_at(&world, at);
    assert_found(&verified, &["upstream"]);
    assert_eq!(drift(&verified), ("origin/main".into(), 0.into(), 1.into()));
    follow(&world, &verified);
    assert_clean(&verify_at(&world, at));

    in_copy(&["commit", "--quiet", "--allow-empty", "--message=Mine"]);
    let verified = verify_at(&world, at);
    assert_clean(&verified);
    assert_eq!(drift(&verified), ("origin/main".into(), 1.into(), 0.into()), "what is not pushed is no problem");
    world.git(&["commit", "--quiet", "--allow-empty", "--message=Three"]);
    in_copy(&["fetch", "--quiet"]);
    let verified = verify_at(&world, at);
    assert_found(&verified, &["upstream"]);
    assert_eq!(drift(&verified), ("origin/main".into(), 1.into(), 1.into()));
    follow(&world, &verified);

    in_copy(&["update-ref", "-d", "refs/remotes/origin/main"]);
    let verified = verify_at(&world, at);
    assert_found(&verified, &["upstream"]);
    assert_eq!(drift(&verified), ("origin/main".into(), Value::Null, Value::Null));
    follow(&world, &verified);
    assert_clean(&verify_at(&world, at));
    // One of the same repository.
    in_copy(&["branch", "--quiet", "base", "HEAD~2"]);
    in_copy(&["branch", "--quiet", "--set-upstream-to=base"]);
    assert_eq!(drift(&verify_at(&world, at)), ("base".into(), 2.into(), 0.into()));
}

#[test]
fn sessions_that_nobody_can_work_in() {
    let world = World::with_daemon();
    let said = world.run(&["reserve", "-q", "--no-hold-for-agent", "-t", "away", "--worktree"]);
    assert_eq!(said.code, Some(0), "{said}");
    assert_clean(&verify(&world));
    fs::remove_dir_all(world.path("app.worktrees/away")).expect("removed");
    let verified = verify(&world);
    assert_found(&verified, &["sessions"]);
    follow(&world, &verified);
    assert_eq!(world.standing("away"), ("abandoned".to_owned(), "evicted".to_owned()));
    assert_clean(&verify(&world));

    world.reserve("x");
    world.git(&["update-ref", "-d", "refs/heads/x"]);
    let verified = verify(&world);
    assert_found(&verified, &["sessions", "threads"]);
    follow(&world, &verified);
    assert_clean(&verify(&world));
}

#[test]
fn branches_that_are_not_where_their_holders_left_them() {
    let world = World::with_daemon();
    world.reserve("x");
    world.git(&["switch", "--quiet", "x"]);
    world.git(&["commit", "--quiet", "--allow-empty", "--message=Of the agent"]);
    assert_clean(&verify(&world));
    let other = world.git(&["commit-tree", "-m", "Of another", "HEAD^{tree}"]);
    world.git(&["update-ref", "refs/heads/x", other.trim()]);
    let verified = verify(&world);
    assert_found(&verified, &["threads"]);
    follow(&world, &verified);
    world.git(&["reset", "--quiet", "--hard", "main"]);

    let lock = world.path("app/.git/refs/heads/x.lock");
    fs::write(&lock, "").expect("written");
    assert_clean(&verify(&world));
    fs::File::options().write(true).open(&lock).expect("opened").set_modified(std::time::UNIX_EPOCH).expect("aged");
    let verified = verify(&world);
    assert_found(&verified, &["threads"]);
    follow(&world, &verified);
    assert!(!lock.exists(), "it was removed");
    assert_clean(&verify(&world));
}

#[test]
fn a_repository_of_another_registry() {
    let world = World::with_daemon();
    fs::write(world.path("app/.git/heddle-registry"), "another\n/no/such/state\n").expect("written");
    let verified = verify(&world);
    assert_found(&verified, &["registry"]);
    follow(&world, &verified);
    assert_clean(&verify(&world));
}

/// What cannot be looked at is not clean, and no error of the call.
#[test]
fn what_cannot_be_told() {
    let world = World::with_daemon();
    fs::write(world.path("app/.gitattributes"), "*.big filter=odd\n").expect("written");
    fs::write(world.path("app/x.big"), "content").expect("written");
    let verified = verify(&world);
    assert_found(&verified, &["worktree"]);
    assert_eq!(verified["worktree_dirty"], Value::Null);
    assert!(verified["summary"].as_str().expect("text").contains("'odd'"), "{verified:#}");
    follow(&world, &verified);

    fs::write(world.path("app/.git/refs/heads/main"), format!("{}\n", "1".repeat(40))).expect("written");
    let verified = verify(&world);
    assert_eq!(verified["status"], "broken", "{verified:#}");
    assert!(unclean(&verified).contains(&"repository".to_owned()));
}

#[test]
fn the_repository_as_a_card() {
    let world = World::with_daemon();
    let card = |world: &World| {
        let said = world.run(&["status"]);
        assert_eq!(said.code, Some(0), "{said}");
        let (_, card) = said.stdout.split_once("the repository").expect("a card");
        format!("the repository{card}")
    };
    insta::assert_snapshot!(card(&world), @r"
    the repository is clean
      branch     main

      ok    repository: Git's own files of it can be read
      ok    registry:   no registry has it yet; the first reserve marks it
      ok    head:       on main
      ok    worktree:   nothing to commit
      ok    operation:  none is under way
      ok    upstream:   none is configured
      ok    sessions:   none is orphaned
      ok    threads:    every branch that is held is where it was left
    ");
    fs::write(world.path("app/new"), "").expect("written");
    world.git(&["switch", "--quiet", "--detach"]);
    insta::assert_snapshot!(crate::support::steady(&card(&world)), @r"
    the repository wants attention

      ok    repository: Git's own files of it can be read
      ok    registry:   no registry has it yet; the first reserve marks it
      look  head:       detached at $STATE: what is committed is on no branch
      look  worktree:   1 path is not committed: new
      ok    operation:  none is under way
      ok    upstream:   none is configured
      ok    sessions:   none is orphaned
      ok    threads:    every branch that is held is where it was left
    next: git -C $ROOT/app status
      or: git -C $ROOT/app switch --create from-$STATE
    ");
    // Outside of a repository the daemon is all there is.
    let mut outside = world.command(&["status"]);
    let said = world.say(outside.current_dir(world.path("home")));
    assert!(said.code == Some(0) && said.stderr.is_empty() && !said.stdout.contains("repository is"), "{said}");
    let mut outside = world.command(&["--json", "status"]);
    let said = world.say(outside.current_dir(world.path("home")));
    let status: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert!(status["repository"].is_null() && status["health"]["healthy"] == true, "{said}");
    assert!(Path::new(status["info"]["state_dir"].as_str().expect("text")).ends_with("state"));
}
