//! One file for each measure. The goals are stated where they are measured.

mod capture;
mod cycle;
mod floors;
mod heartbeat;
mod load;
mod many;
mod new_thread;
mod process;
mod ready;
mod start;
mod takeover;

use std::path::Path;

use crate::options::Options;
use crate::report::Report;

/// What every measure is given.
pub(crate) struct Bench<'a> {
    /// The command line.
    pub(crate) options: &'a Options,
    /// The temporary directory; each measure makes its own below it.
    pub(crate) root: &'a Path,
}

/// One measure.
pub(crate) struct Measure {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it measures.
    pub(crate) about: &'static str,
    /// Runs it.
    pub(crate) run: fn(&Bench<'_>, &mut Report) -> anyhow::Result<()>,
}

/// All measures, in the order in which they run.
pub(crate) const ALL: &[Measure] = &[
    Measure { name: "floors", about: "what the disk and a bare echo allow", run: floors::run },
    Measure { name: "p1", about: "reserve and release of an existing thread", run: cycle::run },
    Measure { name: "p2", about: "heartbeats", run: heartbeat::run },
    Measure { name: "p3", about: "reserve of a new thread", run: new_thread::run },
    Measure { name: "p4", about: "from the death of a holder to the next grant", run: takeover::run },
    Measure { name: "p5", about: "heddlectl as a whole process", run: process::run },
    Measure { name: "p6", about: "captures of a large worktree", run: capture::run },
    Measure { name: "p7", about: "checks of a thread in a large worktree", run: ready::run },
    Measure { name: "p8", about: "cycles and lists among 10,000 sessions", run: many::run },
    Measure { name: "p9", about: "start, memory and idle CPU of a large registry", run: start::run },
    Measure { name: "p10", about: "heartbeats beside captures", run: capture::beside },
    Measure { name: "load", about: "heartbeats, cycles, memory and idle CPU in a crowd", run: load::run },
];

/// The numbers of connections at which throughput is measured.
const CONNECTIONS: &[usize] = &[1, 16, 64, 256];
