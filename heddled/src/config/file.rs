//! Reading `heddled.toml`: is the file to be trusted, is every key known, has every value its type.
//!
//! It may not decide what the values mean. Invariant N1: a file that another user could have written, or put in its place, is
//! never used.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::Uid;
use serde::Deserialize;

use crate::paths;

use super::{
    ACTIVE_SESSIONS, BATCH, CALLS_IN_FLIGHT, CONNECTIONS, ConfigError, EVENTS_BEHIND, LINE_BYTES, Limits,
    REQUEST_TIMEOUT_MS, SUBSCRIPTIONS, WAITERS,
};

/// The most bytes that a configuration file may have.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

const KEYS: [&str; 8] =
    ["socket", "state_dir", "default_ttl_ms", "allowed_filters", "worktree_roots", "repos", "log", "limits"];

const LIMIT_KEYS: [&str; 9] = [
    "line_bytes",
    "connections",
    "calls_in_flight",
    "active_sessions",
    "request_timeout_ms",
    "batch",
    "waiters",
    "subscriptions",
    "events_behind",
];

/// How alike a key must be to be suggested: 1 is the same, 0 nothing in common.
const ALIKE: f64 = 0.8;

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// It was named and is not there.
    #[error("there is no such file")]
    Missing,
    /// It is a directory or the like.
    #[error("it is not a regular file")]
    NotAFile,
    /// It is longer than [`MAX_FILE_BYTES`].
    #[error("it has over {MAX_FILE_BYTES} bytes")]
    TooLong,
    /// Another user owns it.
    #[error("it belongs to the user with uid {owner}, who could change what this daemon does; make it your own")]
    OtherOwner {
        /// Whose it is.
        owner: u32,
    },
    /// Every user may write it.
    #[error("its mode {mode:04o} lets every user write it; run: chmod o-w")]
    WorldWritable {
        /// Its permission bits.
        mode: u32,
    },
    /// Every user may put another file in its place.
    #[error("'{}' has mode {mode:04o}, which lets every user put another file in its place; run: chmod o-w '{}'", path.display(), path.display())]
    WorldWritableDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key is not known.
    #[error("unknown key '{key}'{}", suggest(*suggestion))]
    UnknownKey {
        /// The key, with the name of its table.
        key: String,
        /// The known key that is most like it.
        suggestion: Option<&'static str>,
    },
    /// It is not TOML, or a value has another type than its key needs.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// The system refused.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

fn suggest(suggestion: Option<&str>) -> String {
    suggestion.map(|key| format!("; did you mean '{key}'?")).unwrap_or_default()
}

/// The file's content: everything is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) socket: Option<PathBuf>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) default_ttl_ms: Option<u64>,
    #[serde(default)]
    pub(super) allowed_filters: Vec<String>,
    #[serde(default)]
    pub(super) worktree_roots: Vec<PathBuf>,
    pub(super) repos: Option<Vec<PathBuf>>,
    pub(super) log: Option<String>,
    #[serde(default)]
    pub(super) limits: FileLimits,
}

/// The table `[limits]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileLimits {
    line_bytes: Option<u64>,
    connections: Option<u64>,
    calls_in_flight: Option<u64>,
    active_sessions: Option<u64>,
    request_timeout_ms: Option<u64>,
    batch: Option<u64>,
    waiters: Option<u64>,
    subscriptions: Option<u64>,
    events_behind: Option<u64>,
}

impl FileLimits {
    pub(super) fn checked(&self) -> Result<Limits, ConfigError> {
        Ok(Limits {
            line_bytes: LINE_BYTES.checked("limits.line_bytes", self.line_bytes)?,
            connections: CONNECTIONS.checked("limits.connections", self.connections)?,
            calls_in_flight: CALLS_IN_FLIGHT.checked("limits.calls_in_flight", self.calls_in_flight)?,
            active_sessions: ACTIVE_SESSIONS.checked("limits.active_sessions", self.active_sessions)?,
            request_timeout_ms: REQUEST_TIMEOUT_MS.checked("limits.request_timeout_ms", self.request_timeout_ms)?,
            batch: BATCH.checked("limits.batch", self.batch)?,
            waiters: WAITERS.checked("limits.waiters", self.waiters)?,
            subscriptions: SUBSCRIPTIONS.checked("limits.subscriptions", self.subscriptions)?,
            events_behind: EVENTS_BEHIND.checked("limits.events_behind", self.events_behind)?,
        })
    }
}

/// Reads a configuration file; none if it is not there. A symbolic link is followed, for many keep their configuration
/// elsewhere: it is the file itself that must be ours, or root's (N1).
pub(super) fn read(path: &Path, uid: Uid) -> Result<Option<File>, FileProblem> {
    let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FileProblem::NotAFile);
    }
    if metadata.uid() != uid.as_raw() && metadata.uid() != 0 {
        return Err(FileProblem::OtherOwner { owner: metadata.uid() });
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(FileProblem::WorldWritable { mode: metadata.mode() & 0o7777 });
    }
    // Both ways lead to the file: that of the name, and that of where a link points.
    let real = std::fs::canonicalize(path)?;
    if let Some((path, mode)) = [path, &real].into_iter().find_map(paths::writable_by_all_above) {
        return Err(FileProblem::WorldWritableDirectory { path, mode });
    }
    let mut text = String::new();
    if file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)? as u64 > MAX_FILE_BYTES {
        return Err(FileProblem::TooLong);
    }
    parse(&text).map(Some)
}

/// The keys first, so that a misspelt one gets a suggestion and not only the list of all.
fn parse(text: &str) -> Result<File, FileProblem> {
    let table: toml::Table = toml::from_str(text)?;
    check_keys(&table, "", &KEYS)?;
    if let Some(toml::Value::Table(limits)) = table.get("limits") {
        check_keys(limits, "limits.", &LIMIT_KEYS)?;
    }
    Ok(toml::from_str(text)?)
}

fn check_keys(table: &toml::Table, prefix: &str, known: &'static [&'static str]) -> Result<(), FileProblem> {
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let alike = |candidate: &str| strsim::jaro_winkler(&key.to_lowercase(), candidate);
    let closest = known.iter().copied().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    let suggestion = closest.filter(|candidate| alike(candidate) >= ALIKE);
    Err(FileProblem::UnknownKey { key: format!("{prefix}{key}"), suggestion })
}
