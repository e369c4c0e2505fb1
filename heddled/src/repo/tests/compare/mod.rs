//! How threads stand to their targets, with `git rev-list`, `git merge-base`, `git diff-tree` and `git merge-tree` as the
//! oracles.

mod attacks;
mod attributes;
mod history;
mod merged;
mod random;
mod zoo;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use proto_schema::ObjectId;

use super::fixture::Fixture;
use crate::repo::opened::shown_bytes;
use crate::repo::{Conflicts, Error, MergeRequest, Repo as _};

static GO_ON: AtomicBool = AtomicBool::new(false);

/// What somebody does to a worktree.
type Step<'a> = &'a dyn Fn(&Path);

impl Fixture {
    /// What the daemon says of a merge.
    fn conflicts(&self, at: &Path, target: ObjectId, tip: ObjectId) -> Result<Conflicts, Error> {
        let git_dir = self.git_dir(at);
        self.repo.conflicts(&MergeRequest { git_dir: &git_dir, target, tip, cancelled: &GO_ON })
    }

    fn git_dir(&self, at: &Path) -> PathBuf {
        PathBuf::from(self.git(at, &["rev-parse", "--path-format=absolute", "--git-common-dir"]))
    }

    /// Commits all that is in a worktree on top of a commit, on a detached HEAD.
    fn commit_step(&self, at: &Path, parent: &str, step: Step<'_>) -> ObjectId {
        self.git(at, &["checkout", "--quiet", "--force", "--detach", parent]);
        self.git(at, &["clean", "-qffdx"]);
        step(at);
        self.git(at, &["add", "-A"]);
        self.git(at, &["commit", "--quiet", "--allow-empty", "-m", "step"]);
        self.id(at, "HEAD")
    }

    /// Two commits with one parent, which the first step makes; the target is checked out.
    fn sides(&self, at: &Path, base: Step<'_>, target: Step<'_>, tip: Step<'_>) -> (ObjectId, ObjectId) {
        let base = self.commit_step(at, "main", base).to_string();
        let (tip, target) = (self.commit_step(at, &base, tip), self.commit_step(at, &base, target));
        (target, tip)
    }

    /// Where a merge conflicts for Git in this worktree, [`NAMELESS`] where it does not say so; `None` where it refuses or
    /// crashes.
    fn merge_oracle(&self, at: &Path, target: ObjectId, tip: ObjectId) -> Option<Vec<String>> {
        let (target, tip) = (target.to_string(), tip.to_string());
        let output = self.run(at, &["merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", &target, &tip]);
        let code = output.status.code().filter(|code| matches!(code, 0 | 1))?;
        let paths = output.stdout.split(|byte| *byte == 0).skip(1).filter(|path| !path.is_empty());
        Some(conflicting(code == 0, paths.map(|path| shown_bytes(path).to_string()).collect()))
    }

    /// Compares what the daemon says with what Git says in this worktree; gives it.
    #[track_caller]
    fn assert_merges_like_git(&self, at: &Path, target: ObjectId, tip: ObjectId, what: &str) -> Vec<String> {
        let expected = self.merge_oracle(at, target, tip).unwrap();
        let found = self.conflicts(at, target, tip).unwrap();
        assert_agree(&found, &expected, what);
        let places = std::fs::read_dir(self.root.join("captures")).map_or(0, Iterator::count);
        assert_eq!(places, 0, "the workplace is empty: {what}");
        expected
    }
}

/// What stands for a conflict that Git finds without naming a path: it does not know where a folder was moved.
const NAMELESS: &str = "?";

fn conflicting(is_clean: bool, mut paths: Vec<String>) -> Vec<String> {
    if !is_clean && paths.is_empty() {
        paths.push(NAMELESS.to_owned());
    }
    assert_eq!(is_clean, paths.is_empty());
    paths
}

#[track_caller]
fn assert_agree(found: &Conflicts, expected: &[String], what: &str) {
    assert_eq!(found.count, found.paths.len() as u64, "{what}");
    if expected == [NAMELESS] {
        assert!(found.count > 0, "{what}");
    } else {
        assert_eq!(found.paths.iter().map(|path| &**path).collect::<Vec<_>>(), expected, "{what}");
    }
}

/// A text of some lines, of which some are other than usual.
fn text(seed: &str, changed: &[usize]) -> String {
    let line = |number| {
        if changed.contains(&number) { format!("{seed} other {number}\n") } else { format!("{seed} {number}\n") }
    };
    (0..20).map(line).collect()
}

fn remove(at: &Path, path: &str) {
    std::fs::remove_file(at.join(path)).unwrap();
}

/// Renames, with the folders above.
fn rename(at: &Path, from: &str, to: &str) {
    std::fs::create_dir_all(at.join(to).parent().unwrap()).unwrap();
    std::fs::rename(at.join(from), at.join(to)).unwrap();
}

fn executable(at: &Path, path: &str) {
    std::fs::set_permissions(at.join(path), std::fs::Permissions::from_mode(0o755)).unwrap();
}
