//! `heddlectl`: the command line of `heddled`.
//!
//! A process of its own for one question: it reads its arguments and environment once, sends one call over the daemon's
//! socket, prints the answer and ends with the exit code that PROTOCOL.md gives it. It decides nothing about threads.

mod app;
mod cli;
mod client;
mod clock;
mod commands;
mod complete;
mod doctor;
mod env;
mod error;
mod exit;
mod grant;
mod hidden;
mod output;
mod overview;
mod paths;
mod probe;
mod run;
mod service;
mod session;
mod tidy;
mod tokens;
mod wait;
mod worktree;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::main(std::env::args_os().collect()).into()
}
