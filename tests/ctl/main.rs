//! Black-box tests of `heddlectl`: the real program against the real daemon, each test in a home, a runtime directory, a
//! state directory and a repository of its own, in an environment that has nothing else.
//!
//! The suite belongs to the package `heddled`, for cargo names that package's program to it; `heddlectl` is looked for
//! beside it, so the workspace is built first. Only `faults` uses a scripted server: for what a sound daemon never does.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

mod captures;
mod cleaning;
mod commands;
#[cfg(test)]
mod containers;
mod demo;
#[cfg(test)]
mod doctor;
mod faults;
#[cfg(test)]
#[path = "../support/ledger.rs"]
mod ledger;
mod logs;
#[cfg(test)]
#[path = "../support/process.rs"]
mod process;
mod ready;
mod refusals;
mod rescue;
mod restarts;
mod run;
mod service;
mod sessions;
mod start;
mod support;
mod systemd;
mod terminal;
mod tokens;
mod unreachable;
mod verify;
mod waits;
mod watch;
