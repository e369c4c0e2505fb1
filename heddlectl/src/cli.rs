//! The command line. Each command's own arguments stand beside what it does, in `commands/`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anstream::ColorChoice;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::app::App;
use crate::commands::{
    capture, completions, daemon, demo, doctor, evict, heartbeat, list, log, man, ready, release, repo, reserve, run,
    schema, service, show, status, thread, validate, watch,
};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Output;
use crate::overview;

/// What help ends with.
const MORE: &str = "\
Start here:
  heddlectl run --thread fix-login --worktree -- claude   start an agent
  heddlectl list                                          see who holds what
  heddlectl demo                                          watch it work

Exit codes: 0 done, 1 unexpected, 2 usage, 3 refused, 4 changed by somebody
else first, 5 not ready, 69 no daemon, 70 a defect, 74 disk or repository, 75
try again later, 77 not allowed, 78 bad configuration";

/// How help is laid out: the commands in groups.
fn layout() -> String {
    format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\nCommands:\n{}\n\nOptions:\n{{options}}{{after-help}}",
        overview::COMMANDS
    )
}

/// Decide which coding agent holds which branch of a Git repository
#[derive(Parser, Debug)]
#[command(name = "heddlectl", version = env!("HEDDLE_VERSION"))]
#[command(max_term_width = 100, help_template = layout(), after_help = MORE)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

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
        Self { json: false, repo, socket, color: Color::Never, quiet: true }
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

/// The commands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run a command that holds a thread while it lives
    #[command(after_help = run::EXAMPLES)]
    Run(run::Run),
    /// Reserve a thread for one agent
    #[command(after_help = reserve::EXAMPLES)]
    Reserve(reserve::Reserve),
    /// Keep a session alive
    #[command(after_help = heartbeat::EXAMPLES)]
    Heartbeat(heartbeat::Heartbeat),
    /// Commit everything in the session's worktree onto its thread
    #[command(after_help = capture::EXAMPLES)]
    Capture(capture::Capture),
    /// Check whether a thread can merge into its target
    #[command(after_help = ready::EXAMPLES)]
    Ready(ready::Ready),
    /// End a session and give its thread back
    #[command(after_help = release::EXAMPLES)]
    Release(release::Release),
    /// List sessions, newest first
    #[command(after_help = list::EXAMPLES)]
    List(list::List),
    /// Show one session
    #[command(after_help = show::EXAMPLES)]
    Show(show::Show),
    /// Check whether a session still has the right to write
    #[command(after_help = validate::EXAMPLES)]
    Validate(validate::Validate),
    /// End a session of somebody else, with a reason
    #[command(after_help = evict::EXAMPLES)]
    Evict(evict::Evict),
    /// List threads, show one, or clean up after merged ones
    #[command(subcommand)]
    Thread(thread::Thread),
    /// Show what happened, from the operation log
    #[command(after_help = log::EXAMPLES)]
    Log(log::Log),
    /// Show what happens, as it happens
    #[command(after_help = watch::EXAMPLES)]
    Watch(watch::Watch),
    /// Show the state of the daemon and of this repository
    #[command(after_help = status::EXAMPLES)]
    Status(status::Status),
    /// Find out what is wrong with the daemon or around it
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::Doctor),
    /// Start, stop, inspect or back up the daemon
    #[command(subcommand)]
    Daemon(daemon::Daemon),
    /// Run the daemon as a service of your systemd or launchd
    #[command(subcommand)]
    Service(service::Service),
    /// Take a repository over from another registry
    #[command(subcommand)]
    Repo(repo::Repo),
    /// See two agents compete for a thread, in a throw-away clone of this repository
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::Demo),
    /// Print the protocol as an OpenRPC document
    #[command(after_help = schema::EXAMPLES)]
    Schema(schema::Schema),
    /// Print the script that completes commands in your shell
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Completions),
    /// Print the manual page, or write those of all commands
    #[command(after_help = man::EXAMPLES)]
    Man(man::Man),
}

