//! `--version` names the commit that was built, or none: never one that it is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{HEDDLED, heddlectl};

/// A workspace with one small package that has the build script of ours, and prints what it made.
struct Probe {
    root: tempfile::TempDir,
}

impl Probe {
    fn new() -> Self {
        let probe = Self { root: tempfile::tempdir().expect("a directory") };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
        fs::create_dir_all(probe.path("repo/probe/src")).expect("made");
        fs::copy(script, probe.path("repo/probe/build.rs")).expect("copied");
        probe.write("repo/Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"probe\"]\n");
        probe.write(
            "repo/probe/Cargo.toml",
            "[package]\nname = \"probe\"\nversion = \"0.3.0\"\nedition = \"2024\"\n\n[profile.release]\nopt-level = 0\n",
        );
        probe.write("repo/probe/src/main.rs", "fn main() {\n    println!(\"{}\", env!(\"HEDDLE_VERSION\"));\n}\n");
        probe.write("repo/.gitignore", "Cargo.lock\n");
        probe
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// Builds what is in this folder, and gives what it prints, and whether anything was compiled for it.
    fn build(&self, folder: &str, profile: &str, commit: Option<&str>) -> (String, bool) {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--offline", "--profile", profile]).current_dir(self.path(folder));
        cargo.env("CARGO_TARGET_DIR", self.path("target").join(folder));
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "RUSTFLAGS", "HEDDLE_BUILD_COMMIT"] {
            cargo.env_remove(name);
        }
        let built = cargo.envs(commit.map(|commit| ("HEDDLE_BUILD_COMMIT", commit))).output().expect("cargo runs");
        let said = String::from_utf8_lossy(&built.stderr).into_owned();
        assert!(built.status.success(), "{said}");
        let program = self.path("target").join(folder).join(profile.replace("dev", "debug")).join("probe");
        let printed = Command::new(program).output().expect("it runs");
        (String::from_utf8_lossy(&printed.stdout).trim_end().to_owned(), said.contains("Compiling"))
    }

    fn release(&self, folder: &str) -> String {
        self.build(folder, "release", None).0
    }

    fn git(&self, folder: &str, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=A", "-c", "user.email=a@example.com"]).args(arguments);
        git.env("GIT_COMMITTER_DATE", "2026-11-28T12:00:00Z").env("GIT_CONFIG_GLOBAL", "/dev/null");
        let said = git.current_dir(self.path(folder)).output().expect("git runs");
        assert!(said.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8_lossy(&said.stdout).trim_end().to_owned()
    }

    fn commit(&self, folder: &str) -> String {
        self.git(folder, &["add", "."]);
        self.git(folder, &["commit", "--quiet", "--allow-empty", "--message=Go on"]);
        format!("0.3.0 ({} 2026-11-28)", self.git(folder, &["rev-parse", "--short=9", "HEAD"]))
    }
}

#[test]
fn a_release_build_says_its_commit_and_is_built_anew_only_when_that_changes() {
    let probe = Probe::new();
    probe.git("", &["init", "--quiet", "--initial-branch=main", "repo"]);
    let first = probe.commit("repo");
    assert_eq!(probe.build("repo", "release", None), (first.clone(), true));
    assert_eq!(probe.build("repo", "release", None), (first.clone(), false), "nothing has changed");
    probe.git("repo", &["branch", "other"]);
    assert_eq!(probe.build("repo", "release", None), (first.clone(), false), "another branch is none of ours");
    let second = probe.commit("repo");
    assert_ne!(first, second);
    assert_eq!(probe.build("repo", "release", None), (second.clone(), true), "a commit was made");
    probe.git("repo", &["pack-refs", "--all"]);
    assert_eq!(probe.release("repo"), second);
    let third = probe.commit("repo");
    assert_eq!(probe.release("repo"), third, "a commit was made on a branch that was packed");

    let main = fs::read_to_string(probe.path("repo/probe/src/main.rs")).expect("there");
    probe.write("repo/probe/src/main.rs", &format!("{main}\n// More.\n"));
    assert_eq!(probe.release("repo"), third.replace(')', ", changed)"), "it is not what that commit has");
    probe.write("repo/probe/src/main.rs", &main);
    assert_eq!(probe.release("repo"), third);

    probe.git("repo", &["worktree", "add", "--quiet", "--detach", "../linked", "HEAD~1"]);
    assert_eq!(probe.build("linked", "release", None), (second.clone(), true));
    assert_eq!(probe.build("linked", "release", None), (second, false), "a worktree's HEAD is looked at where it is");
    let fourth = probe.commit("linked");
    assert_eq!(probe.release("linked"), fourth);
}

#[test]
fn what_was_packed_says_what_the_packer_knew_and_nothing_of_the_repository_around_it() {
    let probe = Probe::new();
    assert_eq!(probe.release("repo"), "0.3.0", "an archive knows no commit");
    probe.git("", &["init", "--quiet", "--initial-branch=main"]);
    probe.write("theirs", "of the repository around it");
    probe.git("", &["add", "theirs"]);
    probe.git("", &["commit", "--quiet", "--message=Theirs"]);
    probe.write("repo/probe/build.rs", &(fs::read_to_string(probe.path("repo/probe/build.rs")).expect("there") + "\n"));
    assert_eq!(probe.release("repo"), "0.3.0", "the repository around it is another's");
    let id = "8c930401d94d5ff04e1d6e2e4a4b5b2c2cf2b3a1";
    probe.write("repo/probe/.cargo_vcs_info.json", &format!("{{\n  \"git\": {{\n    \"sha1\": \"{id}\"\n  }}\n}}"));
    probe.write("repo/probe/build.rs", &(fs::read_to_string(probe.path("repo/probe/build.rs")).expect("there") + "\n"));
    assert_eq!(probe.release("repo"), "0.3.0 (8c930401d)");
    let named = probe.build("repo", "release", Some("abc123def 2026-11-28")).0;
    assert_eq!(named, "0.3.0 (abc123def 2026-11-28)", "who builds knows best");
}

#[test]
fn a_debug_build_is_not_built_anew_after_each_commit() {
    let probe = Probe::new();
    probe.git("", &["init", "--quiet", "--initial-branch=main", "repo"]);
    probe.commit("repo");
    assert_eq!(probe.build("repo", "dev", None), ("0.3.0".to_owned(), true));
    probe.commit("repo");
    assert_eq!(probe.build("repo", "dev", None), ("0.3.0".to_owned(), false));
}

#[test]
fn both_programs_say_the_same_version() {
    let version = |program: &Path| {
        let said = Command::new(program).arg("--version").output().expect("it runs");
        String::from_utf8_lossy(&said.stdout).trim_end().split_once(' ').expect("a name").1.to_owned()
    };
    let (daemon, command_line) = (version(Path::new(HEDDLED)), version(&heddlectl()));
    assert_eq!(daemon, command_line);
    assert!(daemon.starts_with(env!("CARGO_PKG_VERSION")) && !daemon.contains('/'), "{daemon}");
}
