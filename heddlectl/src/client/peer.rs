//! Opens the socket, and makes sure that the user's own daemon is behind it before anything secret is sent there.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, socket};

use crate::clock;
use crate::error::Error;
use crate::exit::Exit;

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Nobody listens there.
    Absent,
    /// The system does not let us: a sandbox, or another user's directory.
    Denied(io::Error),
    /// It cannot be used.
    Failed(Error),
}

/// How often a full queue is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// Connects to `socket`, whose directory and whose daemon must be those of `uid`. Times out after `time`.
pub(crate) fn connect(socket: &Path, uid: u32, time: Duration) -> Result<UnixStream, OpenError> {
    check_directory(socket, uid)?;
    let stream = open_within(socket, time).map_err(|cause| classify(socket, cause))?;
    let peer = peer_uid(&stream).map_err(|cause| OpenError::Failed(Error::io("ask who listens on", socket, &cause)))?;
    if peer != uid {
        let error = Error::local(Exit::DENIED, format!("the daemon on {} is not yours", socket.display()));
        let error = error.fact(format!("it runs as user {peer}, you are {uid}; nothing was sent to it"));
        return Err(OpenError::Failed(error.hint("set HEDDLE_SOCKET to a socket in a directory of your own")));
    }
    Ok(stream)
}

fn open_within(socket: &Path, time: Duration) -> io::Result<UnixStream> {
    let deadline = clock::now() + time;
    loop {
        match open(socket) {
            // Its queue is full: the daemon has not accepted for a while.
            Err(Errno::EAGAIN) if clock::now() < deadline => clock::pause(RETRY),
            opened => return Ok(opened?),
        }
    }
}

/// Connects without waiting: a plain connect waits without a bound where the daemon's queue is full.
pub(crate) fn open(path: &Path) -> Result<UnixStream, Errno> {
    let address = UnixAddr::new(path)?;
    let endpoint: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None)?;
    fcntl(&endpoint, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    fcntl(&endpoint, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    nix::sys::socket::connect(endpoint.as_raw_fd(), &address)?;
    fcntl(&endpoint, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(UnixStream::from(endpoint))
}

fn classify(socket: &Path, cause: io::Error) -> OpenError {
    let kind = cause.kind();
    if kind == io::ErrorKind::WouldBlock {
        let what = format!("the daemon on {} accepts no connections: its queue is full", socket.display());
        return OpenError::Failed(Error::local(Exit::UNREACHABLE, what).command("heddlectl doctor"));
    }
    if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::ConnectionRefused) {
        return OpenError::Absent;
    }
    if kind == io::ErrorKind::PermissionDenied {
        return OpenError::Denied(cause);
    }
    let exit = if kind == io::ErrorKind::InvalidInput { Exit::CONFIG } else { Exit::UNREACHABLE };
    OpenError::Failed(Error::local(exit, format!("cannot connect to {}: {cause}", socket.display())))
}

/// Refuses a directory in which somebody else could have put the socket.
pub(crate) fn check_directory(socket: &Path, uid: u32) -> Result<(), OpenError> {
    let directory = socket.parent().unwrap_or(socket);
    let mut meta = fs::symlink_metadata(directory).map_err(|cause| classify(directory, cause))?;
    // A link of one's own leads where one wants; another's (in /tmp, say) is judged by who made it.
    if meta.is_symlink() && meta.uid() == uid {
        meta = fs::metadata(directory).map_err(|cause| classify(directory, cause))?;
    }
    let problem = if meta.uid() != uid {
        format!("it belongs to user {}, you are {uid}", meta.uid())
    } else if meta.mode() & 0o022 != 0 {
        format!("others may write into it (its mode is {:04o})", meta.mode() & 0o7777)
    } else {
        return Ok(());
    };
    let error = Error::local(Exit::DENIED, format!("the socket's directory is not safe: {}", directory.display()));
    let error = error.fact(format!("{problem}; nothing was sent"));
    Err(OpenError::Failed(error.hint("set HEDDLE_SOCKET to a socket in a directory of your own with mode 0700")))
}

#[cfg(target_os = "linux")]
pub(crate) fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    let credentials = nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials)?;
    Ok(credentials.uid())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    Ok(nix::unistd::getpeereid(stream)?.0.as_raw())
}

/// The peer's pid in our pid namespace, where it has one there.
#[cfg(target_os = "linux")]
pub(crate) fn pid(stream: &UnixStream) -> Option<i32> {
    let credentials = nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials).ok()?;
    Some(credentials.pid()).filter(|pid| *pid > 0)
}

/// The peer's pid, where the system tells it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pid(_: &UnixStream) -> Option<i32> {
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn mine() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    #[test]
    fn the_peer_must_be_the_user_itself() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).expect("mode");
        let socket = directory.path().join("s");
        assert!(matches!(connect(&socket, mine(), Duration::ZERO), Err(OpenError::Absent)));
        let listener = UnixListener::bind(&socket).expect("bound");
        connect(&socket, mine(), Duration::ZERO).expect("our own daemon");
        let refused = connect(&socket, mine() + 1, Duration::ZERO);
        assert!(matches!(refused, Err(OpenError::Failed(error)) if error.exit() == Exit::DENIED));
        drop(listener);
        assert!(
            matches!(connect(&socket, mine(), Duration::ZERO), Err(OpenError::Absent)),
            "a stale socket is nobody's"
        );
    }

    #[test]
    fn a_directory_that_others_write_into_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).expect("mode");
        let socket = directory.path().join("s");
        let _listener = UnixListener::bind(&socket).expect("bound");
        assert!(
            matches!(connect(&socket, mine(), Duration::ZERO), Err(OpenError::Failed(error)) if error.exit() == Exit::DENIED)
        );
    }
}
