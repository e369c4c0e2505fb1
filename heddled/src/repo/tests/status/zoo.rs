//! Every way in which a worktree can differ from its HEAD, and every kind of worktree.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::super::capture::write;
use super::super::fixture::Fixture;
use crate::repo::{CaptureRefused, Error, GitOperation, Repo as _, StatusRequest};

#[test]
fn changes_of_every_kind_are_told_as_git_tells_them() {
    for format in ["sha1", "sha256"] {
        let f = Fixture::new();
        let zoo = f.zoo(&[&format!("--object-format={format}")]);
        assert!(!f.assert_changed(&zoo, 0).is_dirty());
        write(&zoo, "a/b/c", "changed in the worktree");
        write(&zoo, "a/b/d", "staged");
        f.git(&zoo, &["add", "a/b/d"]);
        write(&zoo, "a/b/d", "and changed again");
        std::fs::remove_file(zoo.join("a/e")).unwrap();
        // The path is both deleted and untracked, and one.
        f.git(&zoo, &["rm", "--quiet", "--cached", "z"]);
        f.git(&zoo, &["mv", "src/main.rs", "src/renamed.rs"]);
        write(&zoo, "intended", "content");
        f.git(&zoo, &["add", "--intent-to-add", "intended"]);
        std::fs::set_permissions(zoo.join("file"), std::fs::Permissions::from_mode(0o755)).unwrap();
        symlink("nowhere", zoo.join("dangling")).unwrap();
        write(&zoo, "new/folder/file", "");
        for name in [&b"not\xffutf8"[..], b"new\nline", b" space ", b"\"quoted\"", b"tab\t", b"-dash", b"a b -> c"] {
            std::fs::write(zoo.join(OsStr::from_bytes(name)), name).unwrap();
        }
        f.assert_changed(&zoo, 17);
    }
}

#[test]
fn a_file_is_in_the_place_of_a_folder_and_the_other_way_round() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    std::fs::remove_dir_all(zoo.join("src")).unwrap();
    write(&zoo, "src", "a file");
    std::fs::remove_file(zoo.join("z")).unwrap();
    write(&zoo, "z/y", "in a folder");
    symlink("a", zoo.join("b")).unwrap();
    f.assert_changed(&zoo, 5);
}

#[test]
fn ignored_files_are_counted_where_they_are_asked_for() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    write(&zoo, ".gitignore", "*.o\n/build/\n");
    write(&zoo, ".git/info/exclude", "excluded\n");
    f.git(&zoo, &["config", "--global", "core.excludesFile", "~/everywhere"]);
    write(&f.root, "home/everywhere", "*.swp\n");
    for name in ["x.o", "only/x.o", "only/y.o", "build/a", "build/b/c", "excluded", "x.swp", "kept"] {
        write(&zoo, name, "");
    }
    // .gitignore and `kept`; each ignored file, and `build` as one.
    assert_eq!(f.assert_changed(&zoo, 2).ignored_count, 6);
}

#[test]
fn more_paths_than_are_kept_are_counted() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    (0..1010).for_each(|number| write(&zoo, &format!("many/{number}"), ""));
    assert_eq!(f.assert_changed(&zoo, 1010).changed_paths.len(), 1000);
}

#[test]
fn operations_and_conflicts() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    f.git(&main, &["switch", "--quiet", "-c", "side"]);
    f.commit(&main, "side");
    f.git(&main, &["switch", "--quiet", "main"]);
    f.commit(&main, "main");
    let cases: [(&[&str], &[&str], GitOperation); 4] = [
        (&["merge", "side"], &["merge", "--abort"], GitOperation::Merge),
        (&["cherry-pick", "side"], &["cherry-pick", "--abort"], GitOperation::CherryPick),
        (&["revert", "--no-edit", "side"], &["revert", "--abort"], GitOperation::Revert),
        (&["rebase", "side"], &["rebase", "--abort"], GitOperation::Rebase),
    ];
    for (begin, end, operation) in cases {
        assert!(!f.run(&main, begin).status.success(), "{begin:?} stops at the conflict");
        let status = f.assert_changed(&main, 1);
        assert_eq!((status.operation, status.conflicted), (Some(operation), vec![PathBuf::from("file")]));
        f.git(&main, &["add", "file"]);
        let status = f.assert_status(&main, &[]);
        assert_eq!((status.operation, status.conflicted.len()), (Some(operation), 0));
        f.git(&main, end);
        assert_eq!(f.assert_changed(&main, 0).operation, None);
    }
}

