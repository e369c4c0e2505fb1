//! What the black-box suites share: a daemon that is started and killed, a plain client, repositories, and waiting.
//!
//! Nothing here sleeps: [`eventually`] looks again until a condition holds or its deadline has passed.
#![allow(dead_code, reason = "each suite takes what it needs")]

mod client;
mod daemon;
mod helper;
pub(crate) mod ledger;
pub(crate) mod process;
mod random;
mod repo;
mod time;

#[allow(unused_imports, reason = "each suite takes what it needs")]
pub(crate) use client::{Client, Fault, key, token};
#[allow(unused_imports, reason = "each suite takes what it needs")]
pub(crate) use daemon::{Daemon, Place};
#[allow(unused_imports, reason = "each suite takes what it needs")]
pub(crate) use helper::{Actor, Holder, Process, role, say};
#[allow(unused_imports, reason = "each suite takes what it needs")]
pub(crate) use random::Random;
#[allow(unused_imports, reason = "each suite takes what it needs")]
pub(crate) use repo::Repo;
#[allow(unused_imports, reason = "each suite takes what it needs")]
pub(crate) use time::{Stopwatch, eventually, within};
