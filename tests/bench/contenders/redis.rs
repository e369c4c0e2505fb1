//! Redis on a Unix socket with an append-only file: reserve is `SET NX PX`, release and heartbeat are short scripts.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, ensure};

use crate::child::Server;
use crate::driver::Driver;
use crate::report::Report;
use crate::script::Script;

const DELETE_IF_MINE: &str =
    "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end";
const EXTEND_IF_MINE: &str =
    "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('pexpire',KEYS[1],ARGV[2]) else return 0 end";
const TTL_MS: &str = "300000";

/// When Redis makes its file durable.
#[derive(Clone, Copy)]
pub(crate) enum Fsync {
    /// Before it answers.
    Always,
    /// Once a second.
    EverySecond,
}

impl Fsync {
    fn setting(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::EverySecond => "everysec",
        }
    }
}

/// A running redis-server.
pub(crate) struct Redis {
    socket: PathBuf,
    delete: String,
    extend: String,
    _server: Server,
}

impl Redis {
    /// Starts one in `directory`, or notes how to install it where it is missing.
    pub(crate) fn start(directory: &Path, fsync: Fsync, report: &mut Report) -> anyhow::Result<Option<Self>> {
        if Command::new("redis-server").arg("--version").output().is_err() {
            report.note(
                "peer missing: redis-server. Debian and Ubuntu: apt-get install redis-server. Its rows have no figures.",
            );
            return Ok(None);
        }
        std::fs::create_dir_all(directory)?;
        let socket = directory.join("redis.sock");
        let mut command = Command::new("redis-server");
        // No snapshots and no rewriting of the log: nothing runs beside what is measured.
        command.args(["--port", "0", "--save", "", "--auto-aof-rewrite-percentage", "0"]);
        command.args(["--appendonly", "yes", "--appendfsync", fsync.setting(), "--maxclients", "4000"]);
        command.arg("--unixsocket").arg(&socket).arg("--dir").arg(directory);
        let mut server = Server::start(&mut command, &directory.join("redis.log"))?;
        server.until_ready(|| call(&socket, &["PING"]).ok())?;
        let delete = loaded(&socket, DELETE_IF_MINE)?;
        let extend = loaded(&socket, EXTEND_IF_MINE)?;
        Ok(Some(Self { socket, delete, extend, _server: server }))
    }

    /// Opens connections to it.
    pub(crate) fn connect(&self, count: usize) -> anyhow::Result<Driver> {
        Driver::connect(&self.socket, count)
    }

    /// Reserve and release, each connection its own key.
    pub(crate) fn cycle(&self, connections: usize) -> Cycle {
        let both = |number: usize| {
            let (key, value) = (format!("heddle:cycle:{number}"), secret(number));
            let set = command(&["SET", &key, &value, "NX", "PX", TTL_MS]);
            (set, command(&["EVALSHA", &self.delete, "1", &key, &value]))
        };
        Cycle { requests: (0..connections).map(both).collect(), held: vec![false; connections] }
    }

    /// Heartbeats, each connection its own key, which this reserves.
    pub(crate) fn heartbeat(&self, connections: usize) -> anyhow::Result<Heartbeat> {
        let mut requests = Vec::new();
        for number in 0..connections {
            let (key, value) = (format!("heddle:beat:{number}"), secret(number));
            call(&self.socket, &["SET", &key, &value, "PX", TTL_MS])?;
            requests.push(command(&["EVALSHA", &self.extend, "1", &key, &value, TTL_MS]));
        }
        Ok(Heartbeat { requests })
    }
}

/// `SET k v NX PX`, then compare-and-delete.
pub(crate) struct Cycle {
    requests: Vec<(Vec<u8>, Vec<u8>)>,
    held: Vec<bool>,
}

impl Script for Cycle {
    fn request(&mut self, connection: usize, out: &mut Vec<u8>) {
        let (set, delete) = &self.requests[connection];
        out.extend_from_slice(if self.held[connection] { delete } else { set });
    }

    fn answer(&mut self, connection: usize, line: &[u8]) -> anyhow::Result<bool> {
        let held = self.held[connection];
        let wanted: &[u8] = if held { b":1\r\n" } else { b"+OK\r\n" };
        ensure!(line == wanted, "redis answered {}", String::from_utf8_lossy(line));
        self.held[connection] = !held;
        Ok(held)
    }
}

/// Compare-and-PEXPIRE.
pub(crate) struct Heartbeat {
    requests: Vec<Vec<u8>>,
}

impl Script for Heartbeat {
    fn request(&mut self, connection: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.requests[connection]);
    }

    fn answer(&mut self, _: usize, line: &[u8]) -> anyhow::Result<bool> {
        ensure!(line == b":1\r\n", "redis answered {}", String::from_utf8_lossy(line));
        Ok(true)
    }
}

/// A value of the length that a reservation token has.
fn secret(number: usize) -> String {
    format!("hrt_{number:0>52}")
}

/// Loads a script and gives its hash.
fn loaded(socket: &Path, script: &str) -> anyhow::Result<String> {
    let answer = call(socket, &["SCRIPT", "LOAD", script])?;
    match answer.lines().nth(1) {
        Some(hash) => Ok(hash.to_owned()),
        None => bail!("redis answered {answer}"),
    }
}

/// One call on a connection of its own; fails on an error answer.
fn call(socket: &Path, words: &[&str]) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(&command(words))?;
    let mut buffer = [0; 1_024];
    let count = stream.read(&mut buffer)?;
    let answer = String::from_utf8_lossy(&buffer[..count]).into_owned();
    ensure!(!answer.is_empty() && !answer.starts_with('-'), "redis answered {answer}");
    Ok(answer)
}

/// A command in RESP.
fn command(words: &[&str]) -> Vec<u8> {
    let counted = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), counted.collect::<String>()).into_bytes()
}
