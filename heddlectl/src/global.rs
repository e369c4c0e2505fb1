//! The options of every command.

use std::path::PathBuf;

use anstream::ColorChoice;
use clap::{Args, ValueEnum};

use crate::duration::duration_ms;
use crate::output::Output;

/// Options of every command.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Print exactly what the daemon answered, or its error object, as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Work on the repository at this path [default: the current directory]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Global options")]
    pub(crate) repo: Option<PathBuf>,
    /// Use the daemon at this socket [default: $HEDDLE_SOCKET, or the usual one]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Global options")]
    pub(crate) socket: Option<PathBuf>,
    /// Give up when the daemon has not answered for this long [default: 2.5s for a command that only reads, else 60s]
    #[arg(long, global = true, value_name = "TIME", value_parser = duration_ms, help_heading = "Global options")]
    pub(crate) timeout: Option<u64>,
    /// When to use color
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Global options")]
    color: Color,
    /// Print results only: no progress, no warnings
    #[arg(long, short, global = true, help_heading = "Global options")]
    quiet: bool,
}

/// When to use color.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

impl Global {
    /// Those of a command line that says no more than where to look.
    pub(crate) fn at(repo: Option<PathBuf>, socket: Option<PathBuf>) -> Self {
        Self { json: false, repo, socket, timeout: None, color: Color::Never, quiet: true }
    }

    /// How to print.
    pub(crate) fn output(&self) -> Output {
        let color = match self.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        Output { json: self.json, quiet: self.quiet, color }
    }
}
