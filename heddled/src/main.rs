//! `heddled`: reads the command line, runs the daemon, turns its end into an exit code.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use heddled::cli::{self, Start};
use heddled::config::{Config, Sources};
use heddled::daemon::{self, DaemonError};
use heddled::lifecycle::{self, Handed, exit};
use heddled::{observe, paths};

/// A call allocates some dozens of small pieces; this allocator takes half the time of the system's for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long reads of the daemon's own files that outlasted the drain may still take.
const LAST_READS: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let environment = paths::Environment::of_process();
    // Before anything else opens a descriptor.
    let handed = lifecycle::handed_over(&environment);
    let current_dir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    match cli::start(std::env::args_os(), &environment, &current_dir, nix::unistd::geteuid()) {
        Start::Print(text) => finish(&mut std::io::stdout(), &text, exit::OK),
        Start::Fail(text, code) => finish(&mut std::io::stderr(), &text, code),
        Start::Rescue(config, rescue) => {
            let told = rescue.run(&config, &environment, &current_dir);
            let (mut stdout, mut stderr) = (std::io::stdout(), std::io::stderr());
            let out: &mut dyn Write = if told.is_error { &mut stderr } else { &mut stdout };
            finish(out, &told.text, told.code)
        }
        Start::Run(config, sources) => {
            match handed.map_err(DaemonError::from).and_then(|it| run(*config, *sources, it)) {
                Ok(()) => ExitCode::from(exit::OK),
                Err(error) => finish(&mut std::io::stderr(), &format!("error: {error}\n"), error.exit_code()),
            }
        }
    }
}

fn run(config: Config, sources: Sources, handed: Handed) -> Result<(), DaemonError> {
    let log = observe::init(&config.log, &config.state_dir, &sources.environment).map_err(anyhow::Error::from)?;
    use_small_pages();
    log_panics();
    // One worker serves all connections: it never waits for a disk, and a call costs it less than handing it to another.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| DaemonError::System { operation: "starting the runtime", source })?;
    let ended = runtime.block_on(daemon::run(config, sources, log, handed));
    // Work on repositories that is still under way is cut off, as by a kill: the next start settles it.
    runtime.shutdown_timeout(LAST_READS);
    ended
}

/// Logs a panic as one line. Whoever called the code that panicked handles it: a caller gets `internal`, a start ends with a
/// sentence.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        tracing::error!(thread = thread.name().unwrap_or_default(), "{panic}");
    }));
}

/// Memory comes in pages of 4 KiB: in pages of 2 MiB an idle daemon has three times as much, and a start spends half its time
/// on filling them with zeros.
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "large pages stay in use");
    }
}

/// Says the last word; when nobody reads it, the code has to do.
fn finish(out: &mut dyn Write, text: &str, code: u8) -> ExitCode {
    let _told = out.write_all(text.as_bytes());
    ExitCode::from(code)
}
