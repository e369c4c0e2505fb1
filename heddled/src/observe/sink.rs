//! Where the lines of the log go: stderr, and where that is the state directory's log file, a file that is moved aside before
//! it is long.
//!
//! Invariants: O2, a line that cannot be written stops nobody: it is lost, and counted; O3, the log of a daemon that was
//! started in the background takes [`MOST_BYTES`] times one more than [`KEPT`] at most, and a line.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

/// How long the log file may become before it is moved aside.
pub const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// How many files that were moved aside are kept.
pub const KEPT: u32 = 3;

/// Writes lines to stderr. Clones share it.
#[derive(Clone, Debug)]
pub struct Sink(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    file: Option<LogFile>,
    /// Lines that could not be written since the last that could.
    lost: u64,
}

impl Sink {
    /// To stderr, which is cut into files where it is the log file of this state directory.
    #[must_use]
    pub fn stderr(state_dir: &Path) -> Self {
        Self(Arc::new(Mutex::new(State { file: LogFile::behind_stderr(state_dir, MOST_BYTES), lost: 0 })))
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Arc::clone(&self.0))
    }
}

/// Writes one line.
#[derive(Debug)]
pub struct Line(Arc<Mutex<State>>);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().write(line, &mut io::stderr());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    /// Writes a line, or counts it (O2): whoever had something to say has more to do than to say it.
    fn write(&mut self, line: &[u8], out: &mut impl Write) {
        if let Some(file) = &mut self.file {
            file.make_room(line.len() as u64);
        }
        let told = match self.lost {
            0 => Ok(()),
            lost => out.write_all(format!("{lost} lines of the log could not be written before this one\n").as_bytes()),
        };
        match told.and_then(|()| out.write_all(line)) {
            Ok(()) => self.lost = 0,
            Err(_) => self.lost = self.lost.saturating_add(1),
        }
    }
}

/// The log file that stderr is.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    most: u64,
    written: u64,
}

impl LogFile {
    fn behind_stderr(state_dir: &Path, most: u64) -> Option<Self> {
        let path = state_dir.join("heddled.log");
        let behind = rustix::fs::fstat(io::stderr()).ok()?;
        let named = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        let is_it = (behind.st_dev, behind.st_ino) == (named.dev(), named.ino());
        is_it.then_some(Self { path, most, written: named.len() })
    }

    /// Begins a new file if the line would make this one too long (O3).
    fn make_room(&mut self, line: u64) {
        if self.written > 0 && self.written + line > self.most {
            match moved_aside(&self.path) {
                Ok(file) if rustix::stdio::dup2_stderr(&file).is_ok() => {}
                // Where it can be neither moved nor made, the old lines are what goes.
                _ => drop(rustix::fs::ftruncate(io::stderr(), 0)),
            }
            self.written = 0;
        }
        self.written += line;
    }
}

/// Moves the file aside, and the ones before it, of which the oldest goes; opens a new one.
fn moved_aside(path: &Path) -> io::Result<fs::File> {
    let numbered = |number: u32| match number {
        0 => path.to_owned(),
        _ => PathBuf::from(format!("{}.{number}", path.display())),
    };
    for number in (0..KEPT).rev() {
        match fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits();
    OpenOptions::new().create_new(true).append(true).mode(0o600).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_told_later() {
        let mut state = State { file: None, lost: 0 };
        state.write(b"one\n", &mut Full);
        state.write(b"two\n", &mut Full);
        let mut out = Vec::new();
        state.write(b"three\n", &mut out);
        state.write(b"four\n", &mut out);
        let told = "2 lines of the log could not be written before this one\nthree\nfour\n";
        assert_eq!(String::from_utf8(out).unwrap(), told, "O2");
    }

    #[test]
    fn the_oldest_file_goes_and_the_newest_is_of_the_user_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("heddled.log");
        for number in 0..10 {
            fs::write(&path, number.to_string()).unwrap();
            let new = moved_aside(&path).unwrap();
            assert_eq!(new.metadata().unwrap().mode() & 0o777, 0o600);
        }
        let kept = |name: &str| fs::read_to_string(place.path().join(name)).ok();
        let all = ["heddled.log", "heddled.log.1", "heddled.log.2", "heddled.log.3", "heddled.log.4"].map(kept);
        assert_eq!(all, [Some("".into()), Some("9".into()), Some("8".into()), Some("7".into()), None], "O3");
    }

    #[test]
    fn a_stderr_that_is_not_the_log_file_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("heddled.log"), "").unwrap();
        assert!(LogFile::behind_stderr(place.path(), 1).is_none());
    }
}
