//! The listening socket: made only under the lock, in a directory that is the user's alone, and removed with its guard.
//!
//! The path can lose the socket while the daemon runs: a logout removes `/run/user/UID`, a cleaner empties `/tmp`.
//! [`SocketGuard::restore`] then binds it again.
//!
//! This module must not accept connections. Invariants: F1, no listener without a [`Lock`]; F2, only a dead socket is
//! replaced, and only our own is removed; S1, at no moment can another user connect.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind as bind_address, connect, listen, socket,
};

use super::Lock;
use crate::paths::{PathError, check_socket_path, secure_dir};

/// How many connections may wait to be accepted. The system may allow fewer.
const BACKLOG: i32 = 1_024;

/// How many times in a row [`SocketGuard::restore`] must find another program's socket before it may replace it. Between its
/// `bind` and its `listen` a new socket refuses connections as a dead one does.
const LOOKS: u32 = 3;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path or its directory will not do.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Somebody listens there, and not for this state directory, whose lock is ours.
    #[error(
        "something else is listening at '{}': a heddled with another state directory, or a program that took its place; \
         stop it, or set HEDDLE_SOCKET to another path",
        path.display()
    )]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// There is something that is not a socket.
    #[error("'{}' is there already and is not a socket; move it away, or set HEDDLE_SOCKET to another path", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The lock file was removed or replaced, so that another daemon may have taken over.
    #[error("the socket '{}' is not bound again, for the lock file of the state directory was removed or replaced", path.display())]
    LockLost {
        /// The socket's path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {operation} the socket '{}'", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The socket's path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// What tells one socket file from another: device, inode and, where the file system records it, the time of birth. An
/// inode number alone can be given to the next file.
type Identity = (u64, u64, Option<SystemTime>);

/// Removes the socket when it is dropped, if it is still the same. It keeps the lock, so that this happens under it.
#[must_use = "the socket is removed as soon as this is dropped"]
#[derive(Debug)]
pub struct SocketGuard {
    path: PathBuf,
    identity: Identity,
    lock: Lock,
    /// The socket of another program at the path, and how many times in a row it was found there.
    other: Option<(Identity, u32)>,
}

impl SocketGuard {
    /// Whether the path still names the socket of this guard. Costs one `lstat`.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        identity(&self.path).ok().flatten() == Some(self.identity)
    }

    /// Binds the socket again if the path does not name it any more, and returns the new listener. Returns `None` while
    /// the path names it, and while another program's socket is new there. Callers that connect to the old listener's queue before this stay in that queue.
    ///
    /// # Errors
    ///
    /// See [`bind`]; [`SocketError::LockLost`] if the lock file is not the one that is locked, for then another daemon may
    /// serve this state directory.
    pub fn restore(&mut self) -> Result<Option<UnixListener>, SocketError> {
        if self.is_in_place() {
            self.other = None;
            return Ok(None);
        }
        if !self.lock.is_current() {
            return Err(SocketError::LockLost { path: self.path.clone() });
        }
        if self.is_other_new() {
            return Ok(None);
        }
        let (listener, identity) = listen_at(&self.path)?;
        self.identity = identity;
        Ok(Some(listener))
    }

    /// Whether there is a socket of another program that was not found there [`LOOKS`] times yet.
    fn is_other_new(&mut self) -> bool {
        let looks = |other| match self.other {
            Some((known, looks)) if known == other => looks.saturating_add(1),
            Some(_) | None => 1,
        };
        self.other = identity(&self.path).ok().flatten().map(|other| (other, looks(other)));
        self.other.is_some_and(|(_, looks)| looks < LOOKS)
    }
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        if !self.is_in_place() {
            tracing::info!(path = %self.path.display(), "the socket is not ours any more and is left there");
        } else if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket could not be removed");
        }
    }
}

/// Makes the socket and listens on it: mode 0600, not blocking, closed on exec. A dead socket at the path is replaced.
///
/// # Errors
///
/// [`SocketError::Path`] if the path is too long or its directory is not the user's alone, [`SocketError::InUse`] if
/// somebody listens there, [`SocketError::NotASocket`], or [`SocketError::Io`].
pub fn bind(lock: &Lock, path: &Path) -> Result<(UnixListener, SocketGuard), SocketError> {
    let (listener, identity) = listen_at(path)?;
    Ok((listener, SocketGuard { path: path.to_owned(), identity, lock: lock.clone(), other: None }))
}

fn listen_at(path: &Path) -> Result<(UnixListener, Identity), SocketError> {
    check_socket_path(path)?;
    secure_dir(path.parent().unwrap_or(Path::new("/")))?;
    let failed =
        |operation| move |error: io::Error| SocketError::Io { operation, path: path.to_owned(), source: error };
    let address = UnixAddr::new(path).map_err(|error| failed("name")(error.into()))?;
    remove_dead(path, &address)?;

    let endpoint = endpoint().map_err(failed("make"))?;
    match bind_address(endpoint.as_raw_fd(), &address) {
        Err(Errno::EADDRINUSE) => return Err(SocketError::InUse { path: path.to_owned() }),
        bound => bound.map_err(|error| failed("bind")(error.into()))?,
    }
    let made = identity(path)
        .map_err(failed("look at"))?
        .ok_or_else(|| failed("keep hold of")(io::Error::from(io::ErrorKind::NotFound)))?;
    // Connecting fails before `listen`, and other users cannot enter the directory at all (S1).
    let opened = std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))
        .map_err(failed("set the mode of"))
        .and_then(|()| {
            let backlog = Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN);
            listen(&endpoint, backlog).map_err(|error| failed("listen on")(error.into()))
        });
    if let Err(error) = opened {
        // What was made here a moment ago serves no purpose without a listener.
        std::fs::remove_file(path).ok();
        return Err(error);
    }
    Ok((UnixListener::from(endpoint), made))
}

/// Removes a socket that nobody listens on; refuses everything else.
fn remove_dead(path: &Path, address: &UnixAddr) -> Result<(), SocketError> {
    let failed = |operation| move |source| SocketError::Io { operation, path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    let probe = endpoint().map_err(failed("make a probe of"))?;
    match connect(probe.as_raw_fd(), address) {
        Err(Errno::ECONNREFUSED) => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove the dead")(error)),
            Ok(()) | Err(_) => Ok(()),
        },
        Err(Errno::ENOENT) => Ok(()),
        // EAGAIN: its queue is full; EPROTOTYPE: it is of another type. Both are somebody's.
        Ok(()) | Err(Errno::EAGAIN | Errno::EINPROGRESS | Errno::EPROTOTYPE) => {
            Err(SocketError::InUse { path: path.to_owned() })
        }
        Err(error) => Err(failed("find out who listens on")(error.into())),
    }
}

/// A stream socket that neither blocks nor is inherited.
fn endpoint() -> io::Result<OwnedFd> {
    let endpoint = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None)?;
    // In two steps, as not every system takes the flags at once; no other program is started before there is a socket.
    fcntl(endpoint.as_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    fcntl(endpoint.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(endpoint)
}

/// Which socket is at a path; `None` if there is none.
fn identity(path: &Path) -> io::Result<Option<Identity>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            Ok(Some((metadata.dev(), metadata.ino(), metadata.created().ok())))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
