//! Opens the socket, and makes sure that the user's own daemon is behind it before anything secret is sent there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

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

/// Connects to `socket`, whose directory and whose daemon must be those of `uid`.
pub(crate) fn connect(socket: &Path, uid: u32) -> Result<UnixStream, OpenError> {
    check_directory(socket, uid)?;
    let stream = UnixStream::connect(socket).map_err(|cause| classify(socket, cause))?;
    let peer = peer_uid(&stream).map_err(|cause| OpenError::Failed(Error::io("ask who listens on", socket, &cause)))?;
    if peer != uid {
        let error = Error::local(Exit::DENIED, format!("the daemon on {} is not yours", socket.display()));
        let error = error.fact(format!("it runs as user {peer}, you are {uid}; nothing was sent to it"));
        return Err(OpenError::Failed(error.hint("set HEDDLE_SOCKET to a socket in a directory of your own")));
    }
    Ok(stream)
}

fn classify(socket: &Path, cause: io::Error) -> OpenError {
    let kind = cause.kind();
    if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
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
        assert!(matches!(connect(&socket, mine()), Err(OpenError::Absent)));
        let listener = UnixListener::bind(&socket).expect("bound");
        connect(&socket, mine()).expect("our own daemon");
        let refused = connect(&socket, mine() + 1);
        assert!(matches!(refused, Err(OpenError::Failed(error)) if error.exit() == Exit::DENIED));
        drop(listener);
        assert!(matches!(connect(&socket, mine()), Err(OpenError::Absent)), "a stale socket is nobody's");
    }

    #[test]
    fn a_directory_that_others_write_into_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).expect("mode");
        let socket = directory.path().join("s");
        let _listener = UnixListener::bind(&socket).expect("bound");
        assert!(matches!(connect(&socket, mine()), Err(OpenError::Failed(error)) if error.exit() == Exit::DENIED));
    }
}
