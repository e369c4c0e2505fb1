//! The floor: a bare tokio server that sends every line back, as a process of its own (this program in a hidden mode).

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::child::Server;
use crate::driver::Driver;
use crate::script::Script;

/// The length of a line, with its newline.
const LINE: usize = 200;

/// A running echo server.
pub(crate) struct Echo {
    socket: PathBuf,
    _server: Server,
}

impl Echo {
    /// Starts one in `directory`.
    pub(crate) fn start(directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let socket = directory.join("echo.sock");
        let mut command = Command::new(std::env::current_exe()?);
        let mut server = Server::start(command.arg("--serve-echo").arg(&socket), &directory.join("echo.log"))?;
        server.until_ready(|| std::os::unix::net::UnixStream::connect(&socket).ok())?;
        Ok(Self { socket, _server: server })
    }

    /// Opens connections to it.
    pub(crate) fn connect(&self, count: usize) -> anyhow::Result<Driver> {
        Driver::connect(&self.socket, count)
    }
}

/// Sends one line again and again.
pub(crate) struct EchoScript {
    line: Vec<u8>,
}

impl EchoScript {
    /// Makes the line.
    pub(crate) fn new() -> Self {
        let mut line = vec![b'x'; LINE];
        line[LINE - 1] = b'\n';
        Self { line }
    }
}

impl Script for EchoScript {
    fn request(&mut self, _: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.line);
    }

    fn answer(&mut self, _: usize, line: &[u8]) -> anyhow::Result<bool> {
        anyhow::ensure!(line.len() == LINE, "the echo has {} bytes", line.len());
        Ok(true)
    }
}

/// Serves on `socket` until it is killed.
pub(crate) fn serve(socket: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = UnixListener::bind(socket)?;
        loop {
            let (stream, _) = listener.accept().await?;
            // A connection ends when the client leaves; how is of no interest.
            tokio::spawn(async move { drop(echo(stream).await) });
        }
    })
}

async fn echo(mut stream: UnixStream) -> io::Result<()> {
    let mut buffer = [0; 4_096];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
    }
}
