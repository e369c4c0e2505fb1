//! The program that the service is to run: a path that an upgrade leaves as it is.

use std::path::{Path, PathBuf};

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
    text(&program)?;
    Ok(program)
}

/// A path as a file of the service can name it: a line break in it would be another setting.
pub(super) fn text(path: &Path) -> Result<String, Error> {
    match path.to_str() {
        Some(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(Error::local(Exit::CONFIG, format!("a service cannot have this path: {}", path.display()))
            .fact("it has bytes that are no text, or control characters")
            .fact("nothing was changed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_line() {
        assert_eq!(text(Path::new("/a b/ö")).expect("fine"), "/a b/ö");
        for wrong in ["/a\nExecStart=/evil", "/a\u{7f}"] {
            assert_eq!(text(Path::new(wrong)).expect_err("refused").exit(), Exit::CONFIG, "{wrong:?}");
        }
    }
}
