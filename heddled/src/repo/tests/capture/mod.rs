//! Captures of real worktrees, with `git add -A` and `git commit` as the oracle.

pub(super) mod attacks;
mod filters;
pub(super) mod hostile;
mod lfs;
mod refusals;
mod steps;
mod zoo;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use proto_schema::{ObjectId, ThreadName};

use super::fixture::{Fixture, thread};
use crate::repo::{Capture, CaptureRequest, Error, Expected, GitRepo, PreparedCapture, Repo};

pub(super) const LOG: &str = "capture: all of it";

pub(super) static GO_ON: AtomicBool = AtomicBool::new(false);

impl Fixture {
    /// The thread that a worktree is on.
    fn thread_of(&self, worktree: &Path) -> ThreadName {
        thread(&self.git(worktree, &["symbolic-ref", "--short", "HEAD"]))
    }

    /// The private and the common Git directory of a worktree.
    pub(in crate::repo::tests) fn git_dirs(&self, worktree: &Path) -> (PathBuf, PathBuf) {
        let ask = |option| PathBuf::from(self.git(worktree, &["rev-parse", "--path-format=absolute", option]));
        (ask("--git-dir"), ask("--git-common-dir"))
    }

    /// Prepares a capture of a worktree by its thread's holder, who knows the thread's tip.
    fn prepare_with(&self, worktree: &Path, filters: &[String]) -> Result<Capture, Error> {
        let (_, common) = self.git_dirs(worktree);
        let recorded_state = self.id(worktree, "HEAD");
        let thread = self.thread_of(worktree);
        let request = CaptureRequest {
            git_dir: &common,
            worktree,
            thread: &thread,
            recorded_state,
            message: "all of it",
            trailers: &[("Heddle-Session", "agent-x".to_owned())],
            allowed_filters: filters,
            cancelled: &GO_ON,
        };
        self.repo.prepare_capture(&request)
    }

    fn prepare(&self, worktree: &Path) -> Result<Capture, Error> {
        self.prepare_with(worktree, &[])
    }

    /// The steps that follow, as the coordinator takes them.
    fn finish(&self, repo: &GitRepo, worktree: &Path, prepared: &PreparedCapture) {
        let ((_, common), thread) = (self.git_dirs(worktree), self.thread_of(worktree));
        let expected = Expected::At(prepared.parent);
        repo.compare_and_swap(&common, &thread, expected, prepared.new, LOG).unwrap();
        repo.finish_capture(&common, prepared, LOG).unwrap();
    }

    /// Captures what is there; the new commit.
    fn capture(&self, worktree: &Path) -> ObjectId {
        let Capture::Prepared { prepared, .. } = self.prepare(worktree).unwrap() else { panic!("nothing to capture") };
        self.finish(&self.repo, worktree, &prepared);
        prepared.new
    }

    /// Captures, and compares everything with what Git would have done; nothing is left to be committed.
    fn assert_like_git(&self, worktree: &Path, filters: &[String]) {
        self.assert_same_as_git(worktree, filters);
        assert_eq!(self.git(worktree, &["status", "--porcelain"]), "", "Git sees no change");
        assert!(matches!(self.prepare_with(worktree, filters).unwrap(), Capture::Nothing { .. }), "all is captured");
        self.assert_clear(worktree);
    }

    /// Captures, and compares everything with what Git would have done.
    fn assert_same_as_git(&self, worktree: &Path, filters: &[String]) {
        let (private, _) = self.git_dirs(worktree);
        // The oracle works on the index as it was, after the capture: what it stores must not be there before.
        let oracle = self.root.join("oracle-index");
        std::fs::copy(private.join("index"), &oracle).unwrap();
        let time = std::fs::metadata(private.join("index")).unwrap().modified().unwrap();
        std::fs::File::options().write(true).open(&oracle).unwrap().set_modified(time).unwrap();
        let parent = self.id(worktree, "HEAD");
        let prepared = self.prepare_with(worktree, filters).unwrap();
        let Capture::Prepared { prepared, root, changed_paths, changed_count } = prepared else {
            panic!("{}: there was something to capture", worktree.display())
        };
        assert_eq!(self.id(worktree, "HEAD"), parent, "no ref moves before its caller moves it");
        self.finish(&self.repo, worktree, &prepared);

        assert_eq!(self.id(worktree, "HEAD"), prepared.new);
        let status = self.git(worktree, &["status", "--porcelain"]);
        let with_oracle = |arguments: &[&str]| self.with_index(worktree, &oracle, arguments);
        with_oracle(&["add", "-A"]);
        assert_eq!(with_oracle(&["status", "--porcelain"]), status, "the status is as after a commit of Git's");
        assert_eq!(with_oracle(&["write-tree"]), root.to_string(), "the tree is Git's: {}", worktree.display());
        let changed = self.git(worktree, &["diff-tree", "-r", "--name-only", "--no-renames", "HEAD~", "HEAD"]);
        let count = changed.lines().count();
        assert_eq!((changed_count, changed_paths.len()), (count as u64, count.min(100)));
        for log in ["HEAD", &format!("refs/heads/{}", self.thread_of(worktree))] {
            let entry = self.git(worktree, &["reflog", "show", "-1", "--format=%H %gs", log]);
            assert_eq!(entry, format!("{} {LOG}", prepared.new), "the reflog of {log} has it");
        }
        self.assert_sound(worktree);
        self.assert_clear(worktree);
    }

    /// Nothing of a capture is left, in the repository or where it was prepared.
    fn assert_clear(&self, worktree: &Path) {
        let (private, _) = self.git_dirs(worktree);
        for name in ["index.lock", "heddle-index"] {
            assert!(!private.join(name).exists(), "{name} is left");
        }
        assert_eq!(std::fs::read_dir(self.root.join("captures")).unwrap().count(), 0, "the workplace is empty");
    }

    fn with_index(&self, worktree: &Path, index: &Path, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LANG", "C");
        command.env("HOME", self.root.join("home")).env("GIT_INDEX_FILE", index).current_dir(worktree);
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// Writes a file, with the folders above it.
pub(super) fn write(worktree: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = worktree.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}
