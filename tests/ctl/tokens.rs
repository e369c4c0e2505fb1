//! The files that keep reservation tokens: path, mode, content, and when they go.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use crate::support::World;

/// Makes a file look as if it had been written this many days ago.
#[expect(clippy::disallowed_methods, reason = "the age of a file is counted from now")]
fn age(path: &std::path::Path, days: u64) {
    let file = fs::File::options().append(true).open(path).expect("opened");
    file.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400)).expect("aged");
}

#[test]
fn a_token_is_kept_under_the_sessions_name_for_its_owner_alone() {
    let world = World::with_daemon();
    let said = world.run(&["reserve", "-t", "x", "--show-token", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    let id = value["reservation"]["session_id"].as_str().expect("an id");
    let token = value["reservation"]["reservation_token"].as_str().expect("a token");
    let file = world.token_file(id);
    assert_eq!(fs::read_to_string(&file).expect("text"), format!("{token}\n"));
    let mode = |path: &std::path::Path| fs::symlink_metadata(path).expect("there").mode() & 0o7777;
    assert_eq!((mode(&file), mode(&world.path("state/sessions"))), (0o600, 0o700));
    assert_eq!(world.token_files(), [id], "the request's own file was renamed");
}

#[test]
fn a_token_is_shown_only_when_asked_for() {
    let world = World::with_daemon();
    let said = world.run(&["--json", "reserve", "-t", "x"]);
    assert!(!said.stdout.contains("hrt_") && said.stdout.contains(r#""reservation_token":null"#), "{said}");
    assert!(world.run(&["--json", "reserve", "-t", "y", "--show-token"]).stdout.contains("hrt_"));
    let said = world.run(&["reserve", "-t", "z"]);
    assert!(!said.stdout.contains("hrt_"), "{said}");
    assert!(world.run(&["reserve", "-t", "w", "--show-token"]).stdout.contains("hrt_"));
}

#[test]
fn a_file_that_others_could_have_put_there_is_not_used() {
    let world = World::with_daemon();
    let id = world.reserve("x");
    let file = world.token_file(&id);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("mode");
    let said = world.run(&["heartbeat"]);
    assert_eq!(said.code, Some(77), "{said}");
    assert!(said.stderr.contains("the token file is not safe"), "{said}");
    fs::rename(&file, world.path("elsewhere")).expect("moved");
    symlink(world.path("elsewhere"), &file).expect("linked");
    assert_eq!(world.run(&["heartbeat"]).code, Some(77));
    fs::remove_file(&file).expect("removed");
    let said = world.run(&["heartbeat"]);
    assert_eq!(said.code, Some(77), "{said}");
    assert!(said.stderr.contains("is not kept here") && said.stderr.contains("--token-file"), "{said}");
    assert_eq!(world.token_files(), [""; 0], "what was tried in vain leaves no file");
}

#[test]
fn another_sessions_token_opens_nothing() {
    let world = World::with_daemon();
    let (one, two) = (world.reserve("x"), world.reserve("y"));
    let file = world.token_file(&one);
    let said = world.run(&["release", "--session", &two, "--token-file", file.to_str().expect("text")]);
    assert_eq!(said.code, Some(77), "{said}");
    assert_eq!(world.standing("y").0, "active");
    fs::write(world.path("words"), "no token at all\n").expect("written");
    let said = world.run(&["release", "--session", &two, "--token-file", "../words"]);
    assert_eq!(said.code, Some(77), "{said}");
    assert!(!said.stderr.contains("at all"), "what the file says is not repeated: {said}");
}

#[test]
fn files_of_ended_sessions_go_and_others_stay() {
    let world = World::with_daemon();
    let (ended, active) = (world.reserve("x"), world.reserve("y"));
    assert_eq!(world.run(&["release", "--session", &ended]).code, Some(0));
    assert_eq!(world.run(&["release", "--session", &ended]).code, Some(0), "again: a success that changes nothing");
    let directory = world.path("state/sessions");
    let pending = format!(".r-{}", "a".repeat(26));
    let unknown = format!("agent-{}", "b".repeat(20));
    for name in [pending.as_str(), &unknown, "notes.txt", ".other-clients-request"] {
        fs::write(directory.join(name), "x\n").expect("written");
        fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o600)).expect("mode");
    }
    assert_eq!(world.run(&["list"]).code, Some(0));
    assert_eq!(world.token_files().len(), 6, "nothing is old");
    for name in [pending.as_str(), &unknown, "notes.txt", ".other-clients-request", &active, &ended] {
        age(&directory.join(name), 8);
    }
    assert_eq!(world.run(&["list"]).code, Some(0));
    let mut left = vec![".other-clients-request".to_owned(), active.clone(), ended, "notes.txt".to_owned()];
    left.sort();
    assert_eq!(world.token_files(), left, "what is not ours, is still of use, or was of use a moment ago stays");
    assert_eq!(world.run(&["heartbeat", "--session", &active]).code, Some(0));
}

#[test]
fn a_live_holder_whose_file_is_gone_gets_a_token_by_proof_of_its_process() {
    let mut world = World::with_daemon();
    let own = std::process::id().to_string();
    let said = world.run(&["reserve", "-q", "-t", "x", "--hold-for-pid", &own]);
    assert_eq!(said.code, Some(0), "{said}");
    let id = said.stdout.trim_end().to_owned();
    let first = fs::read_to_string(world.token_file(&id)).expect("a token");
    fs::write(world.path("kept"), &first).expect("written");
    fs::set_permissions(world.path("kept"), fs::Permissions::from_mode(0o600)).expect("mode");
    fs::remove_dir_all(world.path("state/sessions")).expect("removed");

    // Of the same user, in the same worktree, but not started by the holder.
    let mut adopted = world.command(&["heartbeat"]);
    let program = adopted.get_program().to_owned();
    adopted = std::process::Command::new("setsid");
    world.environment(&mut adopted).arg("--fork").arg("sh").arg("-c");
    adopted.arg("while [ \"$(ps -o ppid= -p $$ | tr -d ' ')\" = \"$PARENT\" ]; do sleep 0.01; done; \"$0\" heartbeat > said 2>&1; echo $? > code");
    adopted.arg(program).env("PARENT", &own);
    assert!(crate::process::run(&mut adopted).status.success());
    crate::support::until("the stranger has its answer", || {
        !crate::support::text_of(&world.path("app/code")).is_empty()
    });
    assert_eq!(crate::support::text_of(&world.path("app/code")).trim_end(), "77");
    assert!(crate::support::text_of(&world.path("app/said")).contains("is not kept here"));

    let said = world.run(&["heartbeat"]);
    assert_eq!(said.code, Some(0), "{said}");
    let second = fs::read_to_string(world.token_file(&id)).expect("a token");
    assert_ne!(first, second, "the daemon does not know the first, only its hash");
    // It is on the disk, and the first goes on: who supervises the agent knows only that.
    world.kill_daemon();
    world.start_daemon();
    assert_eq!(world.run(&["heartbeat"]).code, Some(0));
    let kept = world.path("kept");
    let said = world.run(&["validate", "--token-file", kept.to_str().expect("text")]);
    assert_eq!(said.code, Some(0), "{said}");
    assert_eq!(world.run(&["release"]).code, Some(0));
}
