//! The files that keep reservation tokens: `<state>/sessions/<session_id>`, mode 0600, token and newline.
//!
//! The file is there, under `.<request_id>`, before the daemon is asked, so an answer that is lost loses nothing. Path,
//! mode and content are contract. A token is never in an error or a Debug text.
//!
//! They lie in the state directory, for a session can outlive the login, and the runtime directory does not. Files that
//! version 0.1.0 left beside the socket are still read, and removed when their sessions have ended.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use proto_schema::{RequestId, ReservationToken, SessionId};

use crate::client::start::private_directory;
use crate::error::Error;
use crate::exit::Exit;
use crate::files;

/// More than any token file has.
const MOST: u64 = 256;

/// A file that keeps a token.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    /// The session; none for a request of ours whose answer never came.
    pub(crate) session: Option<SessionId>,
}

/// How old the file of a request is before it is removed, if the process that made it has ended: 1 hour.
const ABANDONED_MS: i64 = 3_600_000;

/// How old a file is before it is asked whether it is of any use: 7 days, as long as the daemon keeps ended sessions.
const OLD_MS: i64 = 7 * 86_400_000;

/// Whether this is the name of a file that [`Tokens::begin`] made: `.r-` and 26 base32 characters.
fn is_own_request(name: &str) -> bool {
    name.strip_prefix(".r-")
        .is_some_and(|id| id.len() == 26 && id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')))
}

/// The token files of one daemon.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    directory: PathBuf,
    /// Where version 0.1.0 kept them: beside the socket.
    former: PathBuf,
    uid: u32,
}

/// A token that is kept for a request whose answer is not there yet.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pending {
    path: PathBuf,
    /// Locked as long as this process lives, so that others can tell that the file is still of use.
    _locked: Option<Flock<File>>,
}

impl Tokens {
    /// The token files in this state directory, and those that are left beside this socket.
    pub(crate) fn of_daemon(state: &Path, socket: &Path, uid: u32) -> Self {
        Self { directory: state.join("sessions"), former: socket.with_file_name("sessions"), uid }
    }

    /// Where the token of a session is kept.
    pub(crate) fn path(&self, session: SessionId) -> PathBuf {
        self.directory.join(session.to_string())
    }

