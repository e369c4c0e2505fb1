//! Attributes and settings that say how files are merged.

use std::path::Path;

use super::super::capture::write;
use super::super::fixture::Fixture;
use super::{rename, text};

fn usual(at: &Path) {
    write(at, "dir/a", text("a", &[]));
}

fn conflicting(at: &Path, of: &str) {
    write(at, "dir/a", format!("{of}\n"));
}

#[test]
fn attributes_of_the_target_count() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    for (line, conflicts) in [
        ("* merge=union", false),
        ("* -merge", true),
        ("* merge=binary", true),
        ("* binary", true),
        ("* merge=unknown", true),
        ("* text eol=crlf", true),
    ] {
        for file in [".gitattributes", "dir/.gitattributes"] {
            let what = format!("{line} in {file}");
            let base = |at: &Path| {
                usual(at);
                write(at, file, line);
            };
            let (target, tip) = f.sides(&at, &base, &|at| conflicting(at, "target"), &|at| conflicting(at, "tip"));
            let found = f.assert_merges_like_git(&at, target, tip, &what);
            assert_eq!(!found.is_empty(), conflicts, "{what}");
            // What else is merged cleanly is not, where it is not to be merged at all.
            let change = |lines: &'static [usize]| move |at: &Path| write(at, "dir/a", text("a", lines));
            let (target, tip) = f.sides(&at, &base, &change(&[1]), &change(&[18]));
            f.assert_merges_like_git(&at, target, tip, &what);
            // They follow a file to its new name.
            let renamed = |at: &Path| rename(at, "dir/a", "dir/b");
            let (target, tip) = f.sides(&at, &base, &renamed, &change(&[18]));
            f.assert_merges_like_git(&at, target, tip, &what);
            // Only one of the sides has them.
            let with = |at: &Path| {
                conflicting(at, "one");
                write(at, file, line);
            };
            let (target, tip) = f.sides(&at, &usual, &with, &|at| conflicting(at, "other"));
            f.assert_merges_like_git(&at, target, tip, &what);
            f.git(&at, &["checkout", "--quiet", "--detach", &tip.to_string()]);
            f.assert_merges_like_git(&at, tip, target, &what);
        }
    }
}

#[test]
fn attributes_of_the_repository_and_of_the_user_count() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    let (target, tip) = f.sides(&at, &usual, &|at| conflicting(at, "target"), &|at| conflicting(at, "tip"));
    assert_eq!(f.assert_merges_like_git(&at, target, tip, "none").len(), 1);
    write(&at, ".git/info/attributes", "* merge=union\n");
    assert!(f.assert_merges_like_git(&at, target, tip, "the repository's").is_empty());
    super::remove(&at, ".git/info/attributes");
    write(&f.root, "home/.config/git/attributes", "* merge=union\n");
    assert!(f.assert_merges_like_git(&at, target, tip, "the user's").is_empty());
}

#[test]
fn a_changed_setting_counts_at_once() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    let (target, tip) = f.sides(&at, &usual, &|at| conflicting(at, "target"), &|at| conflicting(at, "tip"));
    let conflicts = |what: &str| f.assert_merges_like_git(&at, target, tip, what).len();
    assert_eq!(conflicts("nothing is set"), 1);
    f.git(&at, &["config", "merge.default", "union"]);
    assert_eq!(conflicts("the repository says so"), 0);
    f.git(&at, &["config", "--unset", "merge.default"]);
    assert_eq!(conflicts("no longer"), 1);
    let more = f.root.join("more");
    f.git(&at, &["config", "include.path", more.to_str().unwrap()]);
    assert_eq!(conflicts("what is included is not there yet"), 1);
    std::fs::write(&more, "[merge]\n\tdefault = union\n").unwrap();
    assert_eq!(conflicts("what is included is there"), 0);
    std::fs::write(&more, "").unwrap();
    f.git(&f.root, &["config", "--global", "merge.default", "union"]);
    assert_eq!(conflicts("the user says so"), 0);
}

#[test]
fn line_ends_that_are_to_be_normalized() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    let base = |at: &Path| {
        usual(at);
        write(at, ".gitattributes", "* -text\n");
    };
    let crlf = |at: &Path| {
        write(at, "dir/a", text("a", &[1]).replace('\n', "\r\n"));
    };
    let normalized = |at: &Path| {
        write(at, "dir/a", text("a", &[18]));
        write(at, ".gitattributes", "* text=auto\n");
    };
    for renormalize in ["false", "true"] {
        f.git(&at, &["config", "merge.renormalize", renormalize]);
        let (target, tip) = f.sides(&at, &base, &normalized, &crlf);
        f.assert_merges_like_git(&at, target, tip, &format!("into the normalized, {renormalize}"));
        let (target, tip) = f.sides(&at, &base, &crlf, &normalized);
        f.assert_merges_like_git(&at, target, tip, &format!("of the normalized, {renormalize}"));
    }
}
