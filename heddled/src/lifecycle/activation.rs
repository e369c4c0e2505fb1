//! The listening socket that a service manager hands over: it stays with the manager when the daemon ends, and whoever
//! connects meanwhile waits in its queue for the next one.
//!
//! It may not accept anything, and it never removes such a socket. Invariants: A1, what is handed over is taken only where it
//! is what the daemon would have made itself: a listening Unix stream socket at the configured path, mode 0600, ours, in a
//! directory that is ours alone; A2, no program that the daemon starts inherits it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{SockType, UnixAddr, getsockname, getsockopt, sockopt};
use nix::unistd::Uid;

#[cfg(not(target_os = "macos"))]
use crate::paths::Environment;
use crate::paths::{PathError, secure_dir};

/// Where the protocol begins to number what it hands over (`SD_LISTEN_FDS_START`).
#[cfg(not(target_os = "macos"))]
const FIRST: RawFd = 3;

/// The most that is taken. One is expected; a number that is far off is a mistake in a variable.
const MOST: u32 = 16;

/// Why what was handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// A variable of the protocol makes no sense.
    #[error("{variable}='{value}' does not say how many sockets are handed over, from 1 to {MOST}")]
    Variable {
        /// Which.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// The variables say that something is handed over, and it is not there.
    #[error("file descriptor {0} was to be handed over, but is not open")]
    NotOpen(RawFd),
    /// launchd has no socket for us, or not any more.
    #[error("launchd does not hand over the socket '{name}'")]
    Launchd {
        /// Its name in the property list.
        name: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is something else than a Unix stream socket that listens.
    #[error("what was handed over as file descriptor {0} is not a listening Unix stream socket")]
    NotAListener(RawFd),
    /// It listens somewhere else.
    #[error(
        "the socket that was handed over listens on '{}', but the configuration says '{}'; \
         run `heddlectl service install`, which makes the service follow the configuration",
        there.display(), expected.display()
    )]
    Elsewhere {
        /// Where it listens.
        there: PathBuf,
        /// Where the daemon is to listen.
        expected: PathBuf,
    },
    /// The file at its path is not what clients may trust.
    #[error("the socket '{}' that was handed over {problem}; {advice}", path.display())]
    Unsafe {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// Its directory will not do.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The system refused.
    #[error("cannot {operation} the socket that was handed over")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// What a service manager handed over, not looked at yet.
#[derive(Debug, Default)]
pub struct Handed(pub(super) Vec<OwnedFd>);

/// Takes what `LISTEN_FDS` speaks of, if `LISTEN_PID` says that it is for this process: variables that an ancestor left
/// behind mean nothing. To be called first in `main`, before anything else has opened a descriptor.
///
/// The variables themselves stay: nobody reads them again, and what the daemon starts has an environment of its own.
///
/// # Errors
///
/// [`ActivationError::Variable`] or [`ActivationError::NotOpen`].
#[cfg(not(target_os = "macos"))]
pub fn handed_over(environment: &Environment) -> Result<Handed, ActivationError> {
    let text = |name| environment.get(name).map(|value| value.to_string_lossy().into_owned());
    let is_for_us = text("LISTEN_PID").and_then(|pid| pid.parse().ok()) == Some(std::process::id());
    let Some(value) = text("LISTEN_FDS").filter(|_| is_for_us) else {
        return Ok(Handed::default());
    };
    let count = value.parse::<u32>().ok().filter(|count| *count <= MOST).and_then(|count| i32::try_from(count).ok());
    let count = count.ok_or(ActivationError::Variable { variable: "LISTEN_FDS", value })?;
    (FIRST..FIRST + count)
        .map(|raw| own(raw).ok_or(ActivationError::NotOpen(raw)))
        .collect::<Result<_, _>>()
        .map(Handed)
}

/// Takes a descriptor that this process was started with. None if there is none.
#[expect(unsafe_code, reason = "a number becomes a descriptor: only whoever started us knows that it is one")]
pub(super) fn own(raw: RawFd) -> Option<OwnedFd> {
    // SAFETY: nothing is done with it but to ask for its flags, which fails where it is not open.
    let open = unsafe { BorrowedFd::borrow_raw(raw) };
    // A2. It fails for what is not open.
    fcntl(open, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    // SAFETY: it is open, and was handed to this process by number; nothing here has opened or owned a descriptor before.
    Some(unsafe { OwnedFd::from_raw_fd(raw) })
}

impl Handed {
    /// Whether there is anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The listener at this path, once it is sure that it is safe (A1). None if nothing was handed over.
    ///
    /// # Errors
    ///
    /// [`ActivationError`]: what was handed over is not what the daemon would have made.
    pub fn listener(self, path: &Path) -> Result<Option<UnixListener>, ActivationError> {
        let (mut found, mut elsewhere) = (None, None);
        for handed in self.0 {
            let there = address(&handed)?;
            if there == path {
                found = Some(handed);
            } else {
                elsewhere = Some(there);
            }
        }
        let Some(listener) = found else {
            let wrong = |there| Err(ActivationError::Elsewhere { there, expected: path.to_owned() });
            return elsewhere.map_or(Ok(None), wrong);
        };
        if let Some(other) = elsewhere {
            tracing::warn!(path = %other.display(), "another socket was handed over, too, and is left alone");
        }
        secure_dir(path.parent().unwrap_or(Path::new("/")))?;
        check_file(path)?;
        let listener = UnixListener::from(listener);
        listener.set_nonblocking(true).map_err(|source| ActivationError::Io { operation: "use", source })?;
        Ok(Some(listener))
    }
}

/// Where a listening Unix stream socket listens.
fn address(handed: &OwnedFd) -> Result<PathBuf, ActivationError> {
    let not_one = || ActivationError::NotAListener(handed.as_raw_fd());
    let is_stream = getsockopt(handed, sockopt::SockType) == Ok(SockType::Stream);
    if !is_stream || !listens(handed) {
        return Err(not_one());
    }
    let address: UnixAddr = getsockname(handed.as_fd().as_raw_fd()).map_err(|_| not_one())?;
    address.path().map(Path::to_owned).ok_or_else(not_one)
}

/// Whether a socket listens. Where the system does not say, the first accept does.
fn listens(socket: &OwnedFd) -> bool {
    #[cfg(target_os = "linux")]
    return getsockopt(socket, sockopt::AcceptConn) == Ok(true);
    #[cfg(not(target_os = "linux"))]
    {
        let _unknown = socket;
        true
    }
}

/// Clients trust what they find at the path: it must be a socket, ours, and nobody else's to connect to.
fn check_file(path: &Path) -> Result<(), ActivationError> {
    let problem = |problem, advice| Err(ActivationError::Unsafe { path: path.to_owned(), problem, advice });
    let again = "restart it: systemctl --user restart heddled.socket";
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => problem("is not there any more", again),
        Err(source) => Err(ActivationError::Io { operation: "look at", source }),
        Ok(file) if !file.file_type().is_socket() => problem("is not there any more: something else is", again),
        Ok(file) if file.uid() != Uid::effective().as_raw() => problem("belongs to another user", again),
        Ok(file) if file.mode() & 0o177 != 0 => {
            problem("is open to others", "set SocketMode=0600 in heddled.socket, or SockPathMode 384 for launchd")
        }
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
