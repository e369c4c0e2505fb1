//! Who is at the other end of a connection, as the kernel says, and whether it has read what it was sent.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::registry::Actor;

/// The process at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// Its pid in the daemon's pid namespace, where it has one there.
    pub pid: Option<i32>,
}

impl Peer {
    /// Reads the credentials that the kernel keeps of the connection.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self { uid: credentials.uid(), pid: credentials.pid().filter(|pid| *pid > 0) })
    }

    /// This peer as somebody who does something as the operator.
    #[must_use]
    pub fn actor(&self) -> Actor {
        let executable =
            self.pid.and_then(|pid| std::fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe")).ok());
        Actor { pid: self.pid, executable: executable.map(|path| Arc::from(path.to_string_lossy())) }
    }
}

/// Tells when the peer has hung up, also while nothing of what it sends is taken.
///
/// It has a descriptor of its own, and so a readiness of its own: that there is room to write is forgotten here, and must not
/// be forgotten for whoever writes.
#[derive(Debug)]
pub(super) struct HangUp(UnixStream);

impl HangUp {
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        UnixStream::from_std(stream.as_fd().try_clone_to_owned()?.into()).map(Self)
    }

    /// Comes back when the peer has closed its end; never, where that cannot be told.
    pub(super) async fn come(&self) {
        while let Ok(ready) = self.0.ready(Interest::WRITABLE).await {
            if ready.is_write_closed() {
                return;
            }
            // Says that there is no room, so that the next event is waited for.
            let forget = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            drop(self.0.try_io(Interest::WRITABLE, forget));
        }
        std::future::pending::<()>().await;
    }
}

mod ioctl {
    use nix::libc;

    // On a Unix socket: how much of what was sent waits in the peer's queue.
    nix::ioctl_read_bad!(outq, libc::TIOCOUTQ, libc::c_int);
}

/// Whether the peer has read all that was sent. Where the kernel does not say, it counts as read.
#[must_use]
#[expect(unsafe_code, reason = "the ioctl writes one int into a local that outlives the call")]
pub(super) fn has_read_all(stream: &UnixStream) -> bool {
    let mut waiting = 0;
    // SAFETY: the descriptor is open for as long as `stream` is borrowed, and `waiting` is a valid int to write to.
    let asked = unsafe { ioctl::outq(stream.as_raw_fd(), &raw mut waiting) };
    asked.is_err() || waiting == 0
}
