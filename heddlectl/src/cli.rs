//! The command line. Each command's own arguments stand beside what it does, in `commands/`.

use std::ffi::{OsStr, OsString};

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::app::App;
use crate::commands::{
    capture, completions, daemon, demo, doctor, evict, heartbeat, list, log, man, ready, release, repo, reserve, run,
    schema, service, show, status, thread, validate, watch,
};
use crate::error::Error;
use crate::exit::Exit;
use crate::global::Global;
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
    /// Whether the command only reads, so that it must not wait for a daemon that does not answer.
    pub(crate) fn only_reads(&self) -> bool {
        match self {
            Self::List(_)
            | Self::Show(_)
            | Self::Validate(_)
            | Self::Log(_)
            | Self::Watch(_)
            | Self::Status(_)
            | Self::Doctor(_)
            | Self::Schema(_)
            | Self::Completions(_)
            | Self::Man(_) => true,
            Self::Thread(command) => command.only_reads(),
            Self::Daemon(command) => command.only_reads(),
            Self::Run(_)
            | Self::Reserve(_)
            | Self::Heartbeat(_)
            | Self::Capture(_)
            | Self::Ready(_)
            | Self::Release(_)
            | Self::Evict(_)
            | Self::Service(_)
            | Self::Repo(_)
            | Self::Demo(_) => false,
        }
    }

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
            Self::Completions(command) => command.run(out, Cli::command()),
            Self::Man(command) => command.run(out, Cli::command()),
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

#[cfg(test)]
mod tests {
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
}
