//! Where the daemon's files are, and whether the directories that hold them are the user's alone.
//!
//! It may not read the process's environment (that is passed in) and never follows a symbolic link in a last component.
//!
//! Invariants: P1, a directory that [`secure_dir`] has accepted belongs to us, is no symbolic link, and nobody else can
//! enter it; P2, the permissions of a directory that is not heddle's own by name are never changed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::Uid;

/// The most bytes that the path of a Unix socket may have: `sun_path` without its terminating zero.
pub const MAX_SOCKET_PATH_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// What is wrong with a path.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// A variable that must hold an absolute path holds another.
    #[error("{variable} must be an absolute path, but is '{}'", value.display())]
    Relative {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: PathBuf,
    },
    /// Nothing says where the user's files are.
    #[error("cannot tell where {what} belongs: neither {set} nor HOME is set to an absolute path")]
    NoHome {
        /// What has no place.
        what: &'static str,
        /// The variables that would give it one.
        set: &'static str,
    },
    /// The path of the socket does not fit into a socket address.
    #[error(
        "the socket path '{}' is {length} bytes long, and this system takes at most {MAX_SOCKET_PATH_BYTES}; \
         set HEDDLE_SOCKET to a shorter path",
        path.display()
    )]
    SocketTooLong {
        /// The path.
        path: PathBuf,
        /// Its bytes.
        length: usize,
    },
    /// Not a directory, or a symbolic link to one.
    #[error("'{}' is not a directory (a symbolic link to one is not accepted here)", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The directory belongs to somebody else.
    #[error(
        "'{}' belongs to the user with uid {owner}, not to us (uid {us}): somebody else may have made it first; \
         set HEDDLE_SOCKET or HEDDLE_STATE_DIR to a place of your own",
        path.display()
    )]
    OtherOwner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// Others can enter the directory, and it is not heddle's own, so its mode is left alone.
    #[error("'{}' has mode {mode:04o}, so others can enter it; use a directory of its own, or run: chmod 700 '{}'", path.display(), path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system refused.
    #[error("cannot {operation} '{}'", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// The variables of a process's environment, read once. An empty variable counts as absent.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The environment of this process. To be called by the composition root only.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// A variable that is set to something.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// A path that must be absolute because somebody set it for us.
    pub(crate) fn own_path(&self, variable: &'static str) -> Result<Option<PathBuf>, PathError> {
        match self.get(variable).map(PathBuf::from) {
            Some(value) if !value.is_absolute() => Err(PathError::Relative { variable, value }),
            value => Ok(value),
        }
    }

    /// A path that is ignored unless it is absolute, as the XDG base directory specification says.
    fn shared_path(&self, variable: &str) -> Option<PathBuf> {
        self.get(variable).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    fn under_home(&self, variable: &'static str, home: &str, what: &'static str) -> Result<PathBuf, PathError> {
        self.shared_path(variable)
            .or_else(|| self.shared_path("HOME").map(|path| path.join(home)))
            .map(|path| path.join("heddle"))
            .ok_or(PathError::NoHome { what, set: variable })
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Where the daemon listens unless told otherwise: `$HEDDLE_SOCKET`, else `$XDG_RUNTIME_DIR/heddle/heddled.sock`, else
/// `${TMPDIR:-/tmp}/heddle-<uid>/heddled.sock`.
///
/// # Errors
///
/// [`PathError::Relative`] if `HEDDLE_SOCKET` is not absolute.
pub fn socket(environment: &Environment, uid: Uid) -> Result<PathBuf, PathError> {
    if let Some(path) = environment.own_path("HEDDLE_SOCKET")? {
        return Ok(path);
    }
    let directory = environment.shared_path("XDG_RUNTIME_DIR").map_or_else(
        || environment.shared_path("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp")).join(format!("heddle-{uid}")),
        |runtime| runtime.join("heddle"),
    );
    Ok(directory.join("heddled.sock"))
}

/// Where the registry is kept unless told otherwise: `$HEDDLE_STATE_DIR`, else `$XDG_STATE_HOME/heddle`, else
/// `~/.local/state/heddle`.
///
/// # Errors
///
/// [`PathError::Relative`] if `HEDDLE_STATE_DIR` is not absolute, [`PathError::NoHome`] if nothing is set.
pub fn state_dir(environment: &Environment) -> Result<PathBuf, PathError> {
    match environment.own_path("HEDDLE_STATE_DIR")? {
        Some(path) => Ok(path),
        None => environment.under_home("XDG_STATE_HOME", ".local/state", "the state directory"),
    }
}

/// Where the configuration is unless told otherwise: `$XDG_CONFIG_HOME/heddle/heddled.toml`, else
/// `~/.config/heddle/heddled.toml`. None if there is no such place.
#[must_use]
pub fn config_file(environment: &Environment) -> Option<PathBuf> {
    let directory = environment.under_home("XDG_CONFIG_HOME", ".config", "the configuration").ok()?;
    Some(directory.join("heddled.toml"))
}

/// Checks that a path fits into a socket address.
///
/// # Errors
///
/// [`PathError::SocketTooLong`].
pub fn check_socket_path(path: &Path) -> Result<(), PathError> {
    let length = path.as_os_str().as_bytes().len();
    if length > MAX_SOCKET_PATH_BYTES {
        return Err(PathError::SocketTooLong { path: path.to_owned(), length });
    }
    Ok(())
}

/// Makes a directory of mode 0700, or makes sure that the one there is (P1). Missing parents are made the same way. The
/// mode of one that is ours is corrected only if it is called `heddle` or `heddle-...` (P2).
///
/// # Errors
///
/// [`PathError::NotADirectory`], [`PathError::OtherOwner`], [`PathError::Open`], or [`PathError::Io`].
pub fn secure_dir(path: &Path) -> Result<(), PathError> {
    let failed = |operation| move |source| PathError::Io { operation, path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed("make the parents of"))?;
    }
    let made = match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(failed("make the directory")(error)),
    };
    sync_above(path).map_err(failed("make durable"))?;
    // From here on only the open directory is looked at, so that nothing can be put in its place between two looks.
    let directory = open_directory(path)?;
    let metadata = directory.metadata().map_err(failed("look at"))?;
    let us = Uid::effective().as_raw();
    if metadata.uid() != us {
        return Err(PathError::OtherOwner { path: path.to_owned(), owner: metadata.uid(), us });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o777 == 0o700 {
        return Ok(());
    }
    let is_unused = mode & 0o7022 == 0 && is_empty(path);
    if !made && !is_own_by_name(path) && !is_unused {
        return if mode & 0o077 == 0 { Ok(()) } else { Err(PathError::Open { path: path.to_owned(), mode }) };
    }
    directory.set_permissions(PermissionsExt::from_mode(0o700)).map_err(failed("set the mode of"))
}

