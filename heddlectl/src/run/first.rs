//! `heddlectl run` as the first process of a pid namespace, as in a container without an init.
//!
//! The first process becomes the parent of every process whose parent has ended, and must reap it. It cannot tell which of them
//! `run` itself waits for, so it does nothing else: it starts `run` as its child, passes signals on, reaps, and ends as its
//! child did.

use std::ffi::OsString;
use std::process::Command;
use std::thread;

use rustix::process::{WaitOptions, WaitStatus, wait};

use crate::error::Error;
use crate::exit::Exit;
use crate::hidden;
use crate::run::signals::{self, Signals};

/// Whether this process is the first of its pid namespace.
pub(crate) fn is_first() -> bool {
    std::process::id() == 1
}

/// Runs this very program again with the same arguments, and returns how it ended.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> Result<Exit, Error> {
    let failed = |cause: std::io::Error| Error::local(Exit::UNEXPECTED, format!("cannot start a process: {cause}"));
    // Before the block: the child must not inherit it.
    let child = Command::new(hidden::own_program()).args(arguments).spawn().map_err(failed)?;
    let mut signals = Signals::block().map_err(failed)?;
    let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            while let Ok(arrived) = signals.next() {
                signals::pass_on(arrived, pid);
            }
        })
        .map_err(failed)?;
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((reaped, status))) if reaped.as_raw_nonzero().get() == pid => return Ok(exit_code(status)),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(cause) => return Err(failed(cause.into())),
        }
    }
}

fn exit_code(status: WaitStatus) -> Exit {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    Exit(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::UNEXPECTED.0))
}
