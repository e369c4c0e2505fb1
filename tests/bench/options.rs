//! The command line of the load program.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use tempfile::TempDir;

/// Measures heddled against its peers.
#[derive(Parser, Debug)]
#[command(name = "load")]
pub(crate) struct Options {
    /// Run only these measures, such as p1,p2 or floors
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// One round of short slices: a smoke test, no figures to quote
    #[arg(long)]
    quick: bool,
    /// Rounds of each comparison
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Length of a slice in milliseconds
    #[arg(long, default_value_t = 400)]
    slice_ms: u64,
    /// The longest wait for an idle machine before a slice, in milliseconds
    #[arg(long, default_value_t = 5_000)]
    patience_ms: u64,
    /// How often a slice is repeated during which other processes ran, before it counts as it is
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
    /// Numbers of connections, where a measure has several
    #[arg(long, value_delimiter = ',')]
    connections: Vec<usize>,
    /// Also write the rows to this file, as JSON
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Make the temporary directory here: a real disk, not a memory file system
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Measure the peers alone, to check the machine and the client
    #[arg(long)]
    pub(crate) peers_only: bool,
    /// What `cargo bench` adds to every command line
    #[arg(long, hide = true)]
    bench: bool,
    /// Be the echo server on this socket
    #[arg(long, hide = true)]
    pub(crate) serve_echo: Option<PathBuf>,
}

impl Options {
    /// Makes the temporary directory in which everything happens.
    pub(crate) fn directory(&self) -> anyhow::Result<TempDir> {
        let parent = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        let made = tempfile::Builder::new().prefix("heddle-load-").tempdir_in(&parent);
        made.with_context(|| format!("cannot make a directory in {}", parent.display()))
    }

    /// Whether the measure is to run.
    pub(crate) fn wants(&self, measure: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name.eq_ignore_ascii_case(measure))
    }

    /// How many rounds to run.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds.max(1) }
    }

    /// How long a slice is.
    pub(crate) fn slice(&self) -> Duration {
        Duration::from_millis(if self.quick { 60 } else { self.slice_ms })
    }

    /// How long to wait for an idle machine.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(if self.quick { 60 } else { self.patience_ms })
    }

    /// How often to repeat a slice during which other processes ran, before it counts as it is.
    pub(crate) fn repetitions(&self) -> usize {
        if self.quick { 0 } else { self.repetitions }
    }

    /// The numbers of connections to use, of those that the measure has.
    pub(crate) fn connections<'a>(&'a self, offered: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
        offered.iter().copied().filter(|count| self.connections.is_empty() || self.connections.contains(count))
    }

    /// `full`, or in a smoke test a fiftieth of it.
    pub(crate) fn amount(&self, full: usize) -> usize {
        if self.quick { (full / 50).max(1) } else { full }
    }
}