#[test]
fn a_head_that_is_detached_or_has_no_commit() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    f.git(&zoo, &["switch", "--quiet", "--detach", "HEAD~"]);
    write(&zoo, "a/e", "untracked there");
    f.assert_changed(&zoo, 1);
    f.git(&zoo, &["switch", "--quiet", "--orphan", "other/new"]);
    assert_eq!(f.assert_changed(&zoo, 1).branch.as_deref(), Some("other/new"));
    f.git(&zoo, &["add", "-A"]);
    write(&zoo, "more", "");
    f.assert_changed(&zoo, 2);
    // Not even an index is needed.
    std::fs::remove_file(zoo.join(".git/index")).unwrap();
    f.assert_changed(&zoo, 2);
}

#[test]
fn submodules_and_repositories_within() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    let inner = f.init("inner", &[]);
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner.to_str().unwrap(), "sub"];
    f.git(&zoo, &add);
    f.assert_changed(&zoo, 2);
    f.git(&zoo, &["commit", "--quiet", "-m", "a submodule"]);
    f.assert_changed(&zoo, 0);
    // What is in it does not count, for no capture would record it; where it is does.
    write(&zoo, "sub/file", "changed");
    write(&zoo, "sub/new", "");
    f.assert_changed(&zoo, 0);
    f.git(&zoo, &["config", "-f", ".gitmodules", "submodule.sub.ignore", "all"]);
    f.git(&zoo, &["commit", "--quiet", "-a", "-m", "not to be looked at"]);
    f.commit(&zoo.join("sub"), "moved");
    f.assert_changed(&zoo, 1);
    f.git(&f.root, &["clone", "--quiet", inner.to_str().unwrap(), zoo.join("embedded").to_str().unwrap()]);
    f.git(&f.root, &["init", "--quiet", zoo.join("empty").to_str().unwrap()]);
    f.assert_status(&zoo, &[]);
    f.git(&zoo, &["add", "embedded"]);
    f.assert_status(&zoo, &[]);
    f.assert_changed(&zoo.join("embedded"), 0);
}

#[test]
fn sparse_checkouts_and_every_kind_of_index() {
    for arguments in [&["--no-cone"][..], &["--cone"], &["--cone", "--sparse-index"]] {
        let f = Fixture::new();
        let zoo = f.zoo(&[]);
        f.git(&zoo, &[&["sparse-checkout", "set"], arguments, &["src"]].concat());
        f.assert_changed(&zoo, 0);
        write(&zoo, "src/main.rs", "changed");
        write(&zoo, "a/e", "there again");
        write(&zoo, "a/new", "");
        f.assert_changed(&zoo, 3);
    }
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    let kinds: [&[&str]; 5] = [
        &["update-index", "--split-index"],
        &["update-index", "--untracked-cache"],
        &["update-index", "--index-version", "4"],
        &["update-index", "--assume-unchanged", "z"],
        &["update-index", "--no-split-index"],
    ];
    write(&zoo, "a/b/c", "changed");
    for (number, kind) in kinds.iter().enumerate() {
        f.git(&zoo, kind);
        write(&zoo, "z", number.to_string());
        write(&zoo, &format!("new/{number}"), "");
        f.assert_status(&zoo, &[]);
        f.git(&zoo, &["status", "--porcelain"]);
        f.assert_status(&zoo, &[]);
    }
}

