//! The exit codes of `heddled`. They are contract: service managers and `heddlectl` decide by them.
//!
//! It may not exit: the code is returned from `main`, so that everything is dropped and flushed.

use super::{ActivationError, LockError, SocketError};
use crate::paths::PathError;

/// It did what it was asked to.
pub const OK: u8 = 0;

/// The command line is wrong.
pub const USAGE: u8 = 2;

/// A correct "no": what was asked for would harm something.
pub const REFUSED: u8 = 3;

/// It cannot serve: another daemon is running, or the socket cannot be had. Starting it again may help later.
pub const UNAVAILABLE: u8 = 69;

/// A defect of the daemon.
pub const INTERNAL: u8 = 70;

/// The store cannot be read or written. Nothing was replaced; starting it again does not help.
pub const STORE: u8 = 74;

/// A file or directory that it depends on is not the user's alone.
pub const PERMISSION: u8 = 77;

/// The configuration is wrong. Starting it again does not help.
pub const CONFIG: u8 = 78;

impl PathError {
    /// The exit code of a daemon that could not start because of it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Relative { .. } | Self::NoHome { .. } | Self::SocketTooLong { .. } => CONFIG,
            Self::NotADirectory { .. } | Self::OtherOwner { .. } | Self::Open { .. } => PERMISSION,
            Self::Io { .. } => UNAVAILABLE,
        }
    }
}

impl LockError {
    /// The exit code of a daemon that could not start because of it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Foreign { .. } => PERMISSION,
            Self::Held(_) | Self::Io { .. } => UNAVAILABLE,
        }
    }
}

impl SocketError {
    /// The exit code of a daemon that could not start because of it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Path(error) => error.exit_code(),
            Self::InUse { .. } | Self::NotASocket { .. } | Self::LockLost { .. } | Self::Io { .. } => UNAVAILABLE,
        }
    }
}

impl ActivationError {
    /// The exit code of a daemon that could not start because of it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Path(error) => error.exit_code(),
            Self::Variable { .. } | Self::NotAListener(_) | Self::Elsewhere { .. } => CONFIG,
            Self::Unsafe { .. } => PERMISSION,
            Self::NotOpen(_) | Self::Launchd { .. } | Self::Io { .. } => UNAVAILABLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stops_the_start_has_its_code() {
        assert_eq!(LockError::Held(None).exit_code(), 69);
        assert_eq!(LockError::Foreign { path: "/x".into() }.exit_code(), 77);
        let long = PathError::SocketTooLong { path: "/x".into(), length: 200 };
        assert_eq!(SocketError::from(long).exit_code(), 78);
        assert_eq!(SocketError::InUse { path: "/x".into() }.exit_code(), 69);
        let elsewhere = ActivationError::Elsewhere { there: "/x".into(), expected: "/y".into() };
        assert_eq!((elsewhere.exit_code(), ActivationError::NotOpen(3).exit_code()), (78, 69));
    }
}
