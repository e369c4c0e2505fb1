//! What the user decides: `heddled.toml`, the environment and the command line, made into one checked [`Config`].
//!
//! It may not read the process's environment or touch what it names, but for the file itself. Precedence: flag, then
//! variable, then file, then default. A setting that is not understood is an error, never ignored: nobody may believe
//! that something was configured that was not. What takes effect at a reload, and what at a restart, `changes` says.

mod changes;
mod file;

use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use serde::Serialize;

use crate::observe;
use crate::paths::{self, Environment, PathError};

pub use changes::NEEDS_RESTART;
pub use file::{FileProblem, MAX_FILE_BYTES};

/// The time to live of a session that does not ask for one, in milliseconds.
pub const DEFAULT_TTL_MS: u64 = 300_000;
/// The shortest and the longest time to live, in milliseconds.
pub const TTL_RANGE_MS: (u64, u64) = (1_000, 86_400_000);
/// What the log shows.
pub const DEFAULT_LOG: &str = "info";

/// The most bytes of one line: default, least, most.
pub const LINE_BYTES: Bounds = Bounds { default: 1024 * 1024, least: 64 * 1024, most: 64 * 1024 * 1024 };
/// The most open connections.
pub const CONNECTIONS: Bounds = Bounds { default: 4_096, least: 1, most: 65_536 };
/// The most calls in flight on one connection.
pub const CALLS_IN_FLIGHT: Bounds = Bounds { default: 64, least: 1, most: 4_096 };
/// The most active sessions.
pub const ACTIVE_SESSIONS: Bounds = Bounds { default: 100_000, least: 1, most: 1_000_000 };
/// How long a request may be incomplete, in milliseconds.
pub const REQUEST_TIMEOUT_MS: Bounds = Bounds { default: 30_000, least: 100, most: 600_000 };
/// The most calls of one batch.
pub const BATCH: Bounds = Bounds { default: 100, least: 1, most: 10_000 };
/// The most callers that wait for a thread.
pub const WAITERS: Bounds = Bounds { default: 1_000, least: 0, most: 100_000 };
/// The most subscriptions to events.
pub const SUBSCRIPTIONS: Bounds = Bounds { default: 256, least: 0, most: 65_536 };

/// How many revisions a subscriber whose connection takes no more may be behind, before it is told so and ends.
pub const EVENTS_BEHIND: Bounds = Bounds { default: 10_000, least: 1, most: 1_000_000 };

/// What a number may be, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// What it is unless set.
    pub default: u64,
    /// The least that is accepted.
    pub least: u64,
    /// The most that is accepted.
    pub most: u64,
}

/// The limits; each is answered with `limit_exceeded`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Limits {
    /// See [`LINE_BYTES`].
    pub line_bytes: u64,
    /// See [`CONNECTIONS`].
    pub connections: u64,
    /// See [`CALLS_IN_FLIGHT`].
    pub calls_in_flight: u64,
    /// See [`ACTIVE_SESSIONS`].
    pub active_sessions: u64,
    /// See [`REQUEST_TIMEOUT_MS`].
    pub request_timeout_ms: u64,
    /// See [`BATCH`].
    pub batch: u64,
    /// See [`WAITERS`].
    pub waiters: u64,
    /// See [`SUBSCRIPTIONS`].
    pub subscriptions: u64,
    /// See [`EVENTS_BEHIND`].
    pub events_behind: u64,
}

/// The configuration in force. Serialized it is a `heddled.toml` that says the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Config {
    /// Where to listen. Default: see [`paths::socket`].
    pub socket: PathBuf,
    /// Where the registry is kept. Default: see [`paths::state_dir`].
    pub state_dir: PathBuf,
    /// The time to live of a session that does not ask for one, within [`TTL_RANGE_MS`]. Default [`DEFAULT_TTL_MS`].
    pub default_ttl_ms: u64,
    /// The content filters, besides `lfs`, that may run at a capture. Default none.
    pub allowed_filters: Vec<String>,
    /// Where linked worktrees may be made, besides beside the main one. Absolute. Default none.
    pub worktree_roots: Vec<PathBuf>,
    /// The repositories that are served. Absolute. Default all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repos: Option<Vec<PathBuf>>,
    /// What the log shows: see [`observe::filter`]. Default [`DEFAULT_LOG`].
    pub log: String,
    /// The limits.
    pub limits: Limits,
}

