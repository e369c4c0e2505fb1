//! The command line of `heddled`, and what is decided before anything is started.
//!
//! It may not print or exit: it says what `main` is to do. The environment is passed in.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Parser;
use nix::unistd::Uid;

use crate::config::{Config, ConfigError, Flags, Sources};
use crate::lifecycle::exit;
use crate::paths::Environment;
use crate::rescue::Rescue;

/// The daemon that decides which coding agent holds which thread of a Git repository.
#[derive(Parser, Debug)]
#[command(name = "heddled", version = env!("HEDDLE_VERSION"), disable_help_subcommand = true)]
pub struct Cli {
    /// Read this configuration file [env: HEDDLE_CONFIG; default: ~/.config/heddle/heddled.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Listen on this Unix socket [env: HEDDLE_SOCKET]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Keep the registry in this directory [env: HEDDLE_STATE_DIR; default: ~/.local/state/heddle]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Log this much, such as 'debug' or 'heddled=debug,warn' [env: HEDDLE_LOG; default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,

    /// Print the configuration in force, or what is wrong with it, and exit
    #[arg(long)]
    pub check_config: bool,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub rescue: Option<Rescue>,
}

/// What `main` is to do.
#[derive(Debug)]
pub enum Start {
    /// Serve, and read the configuration from there when told to read it again.
    Run(Box<Config>, Box<Sources>),
    /// Do this to the state directory.
    Rescue(Box<Config>, Rescue),
    /// Print this to stdout and exit with [`exit::OK`].
    Print(String),
    /// Print this to stderr and exit with this code.
    Fail(String, u8),
}

/// Decides what to do from the command line (the program's own name first), the environment, and the directory that
/// relative paths on the command line start from.
#[must_use]
pub fn start<A>(arguments: A, environment: &Environment, current_dir: &Path, uid: Uid) -> Start
where
    A: IntoIterator,
    A::Item: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        // --help and --version come as errors too.
        Err(error) if error.use_stderr() => return Start::Fail(error.to_string(), exit::USAGE),
        Err(text) => return Start::Print(text.to_string()),
    };
    let absolute = |path: Option<PathBuf>| path.map(|path| current_dir.join(path));
    let flags = Flags {
        config: absolute(cli.config),
        socket: absolute(cli.socket),
        state_dir: absolute(cli.state_dir),
        log: cli.log,
    };
    let sources = Sources { flags, environment: environment.clone(), uid };
    match sources.load() {
        Ok(config) if cli.check_config => print(&config),
        Ok(config) => match cli.rescue {
            Some(rescue) => Start::Rescue(Box::new(config), rescue),
            None => Start::Run(Box::new(config), Box::new(sources)),
        },
        Err(error) => Start::Fail(describe(&error), exit::CONFIG),
    }
}

fn print(config: &Config) -> Start {
    // Only a path that is not UTF-8 cannot be written as TOML.
    toml::to_string(config).map_or_else(
        |error| Start::Fail(format!("error: the configuration holds, but cannot be printed: {error}\n"), exit::CONFIG),
        Start::Print,
    )
}

fn describe(error: &ConfigError) -> String {
    format!("error: {}\nhint: heddled --check-config prints the configuration in force\n", error.to_string().trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> Start {
        let environment = [("HOME", "/home/u"), ("XDG_CONFIG_HOME", "/nonexistent")].into_iter().collect();
        start(["heddled"].iter().chain(arguments), &environment, Path::new("/cwd"), Uid::from_raw(1000))
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn relative_flags_start_from_the_current_directory() {
        let Start::Run(config, _) = run(&["--socket", "s.sock", "--state-dir", "/d", "--log", "debug"]) else {
            panic!()
        };
        assert_eq!((config.socket.as_path(), config.state_dir.as_path()), (Path::new("/cwd/s.sock"), Path::new("/d")));
        assert_eq!(config.log, "debug");
    }

    #[test]
    fn checking_prints_what_is_in_force() {
        let Start::Print(text) = run(&["--check-config"]) else { panic!() };
        for line in ["socket = \"/tmp/heddle-1000/heddled.sock\"", "default_ttl_ms = 300000", "[limits]", "batch = 100"]
        {
            assert!(text.lines().any(|found| found == line), "{line} in:\n{text}");
        }
    }

    #[test]
    fn each_failure_has_its_exit_code() {
        let code = |arguments: &[&str]| match run(arguments) {
            Start::Fail(message, code) => {
                assert!(message.starts_with("error: "), "{message}");
                code
            }
            Start::Run(..) | Start::Rescue(..) | Start::Print(_) => panic!("{arguments:?} is accepted"),
        };
        assert_eq!(code(&["--config", "none.toml"]), 78);
        assert_eq!(code(&["--check-config", "--log", "heddled=loud"]), 78);
        assert_eq!(code(&["--no-such-flag"]), 2);
        assert_eq!(code(&["backup"]), 2);
        assert!(matches!(run(&["--state-dir", "/d", "backup", "f"]), Start::Rescue(..)));
        assert!(matches!(run(&["--version"]), Start::Print(text) if text.starts_with("heddled ")));
        assert!(matches!(run(&["--help"]), Start::Print(text) if text.contains("--check-config")));
    }
}
