//! One repository, opened: what is shared by everyone who asks about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proto_schema::RepositoryProblem;

use super::discover::Found;
use super::error::Error;
use super::format::{self, Format};
use super::git::WallClock;
use super::marker::KnownMark;
use super::objects::Objects;
use super::refs::Refs;
use super::stamp::{Directory, Stamp};
use super::synced::Synced;
use super::{Located, MarkSeen, RepoKey};

/// A repository that is kept open.
pub(super) struct Opened {
    pub(super) key: RepoKey,
    /// When the common directory was made.
    born: Option<i64>,
    /// The versions of the common directory and of the `config` that it was opened with.
    pub(super) version: (Stamp, Option<Stamp>),
    pub(super) git_dir: Arc<Path>,
    /// The common directory, kept open.
    pub(super) directory: Arc<Directory>,
    pub(super) now: WallClock,
    /// Whether the files that make it a repository are known to be durable.
    pub(super) durable: AtomicBool,
    pub(super) shown: Arc<str>,
    /// The main worktree; `None` in a bare repository.
    pub(super) main: Option<PathBuf>,
    pub(super) format: Format,
    pub(super) refs: Refs,
    pub(super) objects: Objects,
    pub(super) marker: KnownMark,
    /// What was synced of all repositories.
    pub(super) synced: Arc<Synced>,
}

impl Opened {
    /// Opens what was found at `path`.
    pub(super) fn open(
        path: &Path,
        found: &Found,
        config: Option<Stamp>,
        now: WallClock,
        synced: Arc<Synced>,
    ) -> Result<Self, Error> {
        let unsupported = || Error::not_found(path, RepositoryProblem::UnsupportedFormat);
        let format = format::read(&found.common)?.ok_or_else(unsupported)?;
        let git_dir: Arc<Path> = found.common.as_path().into();
        let failed = |source| Error::io("open the repository", &git_dir, source);
        let directory = Arc::new(Directory::open(&git_dir).map_err(failed)?);
        let main = main_worktree(&git_dir, &format);
        let shown = shown(main.as_deref().unwrap_or(&git_dir));
        Ok(Self {
            key: key_of(found),
            born: born(&found.common),
            version: (found.common_stamp, config),
            shown,
            main,
            refs: Refs::new((Arc::clone(&git_dir), Arc::clone(&directory)), &format, Arc::clone(&now)),
            objects: Objects::new(Arc::clone(&git_dir))?,
            marker: KnownMark::default(),
            synced,
            format,
            directory,
            now,
            durable: AtomicBool::new(false),
            git_dir,
        })
    }

    /// The repository as seen from where it was found, its mark left out.
    pub(super) fn locate(&self, found: &Found) -> Located {
        let worktree = match &found.top {
            Some(top) if found.linked => Some(top.as_path()),
            // `core.worktree` may have led elsewhere, and a bare repository may be called `.git`.
            Some(top) => self.main.as_deref().filter(|main| top.starts_with(main)),
            None => None,
        };
        Located {
            key: self.key,
            git_dir: Arc::clone(&self.git_dir),
            shown: Arc::clone(&self.shown),
            worktree: worktree.map(Into::into),
            folding: self.refs.folding,
            mark: MarkSeen::Absent,
            born: self.born,
        }
    }
}

/// When a directory was made, in nanoseconds since 1970; `None` where the file system does not record it.
fn born(directory: &Path) -> Option<i64> {
    let made = std::fs::metadata(directory).and_then(|data| data.created()).ok()?;
    let since = made.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_nanos()).ok().filter(|nanos| *nanos > 0)
}

pub(super) fn key_of(found: &Found) -> RepoKey {
    let (device, inode) = found.common_stamp.identity();
    RepoKey { device, inode }
}

/// The main worktree. A Git directory of another name that says nothing of a worktree does not know it: then the Git
/// directory stands for the repository, whatever path was asked.
fn main_worktree(git_dir: &Path, format: &Format) -> Option<PathBuf> {
    if format.bare {
        return None;
    }
    if let Some(worktree) = &format.worktree {
        return std::fs::canonicalize(git_dir.join(worktree)).ok();
    }
    if git_dir.file_name()? == ".git" { git_dir.parent().map(Path::to_owned) } else { None }
}

/// A path as the wire shows it: as it is, or as Git quotes what is not UTF-8.
#[must_use]
pub fn shown(path: &Path) -> Arc<str> {
    use std::os::unix::ffi::OsStrExt as _;
    shown_bytes(path.as_os_str().as_bytes())
}

/// The same, of a path as Git has it.
pub(super) fn shown_bytes(path: &[u8]) -> Arc<str> {
    if let Ok(text) = std::str::from_utf8(path) {
        return text.into();
    }
    let mut quoted = String::from("\"");
    for byte in path {
        match byte {
            b'"' => quoted.push_str("\\\""),
            b'\\' => quoted.push_str("\\\\"),
            7 => quoted.push_str("\\a"),
            8 => quoted.push_str("\\b"),
            b'\t' => quoted.push_str("\\t"),
            b'\n' => quoted.push_str("\\n"),
            11 => quoted.push_str("\\v"),
            12 => quoted.push_str("\\f"),
            b'\r' => quoted.push_str("\\r"),
            b' '..=b'~' => quoted.push(char::from(*byte)),
            _ => {
                quoted.push('\\');
                for shift in [6, 3, 0] {
                    quoted.push(char::from(b'0' + (byte >> shift & 7)));
                }
            }
        }
    }
    quoted.push('"');
    quoted.into()
}
