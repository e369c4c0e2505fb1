//! The listening socket: made only under the lock, in a directory that is the user's alone, and removed with its guard.
//!
//! It may not accept anything. Invariants: F1, no listener without a [`Lock`]; F2, only a dead socket is replaced, and
//! only our own is removed; S1, at no moment can another user connect.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind as bind_address, connect, listen, socket,
};

use super::Lock;
use crate::paths::{PathError, check_socket_path, secure_dir};

/// How many connections may wait to be accepted. The system may allow fewer.
const BACKLOG: i32 = 1_024;

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

/// Removes the socket when it is dropped, if it is still the same. It keeps the lock, so that this happens under it.
#[must_use = "the socket is removed as soon as this is dropped"]
#[derive(Debug)]
pub struct SocketGuard {
    path: PathBuf,
    identity: (u64, u64),
    _lock: Lock,
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        if identity(&self.path).ok().flatten() != Some(self.identity) {
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
    let guard = SocketGuard { path: path.to_owned(), identity: made, _lock: lock.clone() };
    // Nobody can connect before `listen`, and nobody else can enter the directory at all (S1).
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(failed("set the mode of"))?;
    let backlog = Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN);
    listen(&endpoint, backlog).map_err(|error| failed("listen on")(error.into()))?;
    Ok((UnixListener::from(endpoint), guard))
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

/// Which socket is at a path; none if there is none.
fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => Ok(Some((metadata.dev(), metadata.ino()))),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use proto_schema::Timestamp;

    use super::*;

    struct Place {
        root: tempfile::TempDir,
        lock: Lock,
    }

    impl Place {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let lock = Lock::acquire(root.path(), &root.path().join("s"), Timestamp::from_unix_ms(0)).unwrap();
            Self { root, lock }
        }

        fn path(&self) -> PathBuf {
            self.root.path().join("heddle/heddled.sock")
        }

        fn bind(&self) -> Result<(UnixListener, SocketGuard), SocketError> {
            bind(&self.lock, &self.path())
        }
    }

    #[test]
    fn it_is_ours_alone_and_carries_bytes_and_goes_with_its_guard() {
        let place = Place::new();
        let (listener, guard) = place.bind().unwrap();
        let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().mode() & 0o7777;
        assert_eq!((mode(&place.path()), mode(place.path().parent().unwrap())), (0o600, 0o700), "S1");
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "it does not block");
        assert_eq!(fcntl(listener.as_fd(), FcntlArg::F_GETFD).unwrap() & FdFlag::FD_CLOEXEC.bits(), 1);

        let mut client = UnixStream::connect(place.path()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"x").unwrap();
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        drop((listener, guard));
        assert!(!place.path().exists());
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let place = Place::new();
        secure_dir(place.path().parent().unwrap()).unwrap();
        drop(UnixListener::bind(place.path()).unwrap());
        assert!(place.path().exists(), "a killed daemon leaves its socket");
        let (_listener, _guard) = place.bind().unwrap();
        let error = place.bind().unwrap_err();
        assert!(matches!(error, SocketError::InUse { .. }), "F2: {error:?}");
        assert!(error.to_string().contains("HEDDLE_SOCKET"));
        UnixStream::connect(place.path()).unwrap();
    }

    #[test]
    fn a_live_listener_with_a_full_queue_is_still_live() {
        let place = Place::new();
        let (_listener, _guard) = place.bind().unwrap();
        let address = UnixAddr::new(&place.path()).unwrap();
        let mut waiting = Vec::new();
        loop {
            let client = endpoint().unwrap();
            let full = connect(client.as_raw_fd(), &address).is_err();
            waiting.push(client);
            if full {
                break;
            }
        }
        assert!(matches!(place.bind(), Err(SocketError::InUse { .. })), "F2: and without waiting");
    }

    #[test]
    fn what_is_no_stream_socket_is_refused_and_left_there() {
        let place = Place::new();
        secure_dir(place.path().parent().unwrap()).unwrap();
        std::fs::write(place.path(), "mine").unwrap();
        assert!(matches!(place.bind(), Err(SocketError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(place.path()).unwrap(), "mine", "F2");
        std::fs::remove_file(place.path()).unwrap();

        let other = place.root.path().join("other.sock");
        std::os::unix::fs::symlink(&other, place.path()).unwrap();
        assert!(matches!(place.bind(), Err(SocketError::NotASocket { .. })), "F2: a link");
        assert!(!other.exists(), "nothing was bound through the link");
        std::fs::remove_file(place.path()).unwrap();

        let _datagrams = UnixDatagram::bind(place.path()).unwrap();
        assert!(matches!(place.bind(), Err(SocketError::InUse { .. })), "F2: a live one of another type");
        assert!(place.path().exists());
    }

    #[test]
    fn the_guard_removes_only_its_own_socket_and_keeps_the_lock() {
        let place = Place::new();
        let (listener, guard) = place.bind().unwrap();
        std::fs::remove_file(place.path()).unwrap();
        let _other = UnixListener::bind(place.path()).unwrap();
        drop(listener);
        let Place { root, lock } = place;
        drop(lock);
        let again = || Lock::acquire(root.path(), Path::new("/s"), Timestamp::from_unix_ms(0));
        assert!(again().is_err(), "F1: the guard still has the lock");
        drop(guard);
        assert!(root.path().join("heddle/heddled.sock").exists(), "F2: it is another's");
        again().unwrap();
    }

    #[test]
    fn a_path_that_is_too_long_and_an_open_directory_are_refused() {
        let place = Place::new();
        let long = place.root.path().join("x".repeat(120));
        assert!(matches!(bind(&place.lock, &long), Err(SocketError::Path(PathError::SocketTooLong { .. }))));
        let open = place.root.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(matches!(bind(&place.lock, &open.join("s")), Err(SocketError::Path(PathError::Open { .. }))), "S1");
    }
}
