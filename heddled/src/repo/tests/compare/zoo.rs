//! Every kind of conflict that Git knows, and what is nearly one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::super::capture::write;
use super::super::fixture::Fixture;
use super::{Step, executable, remove, rename, text};

/// A file, a folder with three files, and another file.
fn usual(at: &Path) {
    write(at, "a", text("a", &[]));
    write(at, "b", text("b", &[]));
    for name in ["x", "y", "z"] {
        write(at, &format!("dir/{name}"), text(name, &[]));
    }
}

fn rename_folder(at: &Path) {
    rename(at, "dir", "moved");
}

/// What there is, what target and tip do, and whether Git calls that a conflict.
type Case<'a> = (&'a str, Step<'a>, Step<'a>, Step<'a>, bool);

fn assert_all(f: &Fixture, at: &Path, cases: &[Case<'_>]) {
    for (what, base, target, tip, conflicts) in cases {
        let (target, tip) = f.sides(at, *base, *target, *tip);
        let found = f.assert_merges_like_git(at, target, tip, what);
        assert_eq!(!found.is_empty(), *conflicts, "{what}: {found:?}");
        f.assert_merges_like_git(at, tip, target, &format!("{what}, the other way round"));
    }
}

const CONTENT: &[Case<'_>] = &[
    ("other files", &usual, &|at| write(at, "a", "new"), &|at| write(at, "b", "new"), false),
    (
        "one text at two places",
        &usual,
        &|at| write(at, "a", text("a", &[1])),
        &|at| write(at, "a", text("a", &[18])),
        false,
    ),
    ("one text at one place", &usual, &|at| write(at, "a", text("a", &[1])), &|at| write(at, "a", "a 0\nmine\n"), true),
    ("the same change", &usual, &|at| write(at, "a", text("a", &[1])), &|at| write(at, "a", text("a", &[1])), false),
    ("a file that both add", &usual, &|at| write(at, "new", "one\n"), &|at| write(at, "new", "other\n"), true),
    ("the same file that both add", &usual, &|at| write(at, "new", "one\n"), &|at| write(at, "new", "one\n"), false),
    ("changed and deleted", &usual, &|at| write(at, "a", text("a", &[1])), &|at| remove(at, "a"), true),
    ("deleted by both", &usual, &|at| remove(at, "a"), &|at| remove(at, "a"), false),
    (
        "binary",
        &|at| write(at, "bin", b"\0one"),
        &|at| write(at, "bin", b"\0two"),
        &|at| write(at, "bin", b"\0three"),
        true,
    ),
    ("mode and text", &usual, &|at| executable(at, "a"), &|at| write(at, "a", text("a", &[1])), false),
    ("mode and deletion", &usual, &|at| executable(at, "a"), &|at| remove(at, "a"), true),
    (
        "modes of a file that both add",
        &usual,
        &|at| write(at, "new", "one\n"),
        &|at| {
            write(at, "new", "one\n");
            executable(at, "new");
        },
        true,
    ),
    (
        "links",
        &|at| symlink("a", at.join("link")).unwrap(),
        &|at| {
            remove(at, "link");
            symlink("b", at.join("link")).unwrap();
        },
        &|at| {
            remove(at, "link");
            symlink("c", at.join("link")).unwrap();
        },
        true,
    ),
    (
        "a link in the place of a file",
        &usual,
        &|at| {
            remove(at, "a");
            symlink("b", at.join("a")).unwrap();
        },
        &|at| write(at, "a", text("a", &[1])),
        true,
    ),
];

#[test]
fn content_and_modes() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    assert_all(&f, &at, CONTENT);
}

