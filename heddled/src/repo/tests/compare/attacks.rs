//! Trying a merge runs nothing of the repository's, writes nothing into it, and ends when it is to end.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::capture::hostile::within_a_minute;
use super::super::capture::write;
use super::super::fixture::{Fixture, wall_time};
use super::GO_ON;
use crate::repo::{CaptureRefused, Cause, Environment, Error, GitRepo, MergeRequest, Pair, Repo as _};

fn program(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Two sides that conflict, with attributes that name a merge driver.
fn conflicting(f: &Fixture, at: &Path) -> (proto_schema::ObjectId, proto_schema::ObjectId) {
    let put = |content: &'static str| {
        move |at: &Path| {
            write(at, "a", content);
            write(at, ".gitattributes", "a merge=evil filter=evil diff=evil\n");
        }
    };
    f.sides(at, &put("one\n"), &put("two\n"), &put("three\n"))
}

/// All files below a folder, with their sizes and times.
fn files(top: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(top).unwrap() {
        let (path, data) = {
            let entry = entry.unwrap();
            (entry.path(), entry.metadata().unwrap())
        };
        if data.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path, data.len(), data.modified().unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_merge_driver_of_the_repository_does_not_run() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    let (target, tip) = conflicting(&f, &at);
    let (ran, evil) = (f.root.join("ran"), f.root.join("evil"));
    program(&evil, &format!("touch {}\nexec cat", ran.display()));
    let command = format!("{} %A", evil.display());
    for key in ["merge.evil.driver", "filter.evil.clean", "filter.evil.smudge", "diff.evil.textconv", "core.fsmonitor"]
    {
        f.git(&at, &["config", key, &command]);
    }
    f.git(&at, &["config", "merge.renormalize", "true"]);
    assert_eq!(f.merge_oracle(&at, target, tip).unwrap(), [] as [String; 0], "the driver has merged it");
    assert!(std::fs::remove_file(&ran).is_ok(), "Git runs it");
    let before = files(&at);
    let found = f.conflicts(&at, target, tip).unwrap();
    assert!(!ran.exists(), "it was run");
    assert_eq!(found.paths.iter().map(|path| &**path).collect::<Vec<_>>(), ["a"], "it is merged as text");
    assert_eq!(files(&at), before, "nothing was written into the repository");

    // The user's own driver does run, for the user said so, and its program is not looked for in a worktree.
    f.git(&f.root, &["config", "--global", "merge.evil.driver", "git-evil"]);
    f.git(&at, &["checkout", "--quiet", "main"]);
    // By the filter of the repository, which Git runs.
    std::fs::remove_file(&ran).ok();
    program(&at.join("git-evil"), &format!("touch {}", ran.display()));
    let linked = f.root.join("linked");
    std::os::unix::fs::symlink(&at, &linked).unwrap();
    let path = std::env::join_paths(
        [at.clone(), linked, f.root.clone()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let with_path = |path| {
        let environment = Environment { path, home: Some(f.root.join("home")), xdg_config_home: None };
        GitRepo::new(environment, Arc::new(wall_time)).with_workplace(f.root.join("captures"))
    };
    let (repo, git_dir) = (with_path(path.unwrap()), f.git_dir(&at));
    let request = MergeRequest { git_dir: &git_dir, target, tip, cancelled: &GO_ON };
    assert_eq!(repo.conflicts(&request).unwrap().count, 1, "a driver that is not found merges nothing");
    assert!(!ran.exists(), "a program of the worktree was run");
    std::fs::rename(at.join("git-evil"), f.root.join("git-evil")).unwrap();
    assert_eq!(repo.conflicts(&request).unwrap().count, 0, "the user's driver has merged it");
    assert!(ran.exists());
}

#[test]
fn a_cancelled_merge_ends_with_all_that_it_started() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    let (target, tip) = conflicting(&f, &at);
    let (started, slow) = (f.root.join("started"), f.root.join("slow"));
    // It says that it runs, and then waits for what never comes.
    program(&slow, &format!("echo $$ > {0}.new\nmv {0}.new {0}\nexec tail -f /dev/null", started.display()));
    f.git(&f.root, &["config", "--global", "merge.evil.driver", slow.to_str().unwrap()]);
    let (git_dir, cancelled) = (f.git_dir(&at), AtomicBool::new(false));
    let ended = std::thread::scope(|scope| {
        let request = MergeRequest { git_dir: &git_dir, target, tip, cancelled: &cancelled };
        let repo = &f.repo;
        let merge = scope.spawn(move || repo.conflicts(&request));
        wait_until(|| started.exists());
        cancelled.store(true, Ordering::Release);
        merge.join().unwrap()
    });
    assert!(matches!(ended, Err(Error::Capture(CaptureRefused::Cancelled))), "{ended:?}");
    let driver = std::fs::read_to_string(&started).unwrap();
    let driver = nix::unistd::Pid::from_raw(driver.trim().parse().unwrap());
    wait_until(|| nix::sys::signal::kill(driver, None).is_err() || is_zombie(driver));
    assert_eq!(std::fs::read_dir(f.root.join("captures")).unwrap().count(), 0, "the workplace is empty");
}

/// An orphan stays one until whoever is its parent now looks.
fn is_zombie(process: nix::unistd::Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[expect(clippy::disallowed_methods, reason = "a test's deadline")]
fn wait_until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it did not happen");
        std::thread::yield_now();
    }
}

#[test]
fn a_git_that_is_too_old_is_named() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    let (target, tip) = conflicting(&f, &at);
    let old = f.root.join("old");
    std::fs::create_dir(&old).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    // As Git before 2.38 ends.
    let git = std::env::split_paths(&path).map(|place| place.join("git")).find(|git| git.exists()).unwrap();
    program(
        &old.join("git"),
        &format!("case \"$*\" in *--write-tree*) exit 129;; esac\nexec {} \"$@\"", git.display()),
    );
    let path = std::env::join_paths(std::iter::once(old).chain(std::env::split_paths(&path))).unwrap();
    let environment = Environment { path, home: Some(f.root.join("home")), xdg_config_home: None };
    let repo = GitRepo::new(environment, Arc::new(wall_time)).with_workplace(f.root.join("captures"));
    let git_dir = f.git_dir(&at);
    let ended = repo.conflicts(&MergeRequest { git_dir: &git_dir, target, tip, cancelled: &GO_ON });
    match ended {
        Err(Error::Unavailable { cause: Cause::Malformed { problem, .. }, .. }) => assert!(problem.contains("2.38")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tree_that_leads_out_of_its_folder_writes_nothing_there() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    let blob = |content: &str| {
        write(&f.root, "content", content);
        f.git(&at, &["hash-object", "-w", f.root.join("content").to_str().unwrap()])
    };
    let tree = |entries: &[(&str, &str, &str)]| {
        let mut raw = Vec::new();
        for (mode, name, id) in entries {
            raw.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            raw.extend(id.parse::<proto_schema::ObjectId>().unwrap().as_bytes());
        }
        write(&f.root, "tree", raw);
        f.git(&at, &["hash-object", "-t", "tree", "--literally", "-w", f.root.join("tree").to_str().unwrap()])
    };
    let commit = |content: &str, parent: &[&str]| {
        // As deep as where the merge is tried.
        let mut out = tree(&[("100644", ".gitattributes", &blob("a merge=union\n")), ("100644", "b", &blob(content))]);
        for _ in 0..2 {
            out = tree(&[("40000", "..", &out)]);
        }
        let root = tree(&[("40000", "..", &out), ("100644", "a", &blob(content))]);
        f.git(&at, &[&["commit-tree", "-m", content], parent, &[&root]].concat())
    };
    let base = commit("one\n", &[]);
    let (target, tip) = (commit("two\n", &["-p", &base]), commit("three\n", &["-p", &base]));
    // What Git makes of it does not matter here.
    f.conflicts(&at, target.parse().unwrap(), tip.parse().unwrap()).ok();
    let outside = files(&f.root).into_iter().filter(|(path, ..)| path.ends_with(".gitattributes"));
    assert_eq!(outside.count(), 0, "attributes were written outside");
}

/// A commit of a tree that has a file at the end of many folders, each of which has the one below so often.
fn nested(
    (f, at, base): (&Fixture, &Path, proto_schema::ObjectId),
    depth: usize,
    names: &[&str],
    file: &str,
    content: &str,
) -> proto_schema::ObjectId {
    use gix::objs::tree::{Entry, EntryKind};
    let library = gix::open(at).unwrap();
    let content = library.write_blob(content).unwrap().detach();
    let mut below = (EntryKind::Blob, content);
    for level in 0..=depth {
        let names = if level == 0 { &[file][..] } else { names };
        let entry = |name: &&str| Entry { mode: below.0.into(), filename: (*name).into(), oid: below.1 };
        let entries = names.iter().map(entry).collect();
        below = (EntryKind::Tree, library.write_object(&gix::objs::Tree { entries }).unwrap().detach());
    }
    f.git(at, &["commit-tree", "-m", "nested", "-p", &base.to_string(), &below.1.to_string()]).parse().unwrap()
}

/// A commit of nothing.
fn empty(f: &Fixture, at: &Path) -> proto_schema::ObjectId {
    let tree = gix::open(at).unwrap().write_object(gix::objs::Tree::empty()).unwrap().to_string();
    f.git(at, &["commit-tree", "-m", "empty", &tree]).parse().unwrap()
}

fn assert_refused<T: std::fmt::Debug>(refused: Result<T, Error>, why: &str) {
    match refused {
        Err(Error::Unavailable { cause: Cause::Malformed { problem, .. }, .. }) => assert!(problem.contains(why)),
        other => panic!("{other:?}"),
    }
}

/// Whoever walks them by recursion runs out of stack, which would end the daemon.
#[test]
fn folders_that_nest_without_an_end_are_not_followed() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    let base = empty(&f, &at);
    let of = |file, content| nested((&f, &at, base), 6_000, &["d"], file, content);
    let (target, tip) = (of("file", "one"), of("file", "two"));
    for target in [None, Some(target)] {
        assert_refused(f.repo.compare(&f.git_dir(&at), Pair { tip, target, base }), "too deep");
    }
    assert_refused(f.conflicts(&at, target, tip), "too deep");
    assert_eq!(f.conflicts(&at, target, of("other", "two")).unwrap().count, 0, "they meet nowhere");
    let f400 = |content| nested((&f, &at, base), 400, &["d"], "file", content);
    let (target, tip) = (f400("one"), f400("two"));
    assert_eq!(f.repo.compare(&f.git_dir(&at), Pair { tip, target: Some(target), base }).unwrap().changed_count, 1);
    assert_eq!(f.conflicts(&at, target, tip).unwrap().count, 1);
}

/// A few trees that name each other in many places have more paths than anybody can wait for.
#[test]
fn paths_without_an_end_are_not_followed() {
    within_a_minute(|| {
        let f = Fixture::new();
        let at = f.init("main", &[]);
        let base = empty(&f, &at);
        let of =
            |file| nested((&f, &at, base), 12, &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"], file, "content");
        let (target, tip) = (of("one"), of("two"));
        for target in [None, Some(target)] {
            assert_refused(f.repo.compare(&f.git_dir(&at), Pair { tip, target, base }), "too many");
        }
        assert_eq!(f.conflicts(&at, target, tip).unwrap().count, 0, "each folder is looked into once");
    });
}
