//! Repositories, made by `git`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A repository with one commit on `main`.
#[derive(Clone)]
pub(crate) struct Repo {
    pub(crate) path: PathBuf,
    home: PathBuf,
}

impl Repo {
    pub(crate) fn new(root: &Path, name: &str) -> Self {
        let repo = Self { path: root.join(name), home: root.join("home") };
        std::fs::create_dir(&repo.path).unwrap();
        repo.git(&["init", "--quiet", "-b", "main"]);
        repo.commit("one");
        repo
    }

    /// The same repository from one of its worktrees.
    pub(crate) fn seen_from(&self, worktree: &str) -> Self {
        Self { path: PathBuf::from(worktree), home: self.home.clone() }
    }

    pub(crate) fn at(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Runs Git there and gives what it printed.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Runs Git there and tells whether it succeeded.
    pub(crate) fn run(&self, arguments: &[&str]) -> bool {
        self.command(arguments).output().unwrap().status.success()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "gc.auto=0"])
            .args(arguments)
            .current_dir(&self.path);
        command
    }

    /// Commits onto the branch that is checked out.
    pub(crate) fn commit(&self, message: &str) -> String {
        std::fs::write(self.path.join("file"), message).unwrap();
        self.git(&["add", "file"]);
        self.git(&["commit", "--quiet", "-m", message]);
        self.id("HEAD")
    }

    /// Makes a commit with this parent that no branch has.
    pub(crate) fn loose_commit(&self, parent: &str, message: &str) -> String {
        let tree = self.git(&["rev-parse", &format!("{parent}^{{tree}}")]);
        self.git(&["commit-tree", "-p", parent, "-m", message, &tree])
    }

    pub(crate) fn id(&self, revision: &str) -> String {
        self.git(&["rev-parse", "--verify", revision])
    }

    /// The locks of branches that somebody holds, or left behind.
    pub(crate) fn locks(&self) -> Vec<PathBuf> {
        fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    collect(&path, found);
                } else if path.extension().is_some_and(|extension| extension == "lock") {
                    found.push(path);
                }
            }
        }
        let mut found = Vec::new();
        collect(&self.path.join(".git/refs/heads"), &mut found);
        found
    }

    /// Every branch and where it is.
    pub(crate) fn branches(&self) -> HashMap<String, String> {
        let listed = self.git(&["for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads/"]);
        let parse = |line: &str| line.split_once(' ').map(|(name, id)| (name.to_owned(), id.to_owned()));
        listed.lines().filter_map(parse).collect()
    }
}
