//! The gate: CMD's process is there before the grant, and CMD starts only after it.
//!
//! The process is heddlectl itself in a hidden mode, so that its pid, which the reservation is held for, is CMD's. Its
//! standard input is a socket to us; through it come the environment, the directory, and the real standard input. When
//! we are gone before that, it reads the end of the stream and ends without having started anything.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::exit::Exit;
use crate::hidden;

/// What comes through the gate.
#[derive(Serialize, Deserialize, Default, Debug, PartialEq)]
struct Pass {
    /// Variables to add to the environment.
    environment: Vec<(String, Vec<u8>)>,
    /// The directory to start in, where it is another.
    directory: Option<Vec<u8>>,
    /// The process with which the command ends, whatever ends it: its parent.
    ends_with: Option<i32>,
}

/// CMD's process, waiting.
#[derive(Debug)]
pub(crate) struct Gated {
    /// The process.
    pub(crate) child: Child,
    gate: UnixStream,
}

impl Gated {
    /// Starts the process that waits.
    pub(crate) fn spawn(command: &[OsString]) -> Result<Self, Error> {
        let failed = |cause: io::Error| Error::local(Exit::UNEXPECTED, format!("cannot start a process: {cause}"));
        let (gate, theirs) = UnixStream::pair().map_err(failed)?;
        let mut program = Command::new(hidden::own_program());
        program.arg0("heddlectl").arg(hidden::EXEC).args(command).stdin(Stdio::from(OwnedFd::from(theirs)));
        let child = program.spawn().map_err(failed)?;
        Ok(Self { child, gate })
    }

    /// Its pid, which will be CMD's.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// Opens the gate.
    pub(crate) fn open(
        mut self,
        environment: &[(&str, OsString)],
        directory: Option<&Path>,
        ends_with_us: bool,
    ) -> io::Result<Child> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        let directory = directory.map(|path| path.as_os_str().as_bytes().to_vec());
        let ends_with = ends_with_us.then(|| i32::try_from(std::process::id()).unwrap_or_default());
        let pass = Pass { environment: environment.collect(), directory, ends_with };
        let mut message = serde_json::to_vec(&pass)?;
        message.push(b'\n');
        let stdin = io::stdin();
        let descriptors = [stdin.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let sent = rustix::net::sendmsg(&self.gate, &[IoSlice::new(&message)], &mut ancillary, SendFlags::empty())?;
        self.gate.write_all(&message[sent..])?;
        Ok(self.child)
    }

    /// Gives up: the process ends without having started anything.
    pub(crate) fn close(mut self) {
        drop(self.gate);
        // It was ours and is over; how it ended says nothing.
        self.child.wait().ok();
    }
}

/// The other side: waits for the gate to open and becomes `command`; returns only when it could not.
pub(crate) fn pass(command: &[OsString]) -> (Error, Exit) {
    let Some((program, arguments)) = command.split_first() else {
        return (Error::usage("there is no command to run"), Exit::USAGE);
    };
    let pass = match wait() {
        Ok(Some(pass)) => pass,
        // Nobody is there to be told.
        Ok(None) => return (Error::ClosedPipe, Exit::OK),
        Err(cause) => {
            return (Error::local(Exit::UNEXPECTED, format!("the gate is broken: {cause}")), Exit::UNEXPECTED);
        }
    };
    let mut next = Command::new(program);
    next.args(arguments);
    for (name, value) in &pass.environment {
        next.env(name, OsStr::from_bytes(value));
    }
    if let Some(directory) = &pass.directory {
        next.current_dir(PathBuf::from(OsStr::from_bytes(directory)));
    }
    if let Some(parent) = pass.ends_with
        && !end_with(parent)
    {
        return (Error::ClosedPipe, Exit::OK);
    }
    let cause = next.exec();
    let exit = if cause.kind() == io::ErrorKind::NotFound { Exit::NOT_FOUND } else { Exit::NOT_EXECUTABLE };
    (Error::local(exit, format!("cannot run {}: {cause}", Path::new(program).display())), exit)
}

/// Has the kernel kill this process, and what it becomes, when its parent ends. False where that has ended already.
#[cfg(target_os = "linux")]
fn end_with(parent: i32) -> bool {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    let set = set_parent_process_death_signal(Some(Signal::KILL));
    // What ended before it was set does not count.
    set.is_err() || getppid().is_some_and(|now| now.as_raw_nonzero().get() == parent)
}

/// The system has no such thing, nor pid namespaces for which it is needed.
#[cfg(not(target_os = "linux"))]
fn end_with(_: i32) -> bool {
    true
}

/// How the descriptor is taken. It is closed before anything else is started, where the system cannot mark it at once.
#[cfg(target_os = "linux")]
const TAKEN: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const TAKEN: RecvFlags = RecvFlags::empty();

/// Reads the pass and puts the real standard input in the gate's place; nothing when the gate was given up.
fn wait() -> io::Result<Option<Pass>> {
    let mut message = vec![0; 64 * 1024];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let gate = io::stdin();
    let received = rustix::net::recvmsg(&gate, &mut [IoSliceMut::new(&mut message)], &mut ancillary, TAKEN)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    message.truncate(received.bytes);
    let stdin = ancillary.drain().find_map(|part| {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = part { descriptors.next() } else { None }
    });
    let mut gate = gate.lock();
    while message.last() != Some(&b'\n') {
        let mut byte = [0];
        if gate.read(&mut byte)? == 0 {
            return Ok(None);
        }
        message.push(byte[0]);
    }
    let pass = serde_json::from_slice(&message)?;
    rustix::stdio::dup2_stdin(stdin.ok_or(io::ErrorKind::InvalidData)?)?;
    Ok(Some(pass))
}

/// Whether a program of that name can be found, so that a typing error reserves nothing.
pub(crate) fn exists(program: &OsStr, path: Option<&OsStr>) -> bool {
    use std::os::unix::fs::PermissionsExt;
    if program.as_bytes().contains(&b'/') {
        // Relative to the directory that CMD will start in, so it is left to that moment.
        return true;
    }
    let Some(path) = path else { return true };
    std::env::split_paths(path).any(|folder| {
        folder.join(program).metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}
