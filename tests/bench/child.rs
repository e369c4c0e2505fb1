//! A child process that ends with its owner: killed by its handle, never by name.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::clock;

/// A server that this program started.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command`, whose output goes to the file `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let output = File::create(log)?;
        let errors = output.try_clone()?;
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        let child = child.with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tries `attempt` until it gives a value; fails when the server has ended, or after 30 s.
    pub(crate) fn until_ready<T>(&mut self, mut attempt: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let began = clock::now();
        loop {
            if let Some(value) = attempt() {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                bail!("the server ended with {status} before it answered: {log}");
            }
            if began.elapsed() > Duration::from_secs(30) {
                bail!("the server has not answered within 30 s; its log is {}", self.log.display());
            }
            clock::pause(Duration::from_micros(500));
        }
    }

    /// Asks it to end (SIGTERM) and waits for that.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the server ended with {status} when it was asked to stop");
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where it has ended already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