    /// Writes the token of a session again if its file is gone. Returns whether it was.
    pub(crate) fn restore(&self, session: SessionId, token: &ReservationToken) -> Result<bool, Error> {
        let path = self.path(session);
        if fs::symlink_metadata(&path).is_ok() {
            return Ok(false);
        }
        self.prepare()?;
        match write_new(&path, token) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            written => written.map(|_| true).map_err(|cause| Error::io("write the token file", &path, &cause)),
        }
    }

    /// Keeps a token for a request.
    pub(crate) fn begin(&self, request: &RequestId, token: &ReservationToken) -> Result<Pending, Error> {
        self.prepare()?;
        let path = self.directory.join(format!(".{request}"));
        let file = write_new(&path, token).map_err(|cause| Error::io("write the token file", &path, &cause))?;
        // A file system without locks keeps the file for a while longer than it is of use.
        Ok(Pending { path, _locked: Flock::lock(file, FlockArg::LockExclusiveNonblock).ok() })
    }

    /// Keeps it for the session that was granted.
    pub(crate) fn settle(&self, pending: &Pending, session: SessionId) -> Result<PathBuf, Error> {
        let path = self.path(session);
        fs::rename(&pending.path, &path).map_err(|cause| Error::io("keep the token file", &path, &cause))?;
        Ok(path)
    }

    /// Forgets the token of a request that was refused.
    pub(crate) fn discard(pending: &Pending) {
        // A leftover file is harmless: its token opens nothing.
        fs::remove_file(&pending.path).ok();
    }

    /// The token of a session, if it is kept here.
    pub(crate) fn of(&self, session: SessionId) -> Result<Option<ReservationToken>, Error> {
        match self.read(&self.path(session))? {
            None => self.read(&self.former.join(session.to_string())),
            kept => Ok(kept),
        }
    }

    fn read(&self, path: &Path) -> Result<Option<ReservationToken>, Error> {
        let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) if cause.raw_os_error() == Some(libc::ELOOP) => {
                return Err(unsafe_file(path, "a symbolic link"));
            }
            Err(cause) => return Err(Error::io("read the token file", path, &cause)),
        };
        let meta = file.metadata().map_err(|cause| Error::io("read the token file", path, &cause))?;
        if !meta.is_file() {
            return Err(unsafe_file(path, "no regular file"));
        }
        if meta.uid() != self.uid {
            return Err(unsafe_file(path, "another user's"));
        }
        if meta.mode() & 0o077 != 0 {
            return Err(unsafe_file(path, "open to others (its mode should be 0600)"));
        }
        parse(file, path).map(Some)
    }

    /// The files that are kept, by name only. Those of other clients, by any other name, are left out.
    pub(crate) fn kept(&self) -> Vec<Kept> {
        let directories = [&self.directory, &self.former];
        let entries = directories.into_iter().flat_map(|path| fs::read_dir(path).into_iter().flatten().flatten());
        entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let name = name.to_str()?;
                let session = name.parse().ok();
                (session.is_some() || is_own_request(name)).then(|| Kept { path: entry.path(), session })
            })
            .collect()
    }

    /// Whether a file is a plain one of this user's, and was written more than 7 days ago.
    pub(crate) fn is_old(&self, kept: &Kept, now_ms: i64) -> bool {
        self.is_older_than(kept, OLD_MS, now_ms)
    }

    /// Whether the file of a request was left behind: the process that made it was killed, or lost its answer for good. One
    /// that waits for its answer keeps its file locked.
    pub(crate) fn is_abandoned(&self, kept: &Kept, now_ms: i64) -> bool {
        let is_unlocked = || {
            let file = files::open_no_follow(&kept.path).ok();
            file.is_some_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok())
        };
        self.is_older_than(kept, ABANDONED_MS, now_ms) && is_unlocked()
    }

    fn is_older_than(&self, kept: &Kept, ms: i64, now_ms: i64) -> bool {
        self.own(kept).is_some_and(|meta| now_ms.saturating_sub(meta.mtime().saturating_mul(1_000)) > ms)
    }

    /// Removes a file if it is a plain one of this user's.
    pub(crate) fn forget(&self, kept: &Kept) {
        if self.own(kept).is_some() {
            // One that stays is harmless: its token opens nothing.
            fs::remove_file(&kept.path).ok();
        }
    }

    fn own(&self, kept: &Kept) -> Option<fs::Metadata> {
        fs::symlink_metadata(&kept.path).ok().filter(|meta| meta.is_file() && meta.uid() == self.uid)
    }

    /// Makes the directory, or checks the one that is there.
    fn prepare(&self) -> Result<(), Error> {
        let path = &self.directory;
        private_directory(path.parent().unwrap_or(path))?;
        let made = DirBuilder::new().mode(0o700).create(path);
        if made.is_ok() {
            return Ok(());
        }
        let meta = fs::symlink_metadata(path).map_err(|cause| Error::io("make", path, &made.err().unwrap_or(cause)))?;
        if !meta.is_dir() {
            return Err(unsafe_file(path, "no directory"));
        }
        if meta.uid() != self.uid || meta.mode() & 0o077 != 0 {
            return Err(unsafe_file(path, "not for its owner alone (its mode should be 0700)"));
        }
        Ok(())
    }
}

fn write_new(path: &Path, token: &ReservationToken) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)?;
    file.write_all(format!("{}\n", token.expose()).as_bytes())?;
    Ok(file)
}

/// Reads the token file that the user named.
pub(crate) fn named(path: &Path) -> Result<ReservationToken, Error> {
    let file = files::open(path).map_err(|cause| Error::io("read the token file", path, &cause))?;
    parse(file, path)
}

fn parse(file: File, path: &Path) -> Result<ReservationToken, Error> {
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text).map_err(|cause| Error::io("read the token file", path, &cause))?;
    // The parser's own error never repeats the text.
    text.trim_end().parse().map_err(|error| {
        Error::local(Exit::DENIED, format!("no reservation token is in {}", path.display())).fact(format!("{error}"))
    })
}

