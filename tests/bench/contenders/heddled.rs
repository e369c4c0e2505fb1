//! The daemon as it is built, in a state directory and on a socket of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::calls::{Grant, Release, Reserve};
use crate::child::Server;
use crate::driver::Driver;

/// The longest time to live that the daemon takes: no session expires while others are measured.
const TTL_MS: u64 = 86_400_000;

/// A running daemon.
pub(crate) struct Heddled {
    directory: PathBuf,
    server: Server,
}

impl Heddled {
    /// Starts one with its state in `directory`, and waits for its first answer.
    pub(crate) fn start(directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_heddled"));
        command.env_clear().envs(environment(directory));
        let server = Server::start(&mut command, &directory.join("heddled.log"))?;
        let mut started = Self { directory: directory.to_owned(), server };
        let socket = started.socket();
        started.server.until_ready(|| call(&socket, "daemon.info", &json!({})).ok())?;
        Ok(started)
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.directory)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Ends it in good order.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.server.stop()
    }

    /// Opens connections to it.
    pub(crate) fn connect(&self, count: usize) -> anyhow::Result<Driver> {
        Driver::connect(&self.socket(), count)
    }

    /// Opens a connection that waits for its answers.
    pub(crate) fn open(&self) -> anyhow::Result<UnixStream> {
        let stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(stream)
    }

    /// One call on a connection of its own.
    pub(crate) fn call(&self, method: &str, params: &Value) -> anyhow::Result<Value> {
        call(&self.socket(), method, params)
    }

    /// Reserves the threads `<prefix><number>`, made where they are missing, 64 at a time and for long.
    pub(crate) fn reserve_all(&self, repo: &Path, prefix: &str, count: usize) -> anyhow::Result<Vec<Grant>> {
        let mut script = Reserve::new(repo, prefix, count).with_ttl(TTL_MS);
        self.connect(count.min(64))?.run(&mut script, None)?;
        Ok(script.grants)
    }

    /// Gives threads back, 64 at a time.
    pub(crate) fn release_all(&self, grants: &[Grant]) -> anyhow::Result<()> {
        let mut script = Release::new(grants);
        self.connect(grants.len().clamp(1, 64))?.run(&mut script, None)?;
        Ok(())
    }
}

/// What the daemon and its clients see as their environment.
pub(crate) fn environment(directory: &Path) -> Vec<(&'static str, std::ffi::OsString)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    vec![
        ("PATH", path),
        ("HOME", directory.into()),
        ("HEDDLE_SOCKET", socket(directory).into()),
        ("HEDDLE_STATE_DIR", directory.join("state").into()),
        ("HEDDLE_NO_AUTOSTART", "1".into()),
        ("GIT_CONFIG_NOSYSTEM", "1".into()),
    ]
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("run").join("heddled.sock")
}

fn call(socket: &Path, method: &str, params: &Value) -> anyhow::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let mut answer: Value = serde_json::from_str(&line).with_context(|| format!("{method} was answered {line:?}"))?;
    match answer.get_mut("result") {
        Some(result) => Ok(result.take()),
        None => bail!("{method} was answered {line}"),
    }
}
