//! What shells complete, asked of this program each time: commands and options, and the threads and sessions that are there.
//!
//! A key press asks it, so it never starts a daemon, never says why it has nothing, and never keeps the shell waiting.
//!
//! The shell's side is clap's own, printed anew by the program whenever a shell first needs it: so the two are always of one
//! version, which is all that clap promises of the way in which they talk.

mod bash;
mod live;
mod programs;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Arg, Command};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};
use clap_complete::env::{Fish, Shells, Zsh};

use self::live::Place;
use crate::exit::Exit;

/// The variable in which a shell names itself when it asks.
pub(crate) const VARIABLE: &str = "HEDDLE_COMPLETE";

/// Answers a shell that asks what completes the line so far; `None` if none asks. `command` makes the command line.
pub(crate) fn dispatch(arguments: &[OsString], command: fn() -> Command) -> Option<Exit> {
    std::env::var_os(VARIABLE)?;
    let place = Arc::new(place(arguments));
    let answer = CompleteEnv::with_factory(|| with_values(command(), &place))
        .var(VARIABLE)
        .completer("heddlectl")
        .shells(Shells(&[&bash::Bash, &Fish, &Zsh]))
        .try_complete(arguments, std::env::current_dir().ok().as_deref());
    match answer {
        Ok(true) => Some(Exit::OK),
        // Switched off: an ordinary call.
        Ok(false) => None,
        // A line that is no line, or a shell that is not known: there is nothing to complete, and nobody to tell.
        Err(_) => Some(Exit::UNEXPECTED),
    }
}

/// Where the command line so far wants to look. It is not complete, so it cannot be read as a command line.
fn place(arguments: &[OsString]) -> Place {
    let line = arguments.iter().skip_while(|word| *word != "--").skip(1).take_while(|word| *word != "--");
    let words: Vec<&str> = line.map(|word| word.to_str().unwrap_or_default()).collect();
    let after = |name: &str| -> Option<PathBuf> {
        let beside = |word: &str| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        let joined = words.iter().find_map(|word| beside(word));
        // Bash takes `--repo=here` for three words.
        let next = || {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1..)?.iter().find(|word| **word != "=").map(|word| (*word).to_owned())
        };
        joined.or_else(next).filter(|path| !path.is_empty()).map(Into::into)
    };
    Place { repo: after("--repo"), socket: after("--socket") }
}

/// What a value is one of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Values {
    Threads,
    Sessions,
    Programs,
}

/// The values of an argument, by its name: each command calls the same thing the same.
fn values(argument: &Arg) -> Option<Values> {
    match argument.get_id().as_str() {
        "thread" | "target" => Some(Values::Threads),
        "session" | "parent_session" | "named" => Some(Values::Sessions),
        "command" => Some(Values::Programs),
        _ => None,
    }
}

/// The command with all those below it, each argument with what completes it.
fn with_values(command: Command, place: &Arc<Place>) -> Command {
    let command = command.mut_args(|argument| {
        let place = Arc::clone(place);
        match values(&argument) {
            Some(Values::Threads) => argument.add(ArgValueCandidates::new(move || place.threads())),
            Some(Values::Sessions) => argument.add(ArgValueCandidates::new(move || place.sessions())),
            Some(Values::Programs) => argument.add(ArgValueCompleter::new(programs::Programs)),
            None => argument,
        }
    });
    command.mut_subcommands(|command| with_values(command, place))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn walk(command: &Command, path: &str, found: &mut Vec<String>) {
        for argument in command.get_arguments() {
            if let Some(values) = values(argument) {
                found.push(format!("{path} {} {values:?}", argument.get_id()));
            }
        }
        for below in command.get_subcommands() {
            walk(below, format!("{path} {}", below.get_name()).trim(), found);
        }
    }

    #[test]
    fn whatever_takes_a_thread_or_a_session_completes_them() {
        let mut found = Vec::new();
        walk(&Cli::command(), "", &mut found);
        let has = |line: &str| assert!(found.iter().any(|one| one == line), "{line} in {found:#?}");
        for command in ["run", "reserve", "list", "validate", "thread show", "log", "watch"] {
            has(&format!("{command} thread Threads"));
        }
        for command in ["heartbeat", "capture", "ready", "release", "show", "validate", "evict", "log", "watch"] {
            has(&format!("{command} session Sessions"));
        }
        ["show named Sessions", "evict named Sessions", "run command Programs"].into_iter().for_each(has);
    }

    #[test]
    fn the_line_so_far_says_where_to_look() {
        let read = |line: &str| place(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        let words = |place: Place| (place.repo, place.socket);
        let (repo, socket) = (Some("r".into()), Some("s".into()));
        assert_eq!(words(read("heddlectl -- heddlectl --repo r list --socket=s --thread x")), (repo.clone(), socket));
        assert_eq!(words(read("heddlectl -- heddlectl list --repo = r --thread ")), (repo, None), "as bash says it");
        assert_eq!(words(read("heddlectl -- heddlectl run -- --repo r")), (None, None), "another program's words");
        assert_eq!(words(read("heddlectl -- heddlectl list --repo")), (None, None));
    }
}
