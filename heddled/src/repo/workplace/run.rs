//! Running Git in a private Git directory, until it is done or its work is cancelled.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::repo::capture::CaptureRefused;
use crate::repo::error::Error;
use crate::repo::program::failed;

/// How often it is noticed that the work is cancelled, in milliseconds.
const LOOK: u16 = 50;

/// How much room Git's work leaves on the disk that the registry is on, too: a file of holes takes nothing from its agent, and
/// is written out in full by a filter. Room for the checkpoint of a small registry; a larger one waits for room.
pub(in crate::repo) const SPARE: u64 = 4 * 1024 * 1024;

/// What ends a command before its time.
#[derive(Clone, Copy)]
pub(in crate::repo) struct Bounds<'a> {
    /// Set to true, the command is killed.
    cancelled: &'a AtomicBool,
    /// The room that is to be left where it writes.
    spare: u64,
}

impl<'a> Bounds<'a> {
    /// Until the work is cancelled, or there is too little room.
    pub(in crate::repo) fn new(cancelled: &'a AtomicBool) -> Self {
        Self { cancelled, spare: SPARE }
    }
}

/// Whether less than that much room is left on the disk of a directory.
pub(in crate::repo) fn is_full(directory: &Path, spare: u64) -> bool {
    let found = rustix::fs::statvfs(directory);
    found.is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) < spare)
}

/// Runs a command of Git and gives what it says. Standard error goes to a file, for what else a filter leaves running
/// may keep it open; it lies where the command writes.
pub(in crate::repo) fn run(
    command: Command,
    name: &'static str,
    stderr: &Path,
    bounds: Bounds<'_>,
) -> Result<Vec<u8>, Error> {
    let (status, said) = wait_for(command, stderr, bounds)?;
    if status.success() {
        return Ok(said);
    }
    Err(said_why(name, stderr)?)
}

/// What a command that failed wrote to standard error.
pub(in crate::repo) fn said_why(name: &'static str, stderr: &Path) -> Result<Error, Error> {
    let written = std::fs::read(stderr).map_err(|source| Error::io("run git", stderr, source))?;
    Ok(failed(name, &written))
}

/// Runs a command of Git and gives how it ended and what it says. It yields as much to others as whoever runs it.
pub(in crate::repo) fn wait_for(
    mut command: Command,
    stderr: &Path,
    bounds: Bounds<'_>,
) -> Result<(ExitStatus, Vec<u8>), Error> {
    let errors = File::create(stderr).map_err(|source| Error::io("run git", stderr, source))?;
    // A group of its own, so that its filters end with it.
    command.stdout(Stdio::piped()).stderr(errors).process_group(0);
    let not_run = |source| Error::io("run git", Path::new("git"), source);
    let mut child = command.spawn().map_err(not_run)?;
    let place = stderr.parent().unwrap_or(stderr);
    let said = read(&mut child, place, bounds);
    if !matches!(said, Ok(Some(_))) {
        // It fails only when all of them are gone.
        killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap_or_default();
    }
    let status = child.wait().map_err(not_run)?;
    let failed_there = |source| Error::io("run git", place, source);
    Ok((status, said.map_err(failed_there)?.ok_or(CaptureRefused::Cancelled)?))
}

/// All that it says; `None` when the work was cancelled first.
fn read(child: &mut Child, place: &Path, bounds: Bounds<'_>) -> std::io::Result<Option<Vec<u8>>> {
    let mut said = Vec::new();
    let Some(mut stdout) = child.stdout.take() else { return Ok(Some(said)) };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if bounds.cancelled.load(Ordering::Acquire) {
            return Ok(None);
        }
        if is_full(place, bounds.spare) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        let mut waited = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waited, PollTimeout::from(LOOK)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match stdout.read(&mut buffer)? {
            0 => return Ok(Some(said)),
            read => said.extend_from_slice(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The registry is on the same disk: it must not be the one that finds it full.
    #[test]
    fn a_command_ends_before_the_disk_is_full() {
        let place = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$; exec sleep 600"]);
        let bounds = Bounds { cancelled: &AtomicBool::new(false), spare: u64::MAX };
        match run(command, "add", &place.path().join("stderr"), bounds) {
            Err(Error::Unavailable { cause: crate::repo::Cause::Io { source, .. }, .. }) => {
                assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
            }
            other => panic!("{other:?}"),
        }
        assert!(!is_full(place.path(), 0));
    }
}
