//! What the daemon tells the service manager that started it (`sd_notify`): that it serves, that it lives, that it stops, and
//! when it needs more time.
//!
//! It may not block, and a manager that does not listen stops nothing. Invariants: N1, `READY=1` is said only after a call has
//! been answered; N2, `WATCHDOG=1` is said on the one worker that serves, and only after the writer has taken something from its
//! queue and got to the end of a batch: where either stands still, the manager hears nothing and starts the daemon again.
//!
//! A module of its own, not the crate `sd-notify`: that one reads the process's environment at every word, and waits where the
//! manager's queue is full.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram as Datagram;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixDatagram, UnixStream};
use tokio::time::MissedTickBehavior;
use tracing::{debug, warn};

use crate::paths::Environment;

/// How long a word may wait for room in the manager's queue.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much more time is asked for at once while something takes long, and how often.
const MORE: Duration = Duration::from_secs(30);
const MORE_EVERY: Duration = Duration::from_secs(10);

/// How often more time is asked for at most, ten minutes in all: what takes longer is stuck.
const MOST_EXTENSIONS: u32 = 60;

/// How often it is looked whether a call is answered, until one is.
const LOOK: Duration = Duration::from_millis(20);

/// A call that changes nothing and needs nothing but somebody who answers.
const HELLO: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"daemon.hello\",\"params\":{\"protocol\":[1,1],\"client\":\"heddled/self\"}}\n";

/// The service manager, as far as there is one. Clones share the way to it.
#[derive(Clone, Debug, Default)]
pub struct Manager {
    socket: Option<Arc<UnixDatagram>>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The manager that the environment names. To be called within a tokio runtime.
    #[must_use]
    pub fn of(environment: &Environment) -> Self {
        let Some(address) = environment.get("NOTIFY_SOCKET") else { return Self::default() };
        match connect(address) {
            Ok(socket) => Self { socket: Some(Arc::new(socket)), watchdog: watchdog(environment, std::process::id()) },
            Err(error) => {
                warn!(%error, address = %address.to_string_lossy(), "the service manager cannot be told anything");
                Self::default()
            }
        }
    }

    /// How often it must hear that the daemon lives, if it wants to.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Waits for something that may take long, and asks for more time meanwhile.
    pub async fn while_busy<T>(&self, with: &str, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        // What is quick is not spoken of.
        if let Ok(done) = tokio::time::timeout(LOOK, &mut work).await {
            return done;
        }
        for _ in 0..MOST_EXTENSIONS {
            self.tell(&format!("STATUS={with}\nEXTEND_TIMEOUT_USEC={}", MORE.as_micros())).await;
            if let Ok(done) = tokio::time::timeout(MORE_EVERY, &mut work).await {
                return done;
            }
        }
        work.await
    }

    /// Says that the daemon serves, once it has answered a call on its own socket (N1), and from then on that it lives, for as
    /// long as `progress` comes back with true (N2). Comes back at once where nobody wants to know.
    pub async fn keep_told<P: Future<Output = bool>>(self, socket: Arc<Path>, progress: impl Fn() -> P) {
        if self.socket.is_none() {
            return;
        }
        while !answers(&socket).await {
            pause(LOOK).await;
        }
        self.tell(&format!("READY=1\nSTATUS=serving on {}", socket.display())).await;
        let Some(every) = self.watchdog else { return };
        let mut ticks = tokio::time::interval(every / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if tokio::time::timeout(every, progress()).await == Ok(true) {
                self.tell("WATCHDOG=1").await;
            } else {
                warn!("the writer does not go on, and the service manager is not told that the daemon lives");
            }
        }
    }

    /// Says that the configuration is being read anew. [`Manager::reloaded`] must follow, whatever becomes of it.
    pub async fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", crate::clock::manager_usec())).await;
    }

    /// Says that the configuration was read anew, or why not.
    pub async fn reloaded(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", status.replace('\n', " "))).await;
    }

    /// Says that the daemon stops, and that calls under way may take this long.
    pub async fn stopping(&self, drain: Duration) {
        let time = (drain + MORE).as_micros();
        self.tell(&format!("STOPPING=1\nSTATUS=finishing the calls under way\nEXTEND_TIMEOUT_USEC={time}")).await;
    }

    /// Says something: lines of `NAME=value`.
    async fn tell(&self, words: &str) {
        let Some(socket) = &self.socket else { return };
        match tokio::time::timeout(PATIENCE, socket.send(words.as_bytes())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => debug!(%error, "the service manager was not told"),
            Err(_elapsed) => debug!("the service manager does not listen"),
        }
    }
}

/// A path, or the name of an abstract socket after an `@`.
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let socket = Datagram::unbound()?;
    socket.set_nonblocking(true)?;
    match address.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
        }
        [b'/', ..] => socket.connect(Path::new(address))?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract socket")),
    }
    UnixDatagram::from_std(socket)
}

/// How often the manager wants to hear of the process with this pid: `WATCHDOG_PID` says whose it is.
fn watchdog(environment: &Environment, own: u32) -> Option<Duration> {
    let number = |name| environment.get(name).map(|value| value.to_str().and_then(|text| text.parse::<u64>().ok()));
    if number("WATCHDOG_PID").is_some_and(|pid| pid != Some(own.into())) {
        return None;
    }
    number("WATCHDOG_USEC").flatten().filter(|usec| *usec > 0).map(Duration::from_micros)
}

/// Whether a call on this socket is answered.
async fn answers(socket: &Path) -> bool {
    let ask = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(HELLO).await?;
        BufReader::new(stream).read_until(b'\n', &mut Vec::new()).await
    };
    matches!(tokio::time::timeout(MORE, ask).await, Ok(Ok(read)) if read > 0)
}

async fn pause(time: Duration) {
    // The time is what is waited for.
    let _elapsed = tokio::time::timeout(time, std::future::pending::<()>()).await;
}

#[cfg(test)]
mod tests;
