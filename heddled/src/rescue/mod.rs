//! `heddled backup`, `verify` and `restore`: what is done to a state directory beside the daemon that uses it.
//!
//! They are commands of the daemon's own program, for they know how the state is stored; `heddlectl daemon ...` runs them.
//! A backup and a verification read only, ask nothing of a running daemon and keep nobody waiting; a restore needs the
//! daemon's lock. They may not print or exit: they say what `main` is to do.

mod backup;
mod error;
mod report;
mod restore;
mod verify;
mod workspace;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

pub use self::error::RescueError;
use self::workspace::Workspace;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::lifecycle::exit;
use crate::paths::Environment;

/// What is to be done to a state directory.
#[derive(Subcommand, Clone, Debug)]
pub enum Rescue {
    /// Copy the registry, as it is now, into one file; the daemon may run
    Backup(Backup),
    /// Check a state directory or a backup, and change nothing; the daemon may run
    Verify(Verify),
    /// Put a backup in place of the registry, which is moved aside; the daemon must be stopped
    Restore(Restore),
}

/// Arguments of `backup`.
#[derive(Args, Clone, Debug)]
pub struct Backup {
    /// The file to make
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `verify`.
#[derive(Args, Clone, Debug)]
pub struct Verify {
    /// A backup file, or a state directory [default: the configured one]
    path: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `restore`.
#[derive(Args, Clone, Debug)]
pub struct Restore {
    /// The backup file
    file: PathBuf,
    /// Replace a registry that is not the one in the backup, or that has active sessions which the backup does not know
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is to be printed, where, and what the process ends with.
#[derive(Debug)]
pub struct Told {
    /// The text.
    pub text: String,
    /// Whether it is an error for people, which goes to stderr.
    pub is_error: bool,
    /// The exit code.
    pub code: u8,
}

impl Rescue {
    /// Does it.
    #[must_use]
    pub fn run(&self, config: &Config, environment: &Environment, current_dir: &Path) -> Told {
        let workspace = Workspace { config, environment, current_dir, clock: SystemClock::new() };
        let (done, json) = match self {
            Self::Backup(asked) => (backup::run(&workspace, &asked.file, asked.force).map(report::backup), asked.json),
            Self::Verify(asked) => (verify::run(&workspace, asked.path.as_deref()).map(report::verify), asked.json),
            Self::Restore(asked) => {
                (restore::run(&workspace, &asked.file, asked.force).map(report::restore), asked.json)
            }
        };
        match done {
            Ok(report) => {
                let code = if report.is_sound { exit::OK } else { exit::STORE };
                Told { text: if json { report.json } else { report.text }, is_error: false, code }
            }
            Err(error) => {
                let text = if json { error.json() } else { error.text() };
                Told { text, is_error: !json, code: error.exit_code() }
            }
        }
    }
}
