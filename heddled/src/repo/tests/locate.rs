//! Which repository a path is in (G4: what a cache says is what is there now).

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::Path;

use proto_schema::RepositoryProblem;

use super::fixture::{Fixture, thread};
use crate::repo::{Anchor, Error, GitRepo, Repo as _};

fn problem(repo: &GitRepo, path: &Path) -> RepositoryProblem {
    match repo.locate(path) {
        Err(Error::NotFound { problem, path: named }) => {
            assert_eq!(named, path);
            problem
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_way_into_a_repository_leads_to_the_same_key() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let linked = f.root.join("linked");
    f.git(&main, &["worktree", "add", "--quiet", "-b", "other", linked.to_str().unwrap()]);
    std::fs::create_dir_all(main.join("sub/folder")).unwrap();
    std::fs::create_dir_all(linked.join("sub")).unwrap();
    symlink(&main, f.root.join("link")).unwrap();
    let expected = f.repo.locate(&main).unwrap();
    let data = std::fs::metadata(main.join(".git")).unwrap();
    assert_eq!((expected.key.device, expected.key.inode), (data.dev(), data.ino()));
    assert_eq!(&*expected.git_dir, main.join(".git"));
    assert_eq!(&*expected.shown, main.to_str().unwrap());
    for (path, worktree) in [
        ("main", Some("main")),
        ("main/sub/folder", Some("main")),
        ("link", Some("main")),
        ("link/sub", Some("main")),
        ("linked", Some("linked")),
        ("linked/sub", Some("linked")),
        ("main/.git", None),
        ("main/.git/refs/heads", None),
        ("main/.git/worktrees/linked", None),
    ] {
        for _ in ["cold", "cached"] {
            let located = f.repo.locate(&f.root.join(path)).unwrap();
            assert_eq!(located.key, expected.key, "{path}");
            assert_eq!((&located.git_dir, &located.shown), (&expected.git_dir, &expected.shown), "{path}");
            assert_eq!(located.worktree.as_deref(), worktree.map(|name| f.root.join(name)).as_deref(), "{path}");
        }
    }
}

#[test]
fn bare_separate_and_submodule_repositories_are_found() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let bare = f.root.join("bare.git");
    f.git(&f.root, &["clone", "--quiet", "--bare", main.to_str().unwrap(), bare.to_str().unwrap()]);
    let located = f.repo.locate(&bare).unwrap();
    assert_eq!((&*located.shown, &located.worktree), (bare.to_str().unwrap(), &None));
    let linked = f.root.join("of-bare");
    f.git(&bare, &["worktree", "add", "--quiet", "-b", "other", linked.to_str().unwrap()]);
    let from_linked = f.repo.locate(&linked).unwrap();
    assert_eq!((from_linked.key, &from_linked.shown), (located.key, &located.shown));
    assert_eq!(from_linked.worktree.as_deref(), Some(&*linked));

    let separate = f.init("separate", &["--separate-git-dir", f.root.join("elsewhere").to_str().unwrap()]);
    assert_eq!(&*f.repo.locate(&separate).unwrap().git_dir, f.root.join("elsewhere"));

    let url = main.to_str().unwrap();
    f.git(&separate, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url, "module"]);
    let module = f.repo.locate(&separate.join("module")).unwrap();
    assert_eq!(&*module.shown, separate.join("module").to_str().unwrap());
    assert_eq!(module.worktree.as_deref(), Some(&*separate.join("module")));
    assert_eq!(&*module.git_dir, f.root.join("elsewhere/modules/module"));
}

#[test]
fn what_is_no_repository_says_so() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    std::fs::create_dir_all(f.root.join("empty/.git")).unwrap();
    assert_eq!(problem(&f.repo, &f.root.join("missing")), RepositoryProblem::NotARepository);
    assert_eq!(problem(&f.repo, &f.root.join("empty")), RepositoryProblem::NotARepository);
    assert_eq!(problem(&f.repo, &main.join("file")), RepositoryProblem::NotARepository);
    std::fs::write(f.root.join("empty/plain"), "gitdir: /nowhere\n").unwrap();
    std::fs::create_dir(f.root.join("stray")).unwrap();
    std::fs::rename(f.root.join("empty/plain"), f.root.join("stray/.git")).unwrap();
    assert_eq!(problem(&f.repo, &f.root.join("stray")), RepositoryProblem::NotARepository);
}

