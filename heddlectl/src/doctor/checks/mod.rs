//! The checks, each a small function: what it looks at, what it found, what mends it.

mod daemon;
mod files;
mod git;
mod lock;
mod places;
mod process;
mod repository;
mod service;
mod storage;
mod surroundings;
mod worktrees;

use super::{Finding, Scene};

/// One check.
type Check = fn(&Scene) -> Vec<Finding>;

/// All of them by name, in the order in which one thing stands on another.
pub(super) const ALL: &[(&str, Check)] = &[
    ("environment", surroundings::environment),
    ("user", surroundings::user),
    ("runtime_dir", surroundings::runtime_dir),
    ("sandbox", surroundings::sandbox),
    ("configuration", places::configuration),
    ("state_dir", places::state_dir),
    ("state_filesystem", storage::state_filesystem),
    ("state_space", storage::state_space),
    ("store", storage::store),
    ("socket_path", places::socket_path),
    ("socket_dir", places::socket_dir),
    ("socket", places::socket),
    ("lock", lock::lock),
    ("daemon", daemon::daemon),
    ("version", daemon::version),
    ("health", daemon::health),
    ("connections", process::connections),
    ("open_files", process::open_files),
    ("pid_namespace", process::pid_namespace),
    ("holders", process::holders),
    ("clock", process::clock),
    ("log", files::log),
    ("linger", service::linger),
    ("git", git::version),
    ("repository", repository::registry),
    ("repository_space", repository::space),
    ("worktrees", worktrees::worktrees),
];
