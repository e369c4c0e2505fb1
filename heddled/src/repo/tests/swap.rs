//! The compare-and-swap (G1, G2), each case with what `git update-ref` does beside it.

use std::sync::Barrier;

use proto_schema::ObjectId;

use super::fixture::{Fixture, thread};
use crate::repo::{Cause, Error, Expected, Repo as _};

#[test]
fn it_creates_moves_and_refuses_as_git_does() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let git_dir = main.join(".git");
    let (one, two) = (f.id(&main, "HEAD"), f.commit(&main, "two"));
    let swap = |name: &str, expected, new| f.repo.compare_and_swap(&git_dir, &thread(name), expected, new, "test: why");
    let zeros = "0".repeat(40);
    let (one_hex, two_hex) = (one.to_string(), two.to_string());
    for packed in [false, true] {
        for name in ["flat", "deep/er/name"] {
            let oracle = format!("oracle-{name}");
            let reference = format!("refs/heads/{oracle}");
            let git = |new: &str, old: &str| f.run(&main, &["update-ref", &reference, new, old]).status.success();
            let pack = || packed.then(|| f.git(&main, &["pack-refs", "--all", "--prune"]));
            assert!(matches!(
                swap(name, Expected::At(one), two),
                Err(Error::Conflict { expected: Some(e), actual: None }) if e == one
            ));
            assert!(!git(&two_hex, &one_hex));
            swap(name, Expected::Absent, one).unwrap();
            assert!(git(&one_hex, &zeros));
            pack();
            for new in [one, two] {
                let refused = swap(name, Expected::Absent, new);
                assert!(
                    matches!(refused, Err(Error::Conflict { expected: None, actual: Some(a) }) if a == one),
                    "absent is not the same as there already: {refused:?}"
                );
            }
            assert!(!git(&one_hex, &zeros));
            assert!(matches!(swap(name, Expected::At(two), one), Err(Error::Conflict { .. })));
            assert!(!git(&one_hex, &two_hex));
            swap(name, Expected::At(one), two).unwrap();
            assert!(git(&two_hex, &one_hex));
            swap(name, Expected::At(two), two).unwrap();
            assert_eq!(f.branch(&main, name), Some(two));
            assert_eq!(f.branch(&main, &oracle), Some(two));
            let entries = f.git(&main, &["reflog", "show", "--format=%H %gn <%ge> %gs", name]);
            let line = |id: ObjectId| format!("{id} Ada <ada@example.org> test: why");
            assert_eq!(entries, format!("{}\n{}", line(two), line(one)));
            f.git(&main, &["branch", "-D", "--quiet", name, &oracle]);
        }
    }
    f.assert_sound(&main);
    assert!(!f.git(&main, &["for-each-ref"]).contains(".lock"));
}

#[test]
fn reflogs_are_written_when_git_would_write_them() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let bare = f.root.join("bare.git");
    f.git(&f.root, &["clone", "--quiet", "--bare", main.to_str().unwrap(), bare.to_str().unwrap()]);
    let state = f.id(&main, "HEAD");
    let cases = [
        (&main, None, None),
        (&bare, None, None),
        (&main, Some("false"), None),
        (&bare, Some("true"), None),
        (&bare, Some("always"), None),
        (&main, None, Some("false")),
        (&bare, None, Some("true")),
        (&main, Some("true"), Some("false")),
    ];
    for (number, (at, local, global)) in cases.into_iter().enumerate() {
        for (scope, value) in [("--local", local), ("--global", global)] {
            if let Some(value) = value {
                f.git(at, &["config", scope, "core.logAllRefUpdates", value]);
            }
        }
        let git_dir = f.repo.locate(at).unwrap().git_dir;
        let (ours, gits) = (format!("ours{number}"), format!("gits{number}"));
        f.repo.compare_and_swap(&git_dir, &thread(&ours), Expected::Absent, state, "made").unwrap();
        f.git(at, &["update-ref", "-m", "made", &format!("refs/heads/{gits}"), &state.to_string()]);
        let has = |name: &str| git_dir.join("logs/refs/heads").join(name).exists();
        assert_eq!(has(&ours), has(&gits), "{at:?} local {local:?} global {global:?}");
        for scope in ["--local", "--global"] {
            f.run(at, &["config", scope, "--unset", "core.logAllRefUpdates"]);
        }
    }
}