#[test]
fn changes_under_a_cached_path_are_noticed() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let sub = main.join("sub");
    std::fs::create_dir(&sub).unwrap();
    let outer = f.repo.locate(&sub).unwrap();
    assert_eq!(f.repo.locate(&sub).unwrap(), outer);

    // A repository made in the subfolder, in both forms.
    f.git(&sub, &["init", "--quiet"]);
    assert_ne!(f.repo.locate(&sub).unwrap().key, outer.key);
    std::fs::remove_dir_all(sub.join(".git")).unwrap();
    assert_eq!(f.repo.locate(&sub).unwrap(), outer);
    f.git(&sub, &["init", "--quiet", "--bare"]);
    assert_eq!(&*f.repo.locate(&sub).unwrap().git_dir, sub);

    // The repository removed, and another made in its place.
    let before = f.repo.sight(&main, &thread("main"), &Anchor::Tip).unwrap();
    std::fs::remove_dir_all(&main).unwrap();
    assert_eq!(problem(&f.repo, &main), RepositoryProblem::NotARepository);
    f.init("main", &[]);
    let again = f.commit(&main, "of the second");
    let after = f.repo.sight(&main, &thread("main"), &Anchor::Tip).unwrap();
    assert_eq!((after.anchor, after.root), (again, f.id(&main, "HEAD^{tree}")));
    assert_ne!(after.anchor, before.anchor);

    // A symbolic link that is turned elsewhere.
    let second = f.init("second", &[]);
    let link = f.root.join("link");
    symlink(&main, &link).unwrap();
    assert_eq!(&*f.repo.locate(&link).unwrap().git_dir, main.join(".git"));
    std::fs::remove_file(&link).unwrap();
    symlink(&second, &link).unwrap();
    assert_eq!(&*f.repo.locate(&link).unwrap().git_dir, second.join(".git"));

    // A `.git` that is exchanged.
    std::fs::rename(second.join(".git"), f.root.join("moved")).unwrap();
    std::fs::write(second.join(".git"), format!("gitdir: {}\n", f.root.join("moved").display())).unwrap();
    assert_eq!(&*f.repo.locate(&second).unwrap().git_dir, f.root.join("moved"));
}

#[test]
fn formats_that_are_not_understood_are_refused() {
    let f = Fixture::new();
    let reftable = f.init("reftable", &["--ref-format=reftable"]);
    assert_eq!(problem(&f.repo, &reftable), RepositoryProblem::UnsupportedFormat);

    let main = f.init("main", &[]);
    f.repo.locate(&main).unwrap();
    // Noticed on a repository that is open.
    f.git(&main, &["config", "core.repositoryFormatVersion", "1"]);
    f.repo.locate(&main).unwrap();
    f.git(&main, &["config", "extensions.somethingNew", "true"]);
    assert_eq!(problem(&f.repo, &main), RepositoryProblem::UnsupportedFormat);
    std::fs::write(main.join(".git/config"), "[core]\n\trepositoryformatversion = 2\n").unwrap();
    assert_eq!(problem(&f.repo, &main), RepositoryProblem::UnsupportedFormat);
    std::fs::write(main.join(".git/config"), "[core]\n\trepositoryformatversion = 0\n[extensions]\n\tunknown = 1\n")
        .unwrap();
    f.repo.locate(&main).unwrap();
    assert!(f.run(&main, &["rev-parse", "HEAD"]).status.success(), "Git accepts it as well");
}

#[test]
fn the_repository_of_another_user_needs_safe_directory() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let f = Fixture::new();
    let main = f.init("main", &[]);
    f.repo.locate(&main).unwrap();
    for path in [main.clone(), main.join(".git")] {
        chown(path, Some(12345), Some(12345)).unwrap();
    }
    assert_eq!(problem(&f.repo, &main), RepositoryProblem::NotTrusted);
    assert!(!f.run(&main, &["rev-parse", "HEAD"]).status.success(), "Git refuses it as well");
    // The repository cannot vouch for itself.
    let local = format!("[safe]\n\tdirectory = {}\n", main.display());
    let config = std::fs::read_to_string(main.join(".git/config")).unwrap();
    std::fs::write(main.join(".git/config"), config + &local).unwrap();
    assert_eq!(problem(&f.repo, &main), RepositoryProblem::NotTrusted);

    for value in [main.to_str().unwrap(), "*", f.root.join("*").to_str().unwrap()] {
        let global = f.root.join("home/.gitconfig");
        let before = std::fs::read(&global).unwrap();
        f.git(&f.root, &["config", "--global", "--add", "safe.directory", value]);
        assert!(f.run(&main, &["rev-parse", "HEAD"]).status.success(), "Git agrees about {value}");
        f.repo.locate(&main).unwrap();
        f.repo.sight(&main, &thread("main"), &Anchor::Tip).unwrap();
        std::fs::write(&global, before).unwrap();
        assert_eq!(problem(&f.repo, &main), RepositoryProblem::NotTrusted, "{value} was taken back");
    }
}

#[test]
fn a_path_that_is_not_utf8_is_shown_as_git_quotes_it() {
    let f = Fixture::new();
    let path = f.root.join(std::ffi::OsStr::from_bytes(b"caf\xe9 \"x\""));
    std::fs::create_dir(&path).unwrap();
    f.git(&path, &["init", "--quiet"]);
    let shown = f.repo.locate(&path).unwrap().shown;
    assert_eq!(&*shown, format!("\"{}/caf\\351 \\\"x\\\"\"", f.root.display()));
}
