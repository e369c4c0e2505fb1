//! The real daemon, and a connection to it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::{Value, json};

/// How long anything may take before it counts as hanging.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running daemon; it is killed when this is dropped.
pub(crate) struct Daemon {
    child: Child,
    lines: Receiver<String>,
    pub(crate) socket: PathBuf,
}

impl Daemon {
    /// Starts one and waits until it serves. With `ahead` its wall clock is an hour ahead of the kernel's, which is that of
    /// files: so it is after the clock was set forward.
    pub(crate) fn start(state_dir: &Path, outside: &Path, ahead: bool) -> Self {
        let socket = outside.join("run/heddled.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_heddled"));
        command.env_clear();
        if ahead {
            command.env("LD_PRELOAD", clock_ahead(outside));
        }
        let mut child = command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", outside)
            .arg("--state-dir")
            .arg(state_dir)
            .arg("--socket")
            .arg(&socket)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let daemon = Self { child, lines, socket };
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.contains("serving")) {
            match daemon.lines.recv_timeout(DEADLINE) {
                Ok(line) => said.push(line),
                Err(error) => panic!("the daemon does not serve ({error}):\n{}", said.join("\n")),
            }
        }
        daemon
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::new(&self.socket).unwrap()
    }

    /// Kills it, without a chance to do anything, and gives what it had logged.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A library that sets the wall clock of a process an hour ahead.
fn clock_ahead(outside: &Path) -> PathBuf {
    const SOURCE: &str = "#define _GNU_SOURCE\n#include <time.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n\
        int clock_gettime(clockid_t clock, struct timespec *at) {\n\
        int failed = (int)syscall(SYS_clock_gettime, clock, at);\n\
        if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += 3600;\n\
        return failed;\n}\n";
    let (source, library) = (outside.join("ahead.c"), outside.join("ahead.so"));
    if !library.exists() {
        std::fs::write(&source, SOURCE).unwrap();
        let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
        assert!(made.success(), "cc makes no library");
    }
    library
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The daemon said no, or that it does not know: `error.data`.
    Refused(Value),
    /// The daemon is gone.
    Gone,
}

impl Failed {
    pub(crate) fn kind(&self) -> &str {
        match self {
            Self::Refused(data) => data["kind"].as_str().unwrap_or_default(),
            Self::Gone => "gone",
        }
    }
}

/// One connection, one call at a time.
pub(crate) struct Connection {
    stream: BufReader<UnixStream>,
    last: u64,
}

impl Connection {
    pub(crate) fn new(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Self { stream: BufReader::new(stream), last: 0 })
    }

    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Result<Value, Failed> {
        self.last += 1;
        let call = json!({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params});
        let mut line = format!("{call}\n");
        let read = self.stream.get_mut().write_all(line.as_bytes()).and_then(|()| {
            line.clear();
            self.stream.read_line(&mut line)
        });
        match read {
            // An answer that was cut off is no answer.
            Ok(_) if !line.ends_with('\n') => Err(Failed::Gone),
            Ok(_) => {
                let mut answer: Value = serde_json::from_str(&line).unwrap();
                assert_eq!(answer["id"], self.last, "{line}");
                match answer.get_mut("error") {
                    Some(error) => Err(Failed::Refused(error["data"].take())),
                    None => Ok(answer["result"].take()),
                }
            }
            Err(_) => Err(Failed::Gone),
        }
    }
}
