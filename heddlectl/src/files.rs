//! Reads small files that another process may have made.
//!
//! A FIFO, a device or an endless file in such a place must not hold a command up: files are opened without blocking, only
//! regular ones are read, and only up to a bound.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;

/// More than any file has that is read whole: units, records, `HEAD`, `.git`.
const MAX_BYTES: u64 = 1024 * 1024;

/// Opens a regular file for reading. A symbolic link is followed.
///
/// Fails with `InvalidInput` if it is no regular file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    open_with(path, 0)
}

/// The same, but fails if the last component is a symbolic link.
pub(crate) fn open_no_follow(path: &Path) -> io::Result<File> {
    open_with(path, libc::O_NOFOLLOW)
}

fn open_with(path: &Path, flags: i32) -> io::Result<File> {
    // O_NONBLOCK: opening a FIFO waits for a writer without it.
    let file = OpenOptions::new().read(true).custom_flags(flags | libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

/// Reads a regular file of at most 1 MiB as text. Fails with `InvalidInput` if it is longer or no regular file.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is too long"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_file_or_too_long_is_refused_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
        for path in [&*fifo, directory.path(), Path::new("/dev/zero")] {
            assert_eq!(read_text(path).expect_err("refused").kind(), io::ErrorKind::InvalidInput, "{}", path.display());
        }
        let long = directory.path().join("long");
        File::create(&long).expect("made").set_len(MAX_BYTES + 1).expect("long");
        assert_eq!(read_text(&long).expect_err("too long").kind(), io::ErrorKind::InvalidInput);
        std::fs::write(&long, "text").expect("written");
        assert_eq!(read_text(&long).expect("read"), "text");
    }
}
