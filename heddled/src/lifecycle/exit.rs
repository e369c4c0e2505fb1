//! The exit codes of `heddled`. They are contract: service managers and `heddlectl` decide by them.
//!
//! It may not exit: the code is returned from `main`, so that everything is dropped and flushed.

/// It did what it was asked to.
pub const OK: u8 = 0;

/// The command line is wrong.
pub const USAGE: u8 = 2;

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