/// What the command line says. All optional; the paths absolute.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Where to listen.
    pub socket: Option<PathBuf>,
    /// Where the registry is kept.
    pub state_dir: Option<PathBuf>,
    /// What the log shows.
    pub log: Option<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be used.
    #[error("configuration '{}': {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: FileProblem,
    },
    /// A number is out of its bounds.
    #[error("{key} must be from {least} to {most}, but is {value}")]
    OutOfBounds {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: u64,
        /// The least that is accepted.
        least: u64,
        /// The most that is accepted.
        most: u64,
    },
    /// A path is not absolute.
    #[error("{key} must be an absolute path, but is '{}' (a '~' or a variable is not expanded)", value.display())]
    Relative {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: PathBuf,
    },
    /// The name of a content filter is not one.
    #[error("allowed_filters must hold names as in 'filter.<name>.clean', but has '{value}'")]
    FilterName {
        /// The name.
        value: String,
    },
    /// The log filter is not one.
    #[error("log: {0}")]
    Log(#[from] observe::ObserveError),
    /// A path that follows from the environment will not do.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// Where the configuration comes from, so that it can be read again.
#[derive(Clone, Debug)]
pub struct Sources {
    /// What the command line says.
    pub flags: Flags,
    /// The environment that the process was started with.
    pub environment: Environment,
    /// Whose daemon this is.
    pub uid: Uid,
}

impl Sources {
    /// Reads everything.
    ///
    /// # Errors
    ///
    /// See [`Config::load`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(self.flags.clone(), &self.environment, self.uid)
    }
}

impl Config {
    /// Puts the configuration together and checks it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]; nothing has been changed then. A default configuration file that is not there is no error, one
    /// that was named is.
    pub fn load(flags: Flags, environment: &Environment, uid: Uid) -> Result<Self, ConfigError> {
        let named = match flags.config {
            Some(path) => Some(path),
            None => environment.own_path("HEDDLE_CONFIG")?,
        };
        let at = |path: &Path| {
            let path = path.to_owned();
            |problem| ConfigError::File { path, problem }
        };
        let file = match (&named, paths::config_file(environment)) {
            (Some(path), _) => {
                file::read(path, uid).and_then(|file| file.ok_or(FileProblem::Missing)).map_err(at(path))?
            }
            (None, Some(path)) => file::read(&path, uid).map_err(at(&path))?.unwrap_or_default(),
            (None, None) => file::File::default(),
        };
        // A variable goes before the file; where neither speaks, `paths` looks further.
        let in_file = |variable, value: Option<PathBuf>| value.filter(|_| environment.get(variable).is_none());
        let socket = match flags.socket.or_else(|| in_file("HEDDLE_SOCKET", file.socket)) {
            Some(path) => path,
            None => paths::socket(environment, uid)?,
        };
        let state_dir = match flags.state_dir.or_else(|| in_file("HEDDLE_STATE_DIR", file.state_dir)) {
            Some(path) => path,
            None => paths::state_dir(environment)?,
        };
        let log = flags
            .log
            .or_else(|| environment.get("HEDDLE_LOG").map(|value| value.to_string_lossy().into_owned()))
            .or(file.log)
            .unwrap_or_else(|| DEFAULT_LOG.to_owned());
        let config = Self {
            socket,
            state_dir,
            default_ttl_ms: file.default_ttl_ms.unwrap_or(DEFAULT_TTL_MS),
            allowed_filters: file.allowed_filters,
            worktree_roots: file.worktree_roots,
            repos: file.repos,
            log,
            limits: file.limits.checked()?,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let (least, most) = TTL_RANGE_MS;
        if !(least..=most).contains(&self.default_ttl_ms) {
            return Err(ConfigError::OutOfBounds { key: "default_ttl_ms", value: self.default_ttl_ms, least, most });
        }
        let paths = [("socket", &self.socket), ("state_dir", &self.state_dir)];
        let roots = self.worktree_roots.iter().map(|path| ("worktree_roots", path));
        let repos = self.repos.iter().flatten().map(|path| ("repos", path));
        if let Some((key, value)) = paths.into_iter().chain(roots).chain(repos).find(|(_, path)| !path.is_absolute()) {
            return Err(ConfigError::Relative { key, value: value.clone() });
        }
        let is_name = |name: &String| !name.is_empty() && !name.chars().any(|c| c.is_control() || c.is_whitespace());
        if let Some(value) = self.allowed_filters.iter().find(|name| !is_name(name)) {
            return Err(ConfigError::FilterName { value: value.clone() });
        }
        observe::filter(&self.log)?;
        paths::check_socket_path(&self.socket)?;
        Ok(())
    }
}

impl Bounds {
    fn checked(self, key: &'static str, value: Option<u64>) -> Result<u64, ConfigError> {
        let Self { default, least, most } = self;
        match value.unwrap_or(default) {
            value if (least..=most).contains(&value) => Ok(value),
            value => Err(ConfigError::OutOfBounds { key, value, least, most }),
        }
    }
}

#[cfg(test)]
mod tests;
