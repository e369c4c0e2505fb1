//! Linked worktrees: where they may be, which one is used, and that the repository cannot make them run anything (G5).

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::fixture::{Fixture, thread};
use crate::repo::{Error, Expected, Repo as _};

const REASON: &str = "reserved by agent-x; -- \"q\"";

impl Fixture {
    fn make(&self, at: &Path, name: &str, path: Option<&Path>, roots: &[PathBuf]) -> Result<PathBuf, Error> {
        let located = self.repo.locate(at).unwrap();
        if self.repo.tip(&located.git_dir, &thread(name)).unwrap().is_none() {
            let state = self.id(at, "HEAD");
            self.repo.compare_and_swap(&located.git_dir, &thread(name), Expected::Absent, state, "made").unwrap();
        }
        self.repo.worktree(&located, &thread(name), path, roots, REASON)
    }
}

#[test]
fn it_is_made_beside_the_main_worktree_locked_and_found_again() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    for name in ["flat", "feature/deep", "@x", "+plus", "=eq", "feature/-dash"] {
        let made = f.make(&main, name, None, &[]).unwrap();
        assert_eq!(made, f.root.join("main.worktrees").join(name));
        assert_eq!(f.git(&made, &["symbolic-ref", "HEAD"]), format!("refs/heads/{name}"));
        assert_eq!(f.git(&made, &["status", "--porcelain"]), "");
        assert_eq!(std::fs::read_to_string(made.join("file")).unwrap(), "one");
        assert!(f.git(&main, &["worktree", "list", "--porcelain"]).contains("locked"), "it is locked");
        // From anywhere in the repository, with or without a path, the thread's worktree is the one it has.
        assert_eq!(f.make(&made, name, None, &[]).unwrap(), made);
        assert_eq!(f.make(&main, name, Some(&f.root.join("x/y")), &[f.root.join("x")]).unwrap(), made);
        let located = f.repo.locate(&made).unwrap();
        assert_eq!(f.repo.checked_out_at(&located.git_dir, &thread(name)).unwrap(), Some(made.clone()));
        f.repo.unlock_worktree(&located, &made, "another reason").unwrap();
        assert!(located.git_dir.join("worktrees").join(made.file_name().unwrap()).join("locked").exists());
        f.repo.unlock_worktree(&located, &made, REASON).unwrap();
        f.git(&main, &["worktree", "remove", made.to_str().unwrap()]);
    }
    f.assert_sound(&main);
}

#[test]
fn an_unlocked_worktree_is_locked_and_another_lock_is_kept() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let path = f.root.join("by hand");
    f.git(&main, &["worktree", "add", "--quiet", "-b", "side", path.to_str().unwrap()]);
    assert_eq!(f.make(&main, "side", None, &[]).unwrap(), path);
    let lock = main.join(".git/worktrees/by-hand/locked");
    assert_eq!(std::fs::read_to_string(&lock).unwrap().trim(), REASON);
    std::fs::write(&lock, "mine").unwrap();
    assert_eq!(f.make(&main, "side", None, &[]).unwrap(), path);
    assert_eq!(std::fs::read_to_string(&lock).unwrap(), "mine");
}

#[test]
fn a_bare_repository_has_worktrees_too() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let bare = f.root.join("bare.git");
    f.git(&f.root, &["clone", "--quiet", "--bare", main.to_str().unwrap(), bare.to_str().unwrap()]);
    // HEAD of a bare repository names `main`, and no worktree has it.
    for name in ["new", "main"] {
        assert_eq!(f.make(&bare, name, None, &[]).unwrap(), f.root.join("bare.git.worktrees").join(name));
    }
}

#[test]
fn what_is_checked_out_elsewhere_is_refused_naming_the_place() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    assert!(matches!(f.make(&main, "main", None, &[]), Err(Error::CheckedOut { worktree }) if worktree == main));
    let git_dir = main.join(".git");
    assert_eq!(f.repo.checked_out_at(&git_dir, &thread("main")).unwrap(), Some(main.clone()));
    assert_eq!(f.repo.checked_out_at(&git_dir, &thread("other")).unwrap(), None);

    // A rebase detaches HEAD and will come back.
    let side = f.make(&main, "side", None, &[]).unwrap();
    f.commit(&side, "side");
    f.commit(&main, "main");
    assert!(!f.run(&side, &["rebase", "main"]).status.success(), "it stops at the conflict");
    assert!(matches!(f.make(&main, "side", None, &[]), Err(Error::CheckedOut { worktree }) if worktree == side));
    assert_eq!(f.repo.checked_out_at(&git_dir, &thread("side")).unwrap(), Some(side));
}

