//! The real `git-lfs`, where it is installed, from the capture to the clone that has the content.

use std::path::Path;

use super::super::fixture::Fixture;
use super::write;
use crate::repo::{Capture, CaptureRefused, Error};

/// A home in which the user has installed it; nothing where the machine has none.
fn installed() -> Option<Fixture> {
    let f = Fixture::new();
    if !f.run(&f.root, &["lfs", "version"]).status.success() {
        eprintln!("skipped: git-lfs is not installed");
        return None;
    }
    f.git(&f.root, &["lfs", "install", "--skip-repo"]);
    Some(f)
}

fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut value = seed;
    let next = || {
        value = value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        value.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn a_real_lfs_repository_from_the_capture_to_the_clone() {
    let Some(f) = installed() else { return };
    let main = f.init("main", &[]);
    f.git(&main, &["lfs", "track", "*.big"]);
    let large = noise(3_000_000, 1);
    write(&main, "folder/large.big", &large);
    write(&main, "empty.big", "");
    write(&main, "plain", "plain");
    f.assert_like_git(&main, &[]);
    // A linked worktree stores into the repository, too.
    let side = f.root.join("side");
    f.git(&main, &["worktree", "add", "--quiet", "-b", "side", side.to_str().unwrap()]);
    assert!(std::fs::read(side.join("folder/large.big")).unwrap() == large);
    let other = noise(100_000, 2);
    write(&side, "folder/large.big", &other);
    write(&side, "new name.big", &large);
    f.assert_like_git(&side, &[]);
    for worktree in [&main, &side] {
        f.git(worktree, &["lfs", "fsck"]);
    }
    assert_eq!(f.git(&side, &["lfs", "ls-files", "--name-only"]), "folder/large.big\nnew name.big");
    let bare = f.init("remote.git", &["--bare"]);
    let url = format!("file://{}", bare.display());
    f.git(&side, &["push", "--quiet", &url, "side"]);
    let clone = f.root.join("clone");
    f.git(&f.root, &["clone", "--quiet", "--branch", "side", &url, clone.to_str().unwrap()]);
    assert!(std::fs::read(clone.join("folder/large.big")).unwrap() == other, "what was captured comes back");
    assert!(std::fs::read(clone.join("new name.big")).unwrap() == large);
}

/// `git-lfs` runs commands that a configuration names, too.
#[test]
fn commands_of_an_lfs_configuration() {
    let Some(f) = installed() else { return };
    let main = f.init("main", &[]);
    f.git(&main, &["lfs", "track", "*.big"]);
    let ran = f.root.join("ran");
    let script = main.join("evil");
    write(&main, "evil", format!("#!/bin/sh\ntouch {}\nexec cat\n", ran.display()));
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let evil = format!("{} %f", script.display());
    write(&main, ".lfsconfig", format!("[lfs \"extension.evil\"]\n\tclean = {evil}\n\tsmudge = cat\n"));
    for (key, value) in [("clean", evil.as_str()), ("smudge", "cat"), ("priority", "0")] {
        f.git(&main, &["config", &format!("lfs.extension.evil.{key}"), value]);
    }
    write(&main, "x.big", "content");
    f.git(&main, &["add", "-A"]);
    assert!(std::fs::remove_file(&ran).is_ok(), "plain Git runs it");
    f.git(&main, &["reset", "--quiet"]);
    write(&main, "x.big", "more");
    let prepared = f.prepare(&main);
    assert!(matches!(prepared, Ok(Capture::Prepared { .. })), "{prepared:?}");
    assert!(!ran.exists(), "a command of the agent was run");
}

/// A filter that cannot be proved is refused by name.
#[test]
fn a_filter_that_never_says_the_same() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let script = f.root.join("odd");
    write(&f.root, "odd", "#!/bin/sh\ncat\nmktemp -u\n");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    f.git(&f.root, &["config", "--global", "filter.odd.clean", script.to_str().unwrap()]);
    write(&main, ".gitattributes", "*.odd filter=odd\n");
    write(&main, "folder/x.odd", "content");
    match f.prepare_with(&main, &["odd".to_owned()]) {
        Err(Error::Capture(refused)) => {
            let path = Path::new("folder/x.odd").to_owned();
            assert_eq!(refused, CaptureRefused::FilterUnsteady { filter: "odd".to_owned(), path });
        }
        other => panic!("{other:?}"),
    }
    f.assert_clear(&main);
}