const RENAMES: &[Case<'_>] = &[
    ("renamed and changed", &usual, &|at| rename(at, "a", "c"), &|at| write(at, "a", text("a", &[1])), false),
    (
        "renamed with a change, and changed there",
        &usual,
        &|at| {
            remove(at, "a");
            write(at, "c", text("a", &[1]));
        },
        &|at| write(at, "a", "a 0\nmine\n"),
        true,
    ),
    ("renamed to two names", &usual, &|at| rename(at, "a", "c"), &|at| rename(at, "a", "d"), true),
    ("two renamed to one name", &usual, &|at| rename(at, "a", "c"), &|at| rename(at, "b", "c"), true),
    ("renamed by both alike", &usual, &|at| rename(at, "a", "c"), &|at| rename(at, "a", "c"), false),
    ("renamed and deleted", &usual, &|at| rename(at, "a", "c"), &|at| remove(at, "a"), true),
    ("renamed to what the other adds", &usual, &|at| rename(at, "a", "c"), &|at| write(at, "c", "new\n"), true),
    ("renamed elsewhere", &usual, &|at| rename(at, "a", "c"), &|at| write(at, "b", text("b", &[1])), false),
    ("renamed below what the other adds", &usual, &|at| rename(at, "a", "c/d"), &|at| write(at, "c", "new\n"), true),
    ("both delete one file and rename another", &usual, &|at| rename(at, "a", "c"), &|at| rename(at, "b", "d"), false),
    ("a folder renamed, a file added in it", &usual, &rename_folder, &|at| write(at, "dir/new", "new\n"), true),
    ("a folder renamed, a file added deep in it", &usual, &rename_folder, &|at| write(at, "dir/s/new", "new\n"), false),
    ("a folder renamed, a file renamed into it", &usual, &rename_folder, &|at| rename(at, "a", "dir/a"), true),
    (
        "a folder renamed, a file changed in it",
        &usual,
        &rename_folder,
        &|at| write(at, "dir/x", text("x", &[1])),
        false,
    ),
    ("a folder renamed, a file deleted in it", &usual, &rename_folder, &|at| remove(at, "dir/x"), true),
    ("a folder renamed by both", &usual, &rename_folder, &|at| rename(at, "dir", "gone"), true),
    (
        "a folder emptied, a file added in it",
        &usual,
        &|at| std::fs::remove_dir_all(at.join("dir")).unwrap(),
        &|at| {
            write(at, "dir/new", "new\n");
        },
        false,
    ),
    (
        "a folder split, a file added in it",
        &usual,
        &|at| {
            rename(at, "dir/x", "one/x");
            rename(at, "dir/y", "one/y");
            rename(at, "dir/z", "two/z");
        },
        &|at| write(at, "dir/new", "new\n"),
        true,
    ),
    (
        "a folder split evenly, a file added in it",
        &|at| {
            write(at, "even/x", text("x", &[]));
            write(at, "even/y", text("y", &[]));
        },
        &|at| {
            rename(at, "even/x", "one/x");
            rename(at, "even/y", "two/y");
        },
        &|at| write(at, "even/new", "new\n"),
        true,
    ),
    (
        "folders renamed into each other",
        &|at| {
            usual(at);
            write(at, "other/w", text("w", &[]));
        },
        &|at| rename(at, "dir", "other/dir"),
        &|at| rename(at, "other", "dir/other"),
        false,
    ),
    (
        "a folder moved to the top",
        &usual,
        &|at| ["x", "y", "z"].iter().for_each(|name| rename(at, &format!("dir/{name}"), name)),
        &|at| write(at, "dir/new", "new\n"),
        true,
    ),
];

#[test]
fn renames_of_files_and_folders() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    assert_all(&f, &at, RENAMES);
    for (key, value) in
        [("merge.directoryRenames", "true"), ("merge.directoryRenames", "false"), ("merge.renames", "false")]
    {
        f.git(&at, &["config", key, value]);
        for (what, base, target, tip, _) in RENAMES {
            let (target, tip) = f.sides(&at, *base, *target, *tip);
            f.assert_merges_like_git(&at, target, tip, &format!("{what}, {key} {value}"));
        }
    }
}

const CLASHES: &[Case<'_>] = &[
    (
        "a file and a folder of one name",
        &usual,
        &|at| write(at, "n", "file\n"),
        &|at| write(at, "n/below", "new\n"),
        true,
    ),
    (
        "a folder in the place of a file that changes",
        &usual,
        &|at| {
            remove(at, "a");
            write(at, "a/below", "new\n");
        },
        &|at| write(at, "a", text("a", &[1])),
        true,
    ),
    (
        "a folder in the place of a file",
        &usual,
        &|at| {
            remove(at, "a");
            write(at, "a/below", "new\n");
        },
        &|at| write(at, "b", text("b", &[1])),
        false,
    ),
    (
        "a file in the place of a folder that changes",
        &usual,
        &|at| {
            std::fs::remove_dir_all(at.join("dir")).unwrap();
            write(at, "dir", "file\n");
        },
        &|at| write(at, "dir/x", text("x", &[1])),
        true,
    ),
    (
        "a file in the place of a folder",
        &usual,
        &|at| {
            std::fs::remove_dir_all(at.join("dir")).unwrap();
            write(at, "dir", "file\n");
        },
        &|at| write(at, "a", text("a", &[1])),
        false,
    ),
    ("new folders of one name", &usual, &|at| write(at, "n/one", "1\n"), &|at| write(at, "n/other", "2\n"), false),
];