/// The first directory above a path in which every user may rename or replace what lies there, and its permission bits. In one
/// with the sticky bit, as `/tmp` has it, only owners may.
#[must_use]
pub fn writable_by_all_above(path: &Path) -> Option<(PathBuf, u32)> {
    path.ancestors().skip(1).find_map(|directory| {
        let mode = std::fs::metadata(directory).ok()?.permissions().mode() & 0o7777;
        (mode & 0o1002 == 0o002).then(|| (directory.to_owned(), mode))
    })
}

/// Makes the entries of a directory and of those above it durable: a journal in a directory that is gone after a power cut
/// is gone too. Always, for whoever made them may have been killed before this; where nothing is new it costs nothing.
fn sync_above(path: &Path) -> io::Result<()> {
    for directory in path.ancestors().skip(1) {
        let open = match File::open(directory) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            open => open?,
        };
        // What is not ours we have not made.
        if open.metadata()?.uid() != Uid::effective().as_raw() {
            break;
        }
        match open.sync_all() {
            // A file system that knows no such thing.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            synced => synced?,
        }
    }
    Ok(())
}

fn open_directory(path: &Path) -> Result<File, PathError> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(|source| {
        // A symbolic link is ENOTDIR with O_DIRECTORY on Linux, and ELOOP elsewhere.
        match source.raw_os_error().map(nix::errno::Errno::from_raw) {
            Some(nix::errno::Errno::ENOTDIR | nix::errno::Errno::ELOOP) => {
                PathError::NotADirectory { path: path.to_owned() }
            }
            _ => PathError::Io { operation: "open the directory", path: path.to_owned(), source },
        }
    })
}

/// Whether nobody uses a directory yet: what was just made for the daemon may get its mode, if only we could write there.
fn is_empty(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// A home directory or `/tmp` that somebody put a socket into must not be closed to everybody.
fn is_own_by_name(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "heddle" || name.as_bytes().starts_with(b"heddle-"))
}

#[cfg(test)]
mod tests;