#[test]
fn an_entry_without_an_identity_names_the_daemon() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let state = f.id(&main, "HEAD");
    std::fs::write(f.root.join("home/.gitconfig"), "").unwrap();
    f.repo.compare_and_swap(&main.join(".git"), &thread("a"), Expected::Absent, state, "two\nlines").unwrap();
    let entry = std::fs::read_to_string(main.join(".git/logs/refs/heads/a")).unwrap();
    let zeros = "0".repeat(40);
    assert!(entry.starts_with(&format!("{zeros} {state} heddled <heddled@localhost> 1")), "{entry}");
    assert!(entry.ends_with(" +0000\ttwo lines\n"), "{entry}");
    f.git(&main, &["config", "user.name", "Eve <x>\u{7}"]);
    f.repo.compare_and_swap(&main.join(".git"), &thread("b"), Expected::Absent, state, "made").unwrap();
    assert!(
        std::fs::read_to_string(main.join(".git/logs/refs/heads/b")).unwrap().contains(" Eve x <heddled@localhost> ")
    );
}

#[test]
fn what_cannot_be_a_branch_changes_nothing() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let git_dir = main.join(".git");
    let state = f.id(&main, "HEAD");
    let tree = f.id(&main, "HEAD^{tree}");
    f.git(&main, &["branch", "a"]);
    f.git(&main, &["branch", "x/y"]);
    f.git(&main, &["symbolic-ref", "refs/heads/alias", "refs/heads/a"]);
    let before = f.git(&main, &["for-each-ref"]);
    let swap = |name: &str, expected, new| f.repo.compare_and_swap(&git_dir, &thread(name), expected, new, "no");
    for _ in ["loose", "packed"] {
        assert!(
            matches!(swap("a/b", Expected::Absent, state), Err(Error::NameConflict { existing }) if existing == thread("a"))
        );
        assert!(
            matches!(swap("x", Expected::Absent, state), Err(Error::NameConflict { existing }) if existing == thread("x/y"))
        );
        f.git(&main, &["pack-refs", "--all", "--prune"]);
    }
    for expected in [Expected::Absent, Expected::At(state)] {
        assert!(matches!(swap("alias", expected, state), Err(Error::SymbolicThread)));
    }
    let missing = "1".repeat(40).parse().unwrap();
    for new in [missing, tree, "1".repeat(64).parse().unwrap()] {
        assert!(matches!(swap("new", Expected::Absent, new), Err(Error::AnchorNotFound { .. })));
    }
    assert_eq!(f.git(&main, &["for-each-ref"]), before);
    assert_eq!(std::fs::read_dir(git_dir.join("refs/heads")).unwrap().count(), 1, "only `alias` is left as a file");
}

#[test]
fn empty_directories_that_are_left_behind_are_no_obstacle() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let state = f.id(&main, "HEAD");
    std::fs::create_dir_all(main.join(".git/refs/heads/a/b/c")).unwrap();
    std::fs::create_dir_all(main.join(".git/logs/refs/heads/a/b/c")).unwrap();
    f.repo.compare_and_swap(&main.join(".git"), &thread("a"), Expected::Absent, state, "made").unwrap();
    assert_eq!(f.branch(&main, "a"), Some(state));
    assert!(f.git(&main, &["reflog", "show", "a"]).contains("made"));
}

#[test]
fn a_lock_that_stays_is_named_and_left_alone() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let state = f.id(&main, "HEAD");
    let lock = main.join(".git/refs/heads/a.lock");
    std::fs::write(&lock, "").unwrap();
    match f.repo.compare_and_swap(&main.join(".git"), &thread("a"), Expected::Absent, state, "made") {
        Err(Error::Unavailable { cause: Cause::Locked { path, .. }, .. }) => assert_eq!(path, lock),
        other => panic!("{other:?}"),
    }
    assert!(lock.exists());
    assert_eq!(f.branch(&main, "a"), None);
}

