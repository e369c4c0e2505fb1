//! The real daemon, in a place of its own.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{Client, Repo, eventually, ledger, process};

/// A directory with everything that a daemon has: home, state, socket, log, configuration.
pub(crate) struct Place {
    directory: TempDir,
    pub(crate) root: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("hd").tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        for name in ["home", "tmp"] {
            std::fs::DirBuilder::new().mode(0o700).create(root.join(name)).unwrap();
        }
        Self { directory, root }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("heddle/d.sock")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Everything that was logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.root.join("log")).unwrap_or_default()).into_owned()
    }

    pub(crate) fn configure(&self, toml: &str) {
        let directory = self.root.join("home/.config/heddle");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("heddled.toml"), toml).unwrap();
    }

    /// The daemon, ready to be started.
    pub(crate) fn command(&self) -> Command {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.root.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_heddled"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root.join("home"))
            .env("TMPDIR", self.root.join("tmp"))
            .env("HEDDLE_SOCKET", self.socket())
            .env("HEDDLE_STATE_DIR", self.state())
            .env("HEDDLE_LOG", "heddled=debug,info")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        process::with_default_signals(&mut command);
        command
    }

    pub(crate) fn repo(&self, name: &str) -> Repo {
        Repo::new(&self.root, name)
    }

    /// Starts the daemon and waits until it answers.
    #[track_caller]
    pub(crate) fn start(&self) -> Daemon<'_> {
        let mut daemon = self.launch(&mut self.command());
        daemon.wait_until_it_answers();
        daemon
    }

    pub(crate) fn launch(&self, command: &mut Command) -> Daemon<'_> {
        Daemon { place: self, child: command.spawn().unwrap() }
    }

    /// Runs the daemon when it is not expected to serve: its exit code and what it said.
    pub(crate) fn run(&self, command: &mut Command) -> (Option<i32>, String) {
        let output = process::run(command);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        ledger::search(&self.root);
    }
}

/// A running daemon; killed by its own handle and waited for when this is dropped.
pub(crate) struct Daemon<'a> {
    pub(crate) place: &'a Place,
    child: Child,
}

impl Daemon<'_> {
    #[track_caller]
    fn wait_until_it_answers(&mut self) {
        let socket = self.place.socket();
        let pid = self.child.id();
        eventually("the daemon answers", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the daemon ended: {status}\n{}", self.place.log());
            }
            let mut client = Client::try_connect(&socket).ok()?;
            let info = client.try_call("daemon.info", &serde_json::json!({})).ok()?.unwrap();
            (info["pid"] == pid).then_some(())
        });
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.place.socket())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.place.socket()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// kill -9, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        process::wait(&mut self.child);
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        eventually("the daemon ends", || self.child.try_wait().unwrap())
    }

    /// Stops it in order.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.ended();
        assert!(status.success(), "{status}\n{}", self.place.log());
    }

    /// Starts it again after it was killed or stopped.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.child = self.place.command().spawn().unwrap();
        self.wait_until_it_answers();
    }

    /// Its resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(Path::new("/proc").join(self.pid().to_string()).join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            let log = self.place.log();
            let from = log.len().saturating_sub(4000);
            eprintln!("--- the end of the daemon's log ---\n{}", log.get(from..).unwrap_or(&log));
        }
    }
}
