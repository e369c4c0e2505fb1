//! What a worktree has, with `git status` as the oracle; it is left as it was, to the last byte of its index.

mod attacks;
mod filters;
mod zoo;

use std::path::Path;

use super::capture::GO_ON;
use super::fixture::Fixture;
use crate::repo::{Error, Repo as _, StatusRequest, WorktreeStatus, shown};

/// What Git tells in its oldest format, which the code under test does not read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Oracle {
    changed: std::collections::BTreeSet<Vec<u8>>,
    conflicted: std::collections::BTreeSet<Vec<u8>>,
    ignored: u64,
}

impl Fixture {
    fn look(&self, worktree: &Path, ignored: bool, filters: &[String]) -> Result<WorktreeStatus, Error> {
        let (_, git_dir) = self.git_dirs(worktree);
        let request =
            StatusRequest { git_dir: &git_dir, worktree, ignored, allowed_filters: filters, cancelled: &GO_ON };
        self.repo.status(&request)
    }

    fn oracle(&self, worktree: &Path) -> Oracle {
        let arguments = ["--no-optional-locks", "status", "--porcelain=v1", "-z", "--no-renames", "-uall"];
        let rest = ["--ignored=matching", "--ignore-submodules=dirty"];
        let output = self.run(worktree, &[&arguments[..], &rest].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut oracle = Oracle::default();
        for entry in output.stdout.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
            let (code, path) = (&entry[..2], entry[3..].to_vec());
            if code == b"!!" {
                oracle.ignored += 1;
                continue;
            }
            if matches!(code, b"DD" | b"AU" | b"UD" | b"UA" | b"DU" | b"AA" | b"UU") {
                oracle.conflicted.insert(path.clone());
            }
            oracle.changed.insert(path);
        }
        oracle
    }

    /// Looks at a worktree, compares all with what Git tells, and shows that nothing was touched.
    fn assert_status(&self, worktree: &Path, filters: &[String]) -> WorktreeStatus {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;
        let (private, _) = self.git_dirs(worktree);
        let files = || -> Vec<_> {
            let mut files: Vec<_> = std::fs::read_dir(&private).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            let version = |path: &std::path::PathBuf| {
                let data = std::fs::symlink_metadata(path).unwrap();
                (std::os::unix::fs::MetadataExt::ino(&data), data.modified().unwrap(), data.len())
            };
            files.iter().map(|path| (path.clone(), version(path))).collect()
        };
        let before = files();
        let status = self.look(worktree, true, filters).unwrap();
        assert_eq!(files(), before, "the Git directory is as it was");
        assert_eq!(std::fs::read_dir(self.root.join("captures")).unwrap().count(), 0, "the workplace is empty");

        let oracle = self.oracle(worktree);
        let wire = |path: &Vec<u8>| shown(Path::new(OsStr::from_bytes(path)));
        let paths: Vec<_> = oracle.changed.iter().take(1000).map(wire).collect();
        assert_eq!(status.changed_paths, paths);
        assert_eq!((status.changed_count, status.ignored_count), (oracle.changed.len() as u64, oracle.ignored));
        let conflicted: Vec<_> = oracle.conflicted.iter().map(|path| OsStr::from_bytes(path)).collect();
        assert_eq!(status.conflicted, conflicted);
        assert_eq!(status.is_dirty(), !oracle.changed.is_empty());
        let branch = self.run(worktree, &["symbolic-ref", "--short", "-q", "HEAD"]).stdout;
        assert_eq!(status.branch.clone().unwrap_or_default(), String::from_utf8(branch).unwrap().trim());
        let head = self.run(worktree, &["rev-parse", "--verify", "-q", "HEAD"]).stdout;
        assert_eq!(status.head, String::from_utf8(head).unwrap().trim().parse().ok());
        let plain = self.look(worktree, false, filters).unwrap();
        assert_eq!(plain, WorktreeStatus { ignored_count: 0, ..status.clone() }, "ignored files are not asked for");
        status
    }

    /// As many paths as are said differ, as Git tells, too.
    fn assert_changed(&self, worktree: &Path, count: u64) -> WorktreeStatus {
        let status = self.assert_status(worktree, &[]);
        assert_eq!(status.changed_count, count, "{:?}", status.changed_paths);
        status
    }
}
