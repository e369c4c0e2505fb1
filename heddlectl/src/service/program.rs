//! The program that the service is to run: a path that an upgrade leaves as it is.

use std::path::PathBuf;

use crate::client::start;
use crate::env::Env;
use crate::error::Error;
use crate::exit::Exit;

/// The path of `heddled` for the files of the service.
///
/// The one beside this program, as everywhere; but by the name that it has in the PATH, where it is the same file: what is
/// beside us may be the inside of a package, which the next version replaces by another directory.
pub(crate) fn find(env: &Env) -> Result<PathBuf, Error> {
    let beside = start::program(env)?;
    let real = beside.canonicalize().map_err(|cause| Error::io("find", &beside, &cause))?;
    let path = env.os("PATH").map(std::ffi::OsStr::to_os_string).unwrap_or_default();
    let named = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("heddled"))
        .find(|candidate| candidate.canonicalize().is_ok_and(|found| found == real));
    let program = named.unwrap_or(real);
    match program.to_str() {
        Some(text) if !text.chars().any(char::is_control) => Ok(program),
        _ => Err(Error::local(Exit::CONFIG, format!("the path cannot be in a unit: {}", program.display()))
            .fact("it has bytes that are no text, or control characters")
            .hint("install heddled somewhere else")),
    }
}
