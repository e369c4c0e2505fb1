//! Modes that only heddlectl itself starts: a process that waits for its grant, one that leaves the terminal, and one
//! that does not outlive us.
//!
//! All of them replace themselves by another program, so the pid that the parent knows is that program's.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::SigSet;

use crate::error::Error;
use crate::exit::Exit;
use crate::run::gate;

/// `heddlectl __exec CMD ...`: waits on its standard input for the grant, then becomes CMD.
pub(crate) const EXEC: &str = "__exec";
/// `heddlectl __daemonize PROGRAM`: starts a session, closes what it inherited, then becomes PROGRAM.
pub(crate) const DAEMONIZE: &str = "__daemonize";
/// `heddlectl __tethered PROGRAM`: becomes PROGRAM, which ends when its parent does. For the demo's daemon.
pub(crate) const TETHERED: &str = "__tethered";

/// This very program, even after its file was replaced.
pub(crate) fn own_program() -> PathBuf {
    let link = Path::new("/proc/self/exe");
    if link.exists() { link.to_path_buf() } else { std::env::current_exe().unwrap_or_else(|_| "heddlectl".into()) }
}

/// Runs a hidden mode, if that is what the arguments ask for; returns only when it could not.
pub(crate) fn dispatch(arguments: &[OsString]) -> Option<(Error, Exit)> {
    let mode = arguments.get(1)?;
    let rest = arguments.get(2..).unwrap_or_default();
    if mode == EXEC {
        Some(gate::pass(rest))
    } else if mode == DAEMONIZE {
        Some(daemonize(rest))
    } else if mode == TETHERED {
        Some(tethered(rest))
    } else {
        None
    }
}

fn daemonize(arguments: &[OsString]) -> (Error, Exit) {
    // It fails only where it is not needed: this process leads a session already.
    nix::unistd::setsid().ok();
    close_inherited();
    become_program(arguments)
}

fn tethered(arguments: &[OsString]) -> (Error, Exit) {
    // Elsewhere than on Linux it can outlive us, if we are killed in the second that it is there.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM).ok();
    close_inherited();
    become_program(arguments)
}

fn become_program(arguments: &[OsString]) -> (Error, Exit) {
    // Whoever starts us may have blocked what a daemon must hear; a failure leaves that as it was.
    SigSet::empty().thread_set_mask().ok();
    let Some((program, rest)) = arguments.split_first() else {
        return (Error::usage("there is no program to start"), Exit::USAGE);
    };
    let cause = Command::new(program).args(rest).exec();
    (Error::io("start", Path::new(program), &cause), Exit::NOT_EXECUTABLE)
}

/// Closes every descriptor but the standard three: what a harness leaked to us must not stay open in a daemon.
fn close_inherited() {
    let names: Vec<_> =
        fs::read_dir("/dev/fd").into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    for descriptor in names.iter().filter_map(|name| name.to_str()?.parse::<i32>().ok()) {
        if descriptor > 2 {
            // The directory's own descriptor is closed already.
            nix::unistd::close(descriptor).ok();
        }
    }
}
