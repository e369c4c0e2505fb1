//! The daemon's own life: its lock, its socket, its signals, its limits, its exit codes, and the service manager that may
//! have started it.
//!
//! It may not know what the daemon does. Invariants: F1, nothing is accepted without the lock; F2, what somebody else
//! put at the path of the socket or the lock is never removed or replaced.

mod activation;
pub mod exit;
pub mod handover;
#[cfg(target_os = "macos")]
mod launchd;
mod limits;
mod lock;
mod notify;
mod signals;
mod socket;
mod socket_watch;

pub use activation::{ActivationError, Handed};
pub use limits::{OpenFiles, raise_open_files};
pub use lock::{Lock, LockError, LockRecord, lock_path};
pub use notify::Manager;
pub use signals::{Hangups, Shutdown, Stop};
pub use socket::{SocketError, SocketGuard, bind};
pub use socket_watch::SocketWatch;

#[cfg(not(target_os = "macos"))]
pub use activation::handed_over;
#[cfg(target_os = "macos")]
pub use launchd::handed_over;
