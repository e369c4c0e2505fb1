//! A folder with its own home, and Git in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use proto_schema::{ObjectId, ThreadName, Timestamp};
use tempfile::TempDir;

use crate::repo::{Environment, GitRepo};

/// A temporary folder, canonical, removed at the end.
pub(super) struct Fixture {
    _folder: TempDir,
    pub(super) root: PathBuf,
    pub(super) repo: GitRepo,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("home")).unwrap();
        std::fs::write(root.join("home/.gitconfig"), "[user]\n\tname = Ada\n\temail = ada@example.org\n").unwrap();
        let repo = Self::repo_at(&root);
        Self { _folder: folder, root, repo }
    }

    /// A daemon's view that has seen nothing yet.
    pub(super) fn fresh(&self) -> GitRepo {
        Self::repo_at(&self.root)
    }

    fn repo_at(root: &Path) -> GitRepo {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let environment = Environment { path, home: Some(root.join("home")), xdg_config_home: None };
        GitRepo::new(environment, Arc::new(wall_time)).with_workplace(root.join("captures"))
    }

    /// A repository with one commit on `main`.
    pub(super) fn init(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.root.join(name);
        let shown = path.to_str().unwrap();
        self.git(&self.root, &[&["init", "--quiet", "-b", "main"], arguments, &["--", shown]].concat());
        if !arguments.contains(&"--bare") {
            self.commit(&path, "one");
        }
        path
    }

    pub(super) fn commit(&self, worktree: &Path, message: &str) -> ObjectId {
        std::fs::write(worktree.join("file"), message).unwrap();
        self.git(worktree, &["add", "file"]);
        self.git(worktree, &["commit", "--quiet", "-m", message]);
        self.id(worktree, "HEAD")
    }

    pub(super) fn run(&self, at: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new("git");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.root.join("home")).env("LANG", "C").current_dir(at).args(arguments);
        command.output().unwrap()
    }

    /// What Git says; it must succeed.
    pub(super) fn git(&self, at: &Path, arguments: &[&str]) -> String {
        let output = self.run(at, arguments);
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(super) fn id(&self, at: &Path, revision: &str) -> ObjectId {
        self.git(at, &["rev-parse", "--verify", revision]).parse().unwrap()
    }

    /// What Git says of a branch.
    pub(super) fn branch(&self, at: &Path, name: &str) -> Option<ObjectId> {
        let output = self.run(at, &["rev-parse", "--verify", "--quiet", &format!("refs/heads/{name}")]);
        String::from_utf8(output.stdout).unwrap().trim().parse().ok()
    }

    pub(super) fn assert_sound(&self, at: &Path) {
        let output = self.run(at, &["fsck", "--strict", "--no-progress"]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !stderr.contains("error"), "git fsck: {stderr}");
    }
}

/// The real time: HEAD is remembered only once its own time is past.
#[expect(clippy::disallowed_methods, reason = "tests stand for the edge that passes the time in")]
pub(super) fn wall_time() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_unix_ms(i64::try_from(since.as_millis()).unwrap())
}

pub(super) fn thread(name: &str) -> ThreadName {
    name.parse().unwrap()
}
