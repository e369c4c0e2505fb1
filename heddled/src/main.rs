//! `heddled`: reads the command line, runs the daemon, turns its end into an exit code.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use heddled::cli::{self, Start};
use heddled::config::Config;
use heddled::daemon::{self, DaemonError};
use heddled::lifecycle::exit;
use heddled::{observe, paths};

/// A call allocates some dozens of small pieces; this allocator takes half the time of the system's for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let environment = paths::Environment::of_process();
    let current_dir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    match cli::start(std::env::args_os(), &environment, &current_dir, nix::unistd::geteuid()) {
        Start::Print(text) => finish(&mut std::io::stdout(), &text, exit::OK),
        Start::Fail(text, code) => finish(&mut std::io::stderr(), &text, code),
        Start::Run(config) => match run(&config, &environment) {
            Ok(()) => ExitCode::from(exit::OK),
            Err(error) => finish(&mut std::io::stderr(), &format!("error: {error}\n"), error.exit_code()),
        },
    }
}

fn run(config: &Config, environment: &paths::Environment) -> Result<(), DaemonError> {
    observe::init(&config.log).map_err(anyhow::Error::from)?;
    // One worker serves all connections: it never waits for a disk, and a call costs it less than handing it to another.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| DaemonError::System { operation: "starting the runtime", source })?;
    runtime.block_on(daemon::run(config, environment))
}

/// Says the last word; when nobody reads it, the code has to do.
fn finish(out: &mut impl Write, text: &str, code: u8) -> ExitCode {
    let _told = out.write_all(text.as_bytes());
    ExitCode::from(code)
}
