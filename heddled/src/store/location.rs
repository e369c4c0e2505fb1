//! Whether the files of an open store are still where they were opened: a state directory can be removed, moved or replaced
//! while a daemon uses it, and what is written to its open files then is lost, or belongs to no state.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use super::Error;
use super::condition::Condition;

/// How often the watch looks.
const EVERY: Duration = Duration::from_secs(1);

/// The files that must be the ones that were opened, by path.
#[derive(Debug)]
pub(super) struct Location {
    files: Vec<(PathBuf, (u64, u64))>,
}

fn identity(data: &Metadata) -> (u64, u64) {
    (data.dev(), data.ino())
}

impl Location {
    /// Takes down which files these are.
    pub(super) fn of<'a>(files: impl IntoIterator<Item = (&'a Path, &'a File)>) -> io::Result<Self> {
        let files = files.into_iter().map(|(path, file)| Ok((path.to_owned(), identity(&file.metadata()?))));
        Ok(Self { files: files.collect::<io::Result<_>>()? })
    }

    /// Returns the first path that does not lead to the file that was opened. A path that cannot be looked at for another
    /// reason is no answer: a disk that fails says so when it is written to.
    pub(super) fn missing(&self) -> Option<&Path> {
        self.files.iter().find(|(path, known)| is_gone(path, *known)).map(|(path, _)| path.as_path())
    }

    /// The same of one file only.
    pub(super) fn is_missing(&self, path: &Path) -> bool {
        self.files.iter().any(|(known, file)| known == path && is_gone(path, *file))
    }
}

fn is_gone(path: &Path, known: (u64, u64)) -> bool {
    match std::fs::symlink_metadata(path) {
        Ok(data) => identity(&data) != known || data.nlink() == 0,
        Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}

/// Looks once a second whether the files are still there, on a thread of its own: a disk that does not answer holds up no
/// other one. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    found: Arc<OnceLock<Arc<Error>>>,
    _running: Sender<()>,
}

impl Watch {
    pub(super) fn start(state: &Path, location: Arc<Location>, condition: Arc<Condition>) -> io::Result<Self> {
        let found = Arc::new(OnceLock::new());
        let (running, ended) = mpsc::channel::<()>();
        let (state, noted) = (state.to_owned(), Arc::clone(&found));
        thread::Builder::new().name("state watch".to_owned()).spawn(move || {
            while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let Some(path) = location.missing() else { continue };
                let error = Error::Gone { state, path: path.to_owned() };
                tracing::error!(%error, "the store failed: changes are refused");
                condition.fail(error.with_causes());
                // Nobody else sets it.
                let _is_first = noted.set(Arc::new(error));
                return;
            }
        })?;
        Ok(Self { found, _running: running })
    }

    /// Returns what was found to be wrong.
    pub(super) fn found(&self) -> Option<Arc<Error>> {
        self.found.get().cloned()
    }
}
