//! `heddlectl completions`: what shells complete, made of the command line itself.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Output;

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  heddlectl completions bash > ~/.local/share/bash-completion/completions/heddlectl
  heddlectl completions zsh > \"${fpath[1]}/_heddlectl\"
  heddlectl completions fish > ~/.config/fish/completions/heddlectl.fish";

/// Arguments of `completions`.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub(crate) fn run(&self, out: &Output) -> Result<Exit, Error> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "heddlectl", &mut script);
        out.print(&String::from_utf8_lossy(&script))?;
        Ok(Exit::OK)
    }
}
