//! Other processes: ones that hold sessions, and this test binary in another role.

use std::io::{BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process;

const ROLE: &str = "HEDDLED_TEST_ROLE";

/// A child process; it is killed and waited for when this is dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
}

impl Process {
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Signals it. Its pid is its own until this is dropped, for nobody else waits for it.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// kill -9, without waiting: it stays a zombie.
    pub(crate) fn kill_only(&mut self) {
        self.signal(Signal::SIGKILL);
    }

    pub(crate) fn kill_and_wait(&mut self) {
        self.child.kill().unwrap();
        process::wait(&mut self.child);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A process that does nothing but live.
pub(crate) struct Holder;

impl Holder {
    pub(crate) fn start() -> Process {
        let child = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Process { child }
    }
}

/// The role that this process was started in.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// This test binary in a role: it speaks lines.
pub(crate) struct Actor {
    pub(crate) process: Process,
    pub(crate) input: Option<ChildStdin>,
    pub(crate) output: BufReader<ChildStdout>,
}

impl Actor {
    /// Starts this binary again so that it runs `test` alone, which looks at its [`role`].
    pub(crate) fn start(test: &str, role: &str, socket: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env("HEDDLE_SOCKET", socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { input: child.stdin.take(), process: Process { child }, output }
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The rest of the next line that has `mark` in it, after the mark. The test harness says things of its own.
    pub(crate) fn hear(&mut self, mark: &str) -> String {
        loop {
            let line = process::read_line(&mut self.output);
            assert!(!line.is_empty(), "the helper ended before it said {mark}");
            if let Some((_, rest)) = line.split_once(mark) {
                return rest.trim_end().to_owned();
            }
        }
    }
}

/// What an actor says; in one piece, for a line of another must not come between.
pub(crate) fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(format!("{text}\n").as_bytes()).unwrap();
    stdout.flush().unwrap();
}