fn unsafe_file(path: &Path, what: &str) -> Error {
    Error::local(Exit::DENIED, format!("the token file is not safe: {}", path.display()))
        .fact(format!("it is {what}; it was not used"))
        .hint("remove it, and name the token with --token-file if you have it elsewhere")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn store() -> (tempfile::TempDir, Tokens) {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("run/heddled.sock");
        let tokens = Tokens::of_daemon(directory.path(), &socket, nix::unistd::geteuid().as_raw());
        (directory, tokens)
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("there").permissions().mode() & 0o7777
    }

    #[test]
    fn a_token_is_kept_for_its_owner_alone() {
        let (directory, tokens) = store();
        let token = ReservationToken::from_bytes([3; 32]);
        let session = SessionId::from_random(7);
        assert_eq!(tokens.of(session).expect("read"), None);
        let pending = tokens.begin(&"r-1".parse().expect("an id"), &token).expect("kept");
        let folder = directory.path().join("sessions");
        assert_eq!((mode(&folder), mode(&folder.join(".r-1"))), (0o700, 0o600));
        let path = tokens.settle(&pending, session).expect("settled");
        assert_eq!(fs::read_to_string(&path).expect("text"), format!("{}\n", token.expose()));
        assert_eq!(tokens.of(session).expect("read"), Some(token));
        assert!(!folder.join(".r-1").exists());
    }

    #[test]
    fn a_refused_request_leaves_nothing() {
        let (directory, tokens) = store();
        let pending =
            tokens.begin(&"r-2".parse().expect("an id"), &ReservationToken::from_bytes([3; 32])).expect("kept");
        Tokens::discard(&pending);
        assert_eq!(fs::read_dir(directory.path().join("sessions")).expect("there").count(), 0);
    }

    #[test]
    fn a_token_that_was_left_beside_the_socket_is_read() {
        let (directory, tokens) = store();
        let (token, session) = (ReservationToken::from_bytes([3; 32]), SessionId::from_random(7));
        let former = directory.path().join("run/sessions");
        fs::create_dir_all(&former).expect("made");
        drop(write_new(&former.join(session.to_string()), &token).expect("written"));
        assert_eq!(tokens.of(session).expect("read"), Some(token.clone()));
        assert_eq!(tokens.kept().len(), 1);
        assert!(tokens.restore(session, &token).expect("written"));
        assert!(!tokens.restore(session, &token).expect("there"));
        assert_eq!(tokens.kept().len(), 2);
    }

    #[test]
    fn the_file_of_a_request_is_left_behind_once_its_process_has_ended() {
        let (_directory, tokens) = store();
        let request = format!("r-{}", "a".repeat(26)).parse().expect("an id");
        let pending = tokens.begin(&request, &ReservationToken::from_bytes([3; 32])).expect("kept");
        let kept = tokens.kept();
        let (now, later) = (crate::clock::wall_ms(), crate::clock::wall_ms() + 2 * ABANDONED_MS);
        assert!(!tokens.is_abandoned(&kept[0], later), "its process waits for its answer");
        drop(pending);
        assert!(!tokens.is_abandoned(&kept[0], now) && tokens.is_abandoned(&kept[0], later));
    }

    #[test]
    fn links_and_open_files_are_refused_and_their_content_is_not_told() {
        let (directory, tokens) = store();
        let token = ReservationToken::from_bytes([3; 32]);
        let session = SessionId::from_random(7);
        let pending = tokens.begin(&"r-1".parse().expect("an id"), &token).expect("kept");
        let path = tokens.settle(&pending, session).expect("settled");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("mode");
        assert_eq!(tokens.of(session).expect_err("open to others").exit(), Exit::DENIED);
        let elsewhere = directory.path().join("elsewhere");
        fs::rename(&path, &elsewhere).expect("moved");
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).expect("mode");
        symlink(&elsewhere, &path).expect("linked");
        assert_eq!(tokens.of(session).expect_err("a link").exit(), Exit::DENIED);
        fs::write(&elsewhere, "secret words").expect("written");
        let error = format!("{:?}", named(&elsewhere).expect_err("no token"));
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let (directory, tokens) = store();
        fs::create_dir(directory.path().join("sessions")).expect("made");
        fs::set_permissions(directory.path().join("sessions"), fs::Permissions::from_mode(0o755)).expect("mode");
        let begun = tokens.begin(&"r-1".parse().expect("an id"), &ReservationToken::from_bytes([3; 32]));
        assert_eq!(begun.expect_err("open to others").exit(), Exit::DENIED);
    }
}