#[test]
fn linked_worktrees_have_their_own_status_and_configuration() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    let side = f.root.join("side");
    f.git(&zoo, &["worktree", "add", "--quiet", "-b", "side", side.to_str().unwrap()]);
    write(&side, "a/e", "changed on the side");
    assert_eq!(f.assert_changed(&side, 1).branch.as_deref(), Some("side"));
    f.assert_changed(&zoo, 0);
    f.git(&zoo, &["config", "extensions.worktreeConfig", "true"]);
    f.git(&side, &["config", "--worktree", "core.fileMode", "false"]);
    for worktree in [&zoo, &side] {
        std::fs::set_permissions(worktree.join("z"), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    f.assert_changed(&side, 1);
    f.assert_changed(&zoo, 1);
    let bare = f.root.join("bare.git");
    f.git(&f.root, &["clone", "--quiet", "--bare", zoo.to_str().unwrap(), bare.to_str().unwrap()]);
    let of_bare = f.root.join("of bare");
    f.git(&bare, &["worktree", "add", "--quiet", "-b", "new", of_bare.to_str().unwrap()]);
    write(&of_bare, "new", "");
    f.assert_changed(&of_bare, 1);
}

/// What was listed of a configuration counts only while its files are as they were.
#[test]
fn a_change_of_the_configuration_is_noticed() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    // So long ago that the listing is remembered.
    let age = |path: PathBuf| {
        let settled = || super::super::fixture::wall_time().unix_ms() - 100;
        let changed = std::os::unix::fs::MetadataExt::ctime(&std::fs::metadata(&path).unwrap()) * 1000 + 1000;
        while settled() < changed {
            std::thread::yield_now();
        }
    };
    age(zoo.join(".git/config"));
    std::fs::set_permissions(zoo.join("z"), std::fs::Permissions::from_mode(0o755)).unwrap();
    f.assert_changed(&zoo, 1);
    f.git(&zoo, &["config", "core.fileMode", "false"]);
    f.assert_changed(&zoo, 0);
    f.git(&zoo, &["config", "--unset", "core.fileMode"]);
    age(zoo.join(".git/config"));
    f.assert_changed(&zoo, 1);
    f.git(&f.root, &["config", "--global", "core.fileMode", "false"]);
    f.assert_changed(&zoo, 0);
    // By a file that is included and was not there.
    f.git(&f.root, &["config", "--global", "--unset", "core.fileMode"]);
    f.git(&zoo, &["config", "include.path", "more"]);
    age(zoo.join(".git/config"));
    f.assert_changed(&zoo, 1);
    write(&zoo, ".git/more", "[core]\n\tfileMode = false\n");
    f.assert_changed(&zoo, 0);
}

#[test]
fn another_writers_lock_is_not_waited_for() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    write(&zoo, ".git/index.lock", "");
    write(&zoo, "z", "changed");
    f.assert_changed(&zoo, 1);
}

#[test]
fn what_is_no_worktree_or_cancelled_is_refused() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    for path in [zoo.join("a"), f.root.clone(), f.root.join("none")] {
        let request = StatusRequest {
            git_dir: &zoo.join(".git"),
            worktree: &path,
            ignored: false,
            allowed_filters: &[],
            cancelled: &AtomicBool::new(false),
        };
        let refused = f.repo.status(&request);
        assert!(matches!(&refused, Err(Error::WorktreeNotFound { path: named }) if *named == path), "{refused:?}");
    }
    let request = StatusRequest {
        git_dir: &zoo.join(".git"),
        worktree: &zoo,
        ignored: false,
        allowed_filters: &[],
        cancelled: &AtomicBool::new(true),
    };
    assert!(matches!(f.repo.status(&request), Err(Error::Capture(CaptureRefused::Cancelled))));
    // An index that Git cannot read is an error, and never a clean worktree.
    write(&zoo, ".git/index", "no index");
    assert!(matches!(f.look(&zoo, false, &[]), Err(Error::Unavailable { .. })));
}