#[test]
fn of_many_who_expect_the_same_one_wins() {
    const WORKERS: usize = 8;
    const ROUNDS: usize = 20;
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let git_dir = main.join(".git");
    let states: Vec<ObjectId> = (0..=WORKERS).map(|number| f.commit(&main, &number.to_string())).collect();
    for round in 0..ROUNDS {
        let name = thread(&format!("race/{round}/x"));
        let mut expected = Expected::Absent;
        for _ in ["creating", "moving"] {
            let barrier = Barrier::new(WORKERS);
            let won = std::thread::scope(|scope| {
                let workers: Vec<_> = (0..WORKERS)
                    .map(|number| {
                        let (f, git_dir, name, barrier) = (&f, &git_dir, &name, &barrier);
                        let new = states[(number + usize::from(expected != Expected::Absent)) % states.len()];
                        let new = if expected == Expected::At(new) { states[WORKERS] } else { new };
                        scope.spawn(move || {
                            barrier.wait();
                            match f.repo.compare_and_swap(git_dir, name, expected, new, "race") {
                                Ok(()) => Some(new),
                                Err(Error::Conflict { .. }) => None,
                                Err(error) => panic!("{error}"),
                            }
                        })
                    })
                    .collect();
                workers.into_iter().filter_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(won.len(), 1, "exactly one wins");
            assert_eq!(f.repo.tip(&git_dir, &name).unwrap(), Some(won[0]));
            expected = Expected::At(won[0]);
        }
        assert_eq!(f.git(&main, &["reflog", "show", name.as_str()]).lines().count(), 2, "one entry for each change");
    }
    f.assert_sound(&main);
}

#[test]
fn names_that_share_a_directory_do_not_disturb_each_other() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let git_dir = main.join(".git");
    let state = f.id(&main, "HEAD");
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (f, git_dir) = (&f, &git_dir);
            scope.spawn(move || {
                for number in 0..25 {
                    let name = thread(&format!("shared/{number}/w{worker}"));
                    f.repo.compare_and_swap(git_dir, &name, Expected::Absent, state, "made").unwrap();
                }
            });
        }
    });
    assert_eq!(f.git(&main, &["for-each-ref", "refs/heads/shared"]).lines().count(), 200);
}

/// An agent that may write the Git directory can put a link on the way to a log.
#[test]
fn a_log_that_lies_behind_a_link_is_not_written() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let (git_dir, state) = (main.join(".git"), f.id(&main, "HEAD"));
    let outside = f.root.join("outside");
    for link in ["logs/refs/heads/a/b", "logs/refs/heads/a", "logs"] {
        std::fs::create_dir_all(&outside).unwrap();
        let link = git_dir.join(link);
        drop(std::fs::remove_dir_all(&link));
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        let outside = if link.ends_with("b") { outside.join("log") } else { outside.clone() };
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        let is_written = || outside.is_file() || std::fs::read_dir(&outside).is_ok_and(|found| found.count() > 0);
        if !link.ends_with("b") {
            f.git(&main, &["update-ref", "refs/heads/a/b", "HEAD"]);
            assert!(is_written(), "plain Git writes there: {}", link.display());
            f.git(&main, &["update-ref", "-d", "refs/heads/a/b"]);
            std::fs::remove_dir_all(&outside).unwrap();
            std::fs::create_dir(&outside).unwrap();
        }
        let failed = f.repo.compare_and_swap(&git_dir, &thread("a/b"), Expected::Absent, state, "test");
        assert!(matches!(failed, Err(Error::Unavailable { .. })), "{failed:?}");
        assert!(!is_written(), "{}", link.display());
        assert_eq!(f.branch(&main, "a/b"), None);
        drop(std::fs::remove_file(&link));
        drop(std::fs::remove_dir_all(&outside));
    }
}
