//! The daemon's own life: its lock, its socket, its signals, its limits, its exit codes.
//!
//! It may not know what the daemon does. Invariants: F1, there is no listener without the lock; F2, what somebody else
//! put at the path of the socket or the lock is never removed or replaced.

pub mod exit;
mod limits;
mod lock;
mod signals;
mod socket;

pub use limits::{OpenFiles, raise_open_files};
pub use lock::{Lock, LockError, LockRecord, lock_path};
pub use signals::{Hangups, Shutdown, Stop};
pub use socket::{SocketError, SocketGuard, bind};
