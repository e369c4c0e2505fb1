//! What `heddlectl` alone prints, and `--help` first: the commands in groups, on a screen of 24 rows.

/// The commands, in groups. A test compares them with those of the command line.
pub(crate) const COMMANDS: &str = "\
Work       run               Run a command that holds a thread while it lives
           reserve, release  Hold a thread, and give it back
           capture           Commit everything in the worktree onto the thread
           ready             Check whether a thread can merge into its target
Look       list, show        Sessions: who holds what
           thread            Threads: where each one stands
           watch, log        What happens, and what happened
           status            The daemon and this repository
Clean up   thread clean      Remove the worktrees of merged threads
           evict             End a session of somebody else, with a reason
Operate    daemon, service   Start, stop, back up; run as a service
           doctor            Find what is wrong, and how to mend it
           repo              Take a repository over from another registry
Harnesses  heartbeat         Keep a session alive
           validate          Check whether a session can still write
           schema            The protocol, as OpenRPC or JSON Schemas
More       demo              See it work, on a throw-away clone of this repo
           completions, man  For your shell; the manual pages";

/// The whole overview.
pub(crate) fn text() -> String {
    format!(
        "heddlectl decides which coding agent holds which branch of a Git repository.\n\
         Usage: heddlectl [OPTIONS] <COMMAND>\n\n\
         {COMMANDS}\n\n\
         `heddlectl help COMMAND` explains a command, `heddlectl --help` the options.\n"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    /// The names in the second column.
    fn names() -> Vec<&'static str> {
        let columns = COMMANDS.lines().map(|line| line[11..29].trim());
        columns.flat_map(|names| names.split(", ")).filter_map(|name| name.split(' ').next()).collect()
    }

    #[test]
    fn the_overview_names_every_command() {
        let command = Cli::command();
        let there: BTreeSet<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(names().into_iter().collect::<BTreeSet<_>>(), there);
    }

    #[test]
    fn the_overview_fits_a_small_terminal() {
        let text = text();
        assert!(text.lines().count() <= 24, "{} rows", text.lines().count());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