impl Command {
    /// Does it. What is said without a daemon needs no more than an output: packagers have no home directory.
    pub(crate) fn run(
        &self,
        out: &Output,
        global: &Global,
        app: impl FnOnce() -> Result<App, Error>,
    ) -> Result<Exit, Error> {
        match self {
            Self::Run(command) => command.run(&app()?),
            Self::Reserve(command) => command.run(&app()?),
            Self::Heartbeat(command) => command.run(&app()?),
            Self::Capture(command) => command.run(&app()?),
            Self::Ready(command) => command.run(&app()?),
            Self::Release(command) => command.run(&app()?),
            Self::List(command) => command.run(&app()?),
            Self::Show(command) => command.run(&app()?),
            Self::Validate(command) => command.run(&app()?),
            Self::Evict(command) => command.run(&app()?),
            Self::Thread(command) => command.run(&app()?),
            Self::Log(command) => command.run(&app()?),
            Self::Watch(command) => command.run(&app()?),
            Self::Status(command) => command.run(&app()?),
            Self::Doctor(command) => command.run(out, global),
            Self::Daemon(command) => command.run(&app()?),
            Self::Service(command) => command.run(&app()?),
            Self::Repo(command) => command.run(&app()?),
            Self::Demo(command) => command.run(&app()?),
            Self::Schema(command) => command.run(out),
            Self::Completions(command) => command.run(out),
            Self::Man(command) => command.run(out),
        }
    }
}

/// One command alone, with the options of every command.
#[derive(Parser, Debug)]
#[command(name = "heddlectl", disable_help_flag = true)]
struct One<C: Args> {
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    command: C,
}

/// Reads the command lines that agents and their hooks send all the time, without building every other command for it.
///
/// None means that the whole command line must be looked at: another command, a call for help, or a mistake, which is to
/// be told with everything in view.
pub(crate) fn quick(arguments: &[OsString]) -> Option<Cli> {
    fn alone<C: Args>(rest: &[OsString], command: fn(C) -> Command) -> Option<Cli> {
        let words = std::iter::once(OsStr::new("heddlectl")).chain(rest.iter().map(OsString::as_os_str));
        let one = One::<C>::try_parse_from(words).ok()?;
        Some(Cli { global: one.global, command: command(one.command) })
    }
    let [_, name, rest @ ..] = arguments else { return None };
    match name.to_str()? {
        "heartbeat" => alone(rest, Command::Heartbeat),
        "validate" => alone(rest, Command::Validate),
        "list" => alone(rest, Command::List),
        "reserve" => alone(rest, Command::Reserve),
        "release" => alone(rest, Command::Release),
        _ => None,
    }
}

/// Reads a length of time: `500ms`, `30s`, `5m`, `2h`, `1d`, or several of them: `1h30m`.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    const WRONG: &str = "a length of time is a number and one of ms, s, m, h, d: 500ms, 30s, 5m, 1h30m";
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).ok_or(WRONG)?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|character: char| character.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(WRONG.to_owned()),
        };
        let number: u64 = number.parse().map_err(|_| WRONG)?;
        total = number.checked_mul(unit_ms).and_then(|ms| total.checked_add(ms)).ok_or("that is too long")?;
        rest = after;
    }
    if text.is_empty() { Err(WRONG.to_owned()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_quick_way_reads_what_the_whole_does() {
        for line in [
            "heartbeat",
            "heartbeat --progress --session agent-abcdefghij234567abcd --token-file f --json -q",
            "validate --hook --thread x --repo .",
            "list --all-repos --limit 3 --color never",
            "list --status active -t x --socket s",
            "reserve -t x --worktree --ttl 5m --model m",
            "reserve --thread=x --worktree=p --at-tip",
            "release --status abandoned",
        ] {
            let words: Vec<OsString> = ["heddlectl"].into_iter().chain(line.split(' ')).map(Into::into).collect();
            let (quick, whole) = (quick(&words).expect("read"), Cli::try_parse_from(&words).expect("read"));
            assert_eq!(format!("{quick:?}"), format!("{whole:?}"), "{line}");
        }
        for line in
            ["list --help", "list -h", "list --version", "heartbeat extra", "--json list", "reserve", "list --limit x"]
        {
            let words: Vec<OsString> = ["heddlectl"].into_iter().chain(line.split(' ')).map(Into::into).collect();
            assert!(quick(&words).is_none(), "{line}");
        }
    }

    #[test]
    fn lengths_of_time_are_read() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("1h30m", 5_400_000), ("1d", 86_400_000), ("0s", 0)] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "5", "m", "5x", "-5s", "5 s", "99999999999999999999s", "18446744073709551615d"] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
    }
}