#[test]
fn a_path_must_lie_below_a_root_after_links_are_resolved() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let root = f.root.join("allowed");
    let outside = f.root.join("outside");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    symlink(&outside, root.join("escape")).unwrap();
    symlink(&root, f.root.join("into")).unwrap();
    let roots = [root.clone(), f.root.join("missing root")];
    for path in [
        root.clone(),
        f.root.join("elsewhere"),
        root.join("../outside/x"),
        root.join("x/../../outside/x"),
        root.join("escape"),
        root.join("escape/x"),
        f.root.join("allowed-not"),
        PathBuf::from("/"),
        PathBuf::from("relative"),
    ] {
        match f.make(&main, "side", Some(&path), &roots) {
            Err(Error::PathNotAllowed { path: named, roots: told }) => {
                assert_eq!((named.as_path(), told.as_slice()), (path.as_path(), &roots[..]));
            }
            other => panic!("{path:?}: {other:?}"),
        }
    }
    assert!(matches!(f.make(&main, "side", Some(&root.join("x")), &[]), Err(Error::PathNotAllowed { .. })));
    // A link into the root is fine, and so is a root that is a link itself.
    assert_eq!(f.make(&main, "side", Some(&f.root.join("into/a/b")), &roots).unwrap(), root.join("a/b"));
    let linked_root = [f.root.join("into")];
    assert_eq!(f.make(&main, "two", Some(&root.join("-two")), &linked_root).unwrap(), root.join("-two"));

    // The default place is held to the same.
    symlink(&outside, f.root.join("main.worktrees")).unwrap();
    assert!(matches!(f.make(&main, "three", None, &[]), Err(Error::PathNotAllowed { .. })));
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "nothing was made outside");
}

#[test]
fn an_occupied_or_vanished_place_is_named() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let place = f.root.join("main.worktrees/side");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("mine"), "").unwrap();
    assert!(matches!(f.make(&main, "side", None, &[]), Err(Error::Occupied { path }) if path == place));
    assert!(place.join("mine").exists());
    std::fs::remove_file(place.join("mine")).unwrap();
    assert_eq!(f.make(&main, "side", None, &[]).unwrap(), place, "an empty folder is filled");
    std::fs::remove_dir_all(&place).unwrap();
    match f.make(&main, "side", None, &[]) {
        Err(Error::WorktreeGone { path, repo }) => assert_eq!((path, &repo), (place.clone(), &main)),
        other => panic!("{other:?}"),
    }
    // Its lock can be taken off all the same, so that Git's own `prune` may forget it.
    f.repo.unlock_worktree(&f.repo.locate(&main).unwrap(), &place, REASON).unwrap();
    f.git(&main, &["worktree", "prune", "--expire=now"]);
    assert_eq!(f.make(&main, "side", None, &[]).unwrap(), place);
}

#[test]
fn only_the_repositorys_own_records_are_its_worktrees() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let other = f.init("other", &[]);
    let side = f.make(&main, "side", None, &[]).unwrap();
    std::fs::create_dir(side.join("sub")).unwrap();
    let located = f.repo.locate(&main).unwrap();
    symlink(&side, f.root.join("link")).unwrap();
    for (asked, found) in [(&main, &main), (&side, &side), (&f.root.join("link"), &side)] {
        assert_eq!(f.repo.registered_worktree(&located, asked).unwrap(), *found);
    }
    for path in [&other, &side.join("sub"), &f.root.join("missing"), &f.root] {
        match f.repo.registered_worktree(&located, path) {
            Err(Error::WorktreeNotFound { path: named }) => assert_eq!(&named, path),
            unexpected => panic!("{unexpected:?}"),
        }
    }
    // A worktree that claims to be one, without a record of its own.
    let fake = f.root.join("fake");
    std::fs::create_dir(&fake).unwrap();
    std::fs::copy(side.join(".git"), fake.join(".git")).unwrap();
    assert!(f.repo.registered_worktree(&located, &fake).is_err());
    // A record whose place another repository has taken.
    std::fs::remove_dir_all(&side).unwrap();
    std::fs::rename(&other, &side).unwrap();
    assert!(f.repo.registered_worktree(&located, &side).is_err());
}

#[test]
fn the_repositorys_configuration_runs_nothing() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    std::fs::write(main.join(".gitattributes"), "file filter=evil\nlarge filter=lfs\nodd filter=o=d.d\n").unwrap();
    for name in ["large", "odd"] {
        std::fs::write(main.join(name), "content").unwrap();
    }
    f.git(&main, &["add", "."]);
    f.git(&main, &["commit", "--quiet", "-m", "attributes"]);
    let ran = f.root.join("ran");
    let command = format!("touch {} && cat", ran.display());
    for driver in ["evil", "lfs", "o=d.d"] {
        for name in ["smudge", "clean", "process"] {
            f.git(&main, &["config", &format!("filter.{driver}.{name}"), &command]);
        }
        f.git(&main, &["config", &format!("filter.{driver}.required"), "true"]);
    }
    f.git(&main, &["config", "core.fsmonitor", &command]);
    f.git(&main, &["config", "core.hooksPath", main.join(".git/hooks").to_str().unwrap()]);
    let hook = main.join(".git/hooks/post-checkout");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    f.git(&main, &["config", "alias.worktree", &format!("!touch {}", ran.display())]);
    std::fs::remove_file(&ran).ok();
    let made = f.make(&main, "side", None, &[]).unwrap();
    assert!(!ran.exists(), "a command of the repository was run");
    assert_eq!(std::fs::read_to_string(made.join("large")).unwrap(), "content");

    // The user's own lfs does run, and not what the repository says of it. A `process` that only the repository has
    // leaves no filter at all: Git would ask it first, and it cannot be taken back, only emptied.
    f.git(&main, &["config", "--unset", "filter.lfs.process"]);
    let users = f.root.join("users");
    f.git(&f.root, &["config", "--global", "filter.lfs.smudge", &format!("touch {} && cat", users.display())]);
    f.git(&f.root, &["config", "--global", "filter.evil.smudge", &command]);
    f.make(&main, "two", None, &[]).unwrap();
    assert!(users.exists() && !ran.exists());
}
