//! Reading `/proc/<pid>/stat` and `/proc/<pid>/status` (Linux).
//!
//! It may not interpret what it reads. Invariant: the name of a program, which may contain anything, never shifts a
//! field.

use std::io;
use std::path::Path;

use nix::errno::Errno;

/// What `/proc/<pid>/stat` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stat {
    /// The state letter (field 3): `Z` for a process whose main thread has ended, whether the rest lives or not.
    pub(super) state: u8,
    /// The process that will reap it (field 4).
    pub(super) parent: i32,
    /// How many threads there are (field 20), the ended main thread included.
    pub(super) threads: u64,
    /// When the process started, in clock ticks since boot (field 22).
    pub(super) start_time: u64,
    /// How it ended, as `wait` tells it (field 52); 0 while it lives, and where that is not told.
    pub(super) exit_code: i32,
}

impl Stat {
    /// Reads it of a process. No such process is `Ok(None)`.
    pub(super) fn read(pid: i32) -> io::Result<Option<Self>> {
        // The name is bytes, not text.
        Self::read_file(Path::new(&format!("/proc/{pid}/stat")))
    }

    /// Reads it of each thread of a process; those that end meanwhile are left out.
    pub(super) fn of_threads(pid: i32) -> impl Iterator<Item = Self> {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        threads.filter_map(|thread| Self::read_file(&thread.path().join("stat")).ok().flatten())
    }

    fn read_file(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(line) => Self::parse(&line).map(Some).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The name (field 2) stands in parentheses and may itself contain spaces and parentheses, so the fields are counted
    /// from the last closing one.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let after_name = line.iter().rposition(|byte| *byte == b')')? + 1;
        let rest = std::str::from_utf8(line.get(after_name..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let parent = fields.next()?.parse().ok()?;
        // Field 5 is next: fifteen lie before field 20, and field 21 before field 22.
        let threads = fields.nth(15)?.parse().ok()?;
        let start_time = fields.nth(1)?.parse().ok()?;
        // Twenty-nine lie between. Kernels before 3.5 have no such field.
        let exit_code = fields.nth(29).and_then(|code| code.parse().ok()).unwrap_or_default();
        Some(Self { state, parent, threads, start_time, exit_code })
    }

    /// Whether nothing of the process runs any more. To be used only where there is no pidfd: `Z` alone means that the
    /// main thread has ended, while others may live on.
    pub(super) fn is_dead(self) -> bool {
        matches!(self.state, b'X' | b'x') || (self.state == b'Z' && self.threads <= 1)
    }

    /// Whether a thread does not wait for anything but a processor, or the disk.
    pub(super) fn is_on_its_way(self) -> bool {
        matches!(self.state, b'R' | b'D')
    }
}

/// The real user id of a process, from its status: the owner of its files in `/proc` is root when it is not dumpable.
/// No such process is `Ok(None)`.
pub(super) fn real_uid(pid: i32) -> io::Result<Option<u32>> {
    match std::fs::read(format!("/proc/{pid}/status")) {
        Ok(status) => parse_uid(&status).map(Some).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The kernel escapes newlines in the `Name` line, so no program name can pretend to be another line.
fn parse_uid(status: &[u8]) -> Option<u32> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// `/proc/<pid>` is not there, or its process ended between open and read.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ESRCH as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &str = "S 1 42 42 0 -1 4194304 100 0 0 0 1 2 0 0 20 0 7 0 987654 1000 200 18446744073709551615";

    #[test]
    fn the_name_never_shifts_a_field() {
        for name in ["cat", "a b", "a) S 1 1 (b", ") ) )", "", "(((", "tab\there", "new\nline"] {
            let line = format!("42 ({name}) {FIELDS}\n");
            assert_eq!(
                Stat::parse(line.as_bytes()),
                Some(Stat { state: b'S', parent: 1, threads: 7, start_time: 987_654, exit_code: 0 }),
                "{name:?}"
            );
        }
        let mut bytes = b"42 (\xff\xfe) ".to_vec();
        bytes.extend_from_slice(FIELDS.as_bytes());
        assert!(Stat::parse(&bytes).is_some(), "a name need not be UTF-8");
    }

    #[test]
    fn what_is_no_stat_is_refused() {
        for line in [
            "",
            "42",
            "42 (cat",
            "42 (cat)",
            "42 (cat) S 1 2 3",
            "42 (cat) S 1 42 42 0 -1 1 1 0 0 0 1 2 0 0 20 0 x 0 9",
        ] {
            assert_eq!(Stat::parse(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn a_main_thread_that_ended_is_not_a_death() {
        let of = |state, threads| Stat { state, parent: 1, threads, start_time: 0, exit_code: 0 }.is_dead();
        assert!(!of(b'Z', 2), "V1: other threads live on");
        assert!(of(b'Z', 1));
        assert!(of(b'X', 1));
        assert!(!of(b'D', 1) && !of(b'T', 1) && !of(b'S', 1));
    }

    #[test]
    fn the_uid_line_is_found() {
        assert_eq!(parse_uid(b"Name:\tx\\nUid:\t7\nUmask:\t0022\nUid:\t1000\t0\t0\t0\nGid:\t5\n"), Some(1000));
        assert_eq!(parse_uid(b"Name:\tx\n"), None);
    }

    #[test]
    fn own_process_is_readable_and_an_impossible_one_is_gone() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(Stat::read(own).unwrap().unwrap().start_time > 0);
        assert_eq!(real_uid(own).unwrap(), Some(nix::unistd::Uid::current().as_raw()));
        assert_eq!(Stat::read(i32::MAX).unwrap(), None);
        assert_eq!(real_uid(i32::MAX).unwrap(), None);
    }
}