#[test]
fn files_in_the_place_of_folders() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    assert_all(&f, &at, CLASHES);
}

#[test]
fn submodules() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    let base = f.id(&at, "main").to_string();
    let at_link = |parent: &str, link: &str| {
        f.git(&at, &["read-tree", parent]);
        f.git(&at, &["update-index", "--add", "--cacheinfo", &format!("160000,{link},sub")]);
        let tree = f.git(&at, &["write-tree"]);
        f.git(&at, &["commit-tree", "-p", parent, "-m", "link", &tree])
    };
    let first = at_link(&base, &base);
    let (one, other) = (at_link(&first, &"1".repeat(40)), at_link(&first, &"2".repeat(40)));
    let [first, one, other] = [first, one, other].map(|id| id.parse().unwrap());
    assert_eq!(f.assert_merges_like_git(&at, one, other, "both moved it"), ["sub"]);
    assert!(f.assert_merges_like_git(&at, first, other, "one moved it").is_empty());
}

#[test]
fn several_merge_bases_and_none() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    let base = f.commit_step(&at, "main", &usual).to_string();
    let one = f.commit_step(&at, &base, &|at| write(at, "a", text("a", &[3]))).to_string();
    let other = f.commit_step(&at, &base, &|at| write(at, "a", text("a", &[15]))).to_string();
    let merged = f.commit_step(&at, &base, &|at| write(at, "a", text("a", &[3, 15]))).to_string();
    let crossed = |first: &str, second: &str, step: Step<'_>| {
        let made = f.commit_step(&at, &merged, step).to_string();
        let tree = format!("{made}^{{tree}}");
        f.git(&at, &["commit-tree", "-p", first, "-p", second, "-m", "crossed", &tree]).parse().unwrap()
    };
    let target = crossed(&one, &other, &|at| write(at, "b", "new\n"));
    for (what, step) in [
        ("another file", &(|at: &Path| write(at, "dir/x", "new\n")) as Step<'_>),
        ("the same file", &|at| write(at, "b", "newer\n")),
        ("undone", &|at| write(at, "a", text("a", &[15]))),
    ] {
        let tip = crossed(&other, &one, step);
        f.assert_merges_like_git(&at, target, tip, what);
        f.assert_merges_like_git(&at, tip, target, what);
    }
    let tree = f.git(&at, &["rev-parse", "main^{tree}"]);
    let unrelated = f.git(&at, &["commit-tree", "-m", "unrelated", &tree]).parse().unwrap();
    assert_eq!(f.merge_oracle(&at, target, unrelated), None, "Git refuses to merge unrelated histories");
    assert_eq!(f.conflicts(&at, target, unrelated).unwrap().count, 0);
}

#[test]
fn names_of_all_kinds_and_a_sha256_repository() {
    let f = Fixture::new();
    let at = f.init("main", &["--object-format=sha256"]);
    let names: [&[u8]; 5] = [b"new\nline", b"\xff\xfe", b"\"quoted\"", "\u{e4}\u{f6}".as_bytes(), b"a\tb \\"];
    let put = |content: &'static str| {
        move |at: &Path| {
            names.iter().for_each(|name| std::fs::write(at.join(OsStr::from_bytes(name)), content).unwrap());
        }
    };
    let (target, tip) = f.sides(&at, &put("one"), &put("two"), &put("three"));
    assert_eq!(f.assert_merges_like_git(&at, target, tip, "names").len(), names.len());
    assert_all(&f, &at, RENAMES);
}

#[test]
fn only_the_first_thousand_conflicts_are_told() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    let put =
        |content: &'static str| move |at: &Path| (0..1003).for_each(|number| write(at, &format!("f{number}"), content));
    let (target, tip) = f.sides(&at, &put("one"), &put("two"), &put("three"));
    let found = f.conflicts(&at, target, tip).unwrap();
    assert_eq!((found.paths.len(), found.count), (1000, 1003));
    assert_eq!(
        f.merge_oracle(&at, target, tip).unwrap()[..1000],
        found.paths.iter().map(ToString::to_string).collect::<Vec<_>>()
    );
}
