//! A world of one test: its own home, runtime directory and worktree, and a cleared environment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::fake::Fake;

/// The world.
pub(crate) struct World {
    root: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new().prefix("hc").tempdir().expect("a directory");
        for name in ["home", "run", "run/heddle", "state", "app", "app/.git", "app/src"] {
            fs::create_dir(root.path().join(name)).expect("made");
        }
        fs::set_permissions(root.path().join("run/heddle"), fs::Permissions::from_mode(0o700)).expect("mode");
        fs::write(root.path().join("app/.git/HEAD"), "ref: refs/heads/main\n").expect("written");
        Self { root }
    }

    /// With a stand-in for the daemon.
    pub(crate) fn with_daemon() -> (Self, Fake) {
        let world = Self::new();
        let fake = Fake::listen(&world.socket());
        (world, fake)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.root.path()).expect("real").join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/heddle/heddled.sock")
    }

    /// heddlectl with these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heddlectl"));
        command.args(arguments).env_clear().current_dir(self.path("app")).stdin(Stdio::null());
        command.env("HOME", self.path("home")).env("PATH", "/usr/bin:/bin");
        command.env("XDG_RUNTIME_DIR", self.path("run")).env("HEDDLE_STATE_DIR", self.path("state"));
        command.env("HEDDLE_NO_AUTOSTART", "1");
        command
    }

    /// Runs heddlectl and gives what it said.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.say(&mut self.command(arguments))
    }

    pub(crate) fn say(&self, command: &mut Command) -> Said {
        let output: Output = command.output().expect("heddlectl runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*self.path("").to_string_lossy(), "$ROOT/");
        Said { stdout: text(&output.stdout), stderr: text(&output.stderr), code: output.status.code() }
    }
}

/// What a command said, and how it ended.
#[must_use]
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        write!(f, "{}{}[exit {code}]", self.stdout, indent(&self.stderr))
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("! {line}\n")).collect()
}

/// Waits until something is so; fails when it does not come to be in ten seconds.
#[expect(clippy::disallowed_methods, reason = "a test waits for a condition of another process")]
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < deadline, "it did not come to be: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Reads a file that may not be there yet.
pub(crate) fn text_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
