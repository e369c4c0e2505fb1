//! The repository on the disk, read by Git itself.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A repository with one worktree.
#[derive(Debug)]
pub(crate) struct Repository {
    pub(crate) path: PathBuf,
    /// Commits to move branches to.
    pub(crate) commits: Vec<String>,
}

impl Repository {
    /// Makes one with that many commits, and branches of these names at the first of them; every second one is packed.
    pub(crate) fn create(path: PathBuf, commits: usize, branches: &[String]) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let mut repository = Self { path, commits: Vec::new() };
        repository.git(&["init", "--quiet", "--initial-branch=main"], "");
        let mut stream = String::new();
        for number in 1..=commits {
            let file = format!("M 100644 inline file\ndata <<END\n{number}\nEND\n");
            let who = format!("committer T <t@example.org> {number} +0000\ndata <<END\n{number}\nEND\n");
            stream.push_str(&["commit refs/heads/main\nmark :", &number.to_string(), "\n", &who, &file, "\n"].concat());
        }
        repository.git(&["fast-import", "--quiet"], &stream);
        repository.commits =
            repository.git(&["rev-list", "--reverse", "main"], "").lines().map(str::to_owned).collect();
        let (packed, loose) = branches.split_at(branches.len() / 2);
        repository.branch(packed);
        repository.git(&["pack-refs", "--all"], "");
        repository.branch(loose);
        repository
    }

    fn branch(&self, names: &[String]) {
        let lines = names.iter().map(|name| format!("create refs/heads/{name} {}\n", self.commits[0]));
        self.git(&["update-ref", "--stdin"], &lines.collect::<String>());
    }

    /// Makes a commit with a tree and a file of its own, on top of another, and syncs none of it, whatever Git would do by
    /// default. None when Git could not, as after a power cut.
    pub(crate) fn unsynced(&self, parent: &str, content: &str) -> Option<String> {
        let made = |arguments: &[&str], input: &str| {
            let output = self.run(&[&["-c", "core.fsync=none"], arguments].concat(), input);
            let id = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
            Some(id.trim().to_owned()).filter(|id| id.len() == 40)
        };
        let file = made(&["hash-object", "-w", "--stdin"], content)?;
        let tree = made(&["mktree"], &format!("100644 blob {file}\tfile\n"))?;
        let who = ["-c", "user.name=T", "-c", "user.email=t@example.org"];
        made(&[&who[..], &["commit-tree", "-p", parent, "-m", content, &tree]].concat(), "")
    }

    /// Reads everything that a commit leads to, or with `--branches` every branch. What no branch leads to may be broken:
    /// nobody was told of it.
    pub(crate) fn read_all(&self, from: &str) -> Result<usize, String> {
        let listed = self.run(&["rev-list", "--objects", "--no-object-names", from], "");
        let ids = String::from_utf8_lossy(&listed.stdout).into_owned();
        let read = self.run(&["cat-file", "--batch-check"], &ids);
        let content = self.run(&["cat-file", "--batch"], &ids);
        let failed =
            [&listed, &read, &content].into_iter().find(|output| !output.status.success() || !output.stderr.is_empty());
        if let Some(failed) = failed {
            return Err(String::from_utf8_lossy(&failed.stderr).into_owned());
        }
        let kinds = String::from_utf8_lossy(&read.stdout).into_owned();
        match kinds.lines().find(|line| line.ends_with(" missing")) {
            Some(missing) => Err(missing.to_owned()),
            None => Ok(kinds.lines().count()),
        }
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new("git")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .current_dir(&self.path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Beside the reading of the output, of which there may be more than a pipe holds. A program that failed reads none.
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input.as_bytes()).ok());
            child.wait_with_output().unwrap()
        })
    }

    /// Runs Git, which must succeed and have nothing to complain about.
    pub(crate) fn git(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && complaint.is_empty(), "git {}: {complaint}", arguments.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Every branch and where it is; each of them must be a commit that can be read.
    pub(crate) fn branches(&self) -> HashMap<String, String> {
        let listed = self.git(&["for-each-ref", "--format=%(objecttype) %(objectname) %(refname)"], "");
        let branch = |line: &str| {
            let [kind, id, name] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            assert_eq!(kind, "commit", "{line}");
            (name.strip_prefix("refs/heads/").unwrap().to_owned(), id.to_owned())
        };
        listed.lines().map(branch).collect()
    }

    /// The new values in a branch's reflog, oldest first; none without a log.
    pub(crate) fn logged(&self, branch: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.path.join(".git/logs/refs/heads").join(branch)).unwrap_or_default();
        log.lines().filter_map(|line| line.split(' ').nth(1)).map(str::to_owned).collect()
    }

    /// The files below `refs/heads`: their names and contents.
    pub(crate) fn loose(&self) -> Vec<(String, Vec<u8>)> {
        let heads = self.path.join(".git/refs/heads");
        let mut found = Vec::new();
        walk(&heads, &heads, &mut found);
        found
    }
}

fn walk(top: &Path, directory: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(top, &path, found);
        } else {
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
}
