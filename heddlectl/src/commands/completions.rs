//! `heddlectl completions`: what makes a shell complete.
//!
//! Bash, zsh and fish get a few lines that ask the program itself (`complete/`), so that they know the threads and sessions
//! there are, and stay right when it is updated. The others get a script of commands and options.

use std::borrow::Cow;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::error::Error;
use crate::exit::Exit;
use crate::output::Output;

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Examples, to run once:
  heddlectl completions bash \\
    > ~/.local/share/bash-completion/completions/heddlectl
  heddlectl completions zsh > \"${fpath[1]}/_heddlectl\"
  heddlectl completions fish > ~/.config/fish/completions/heddlectl.fish

Or, in ~/.bashrc:  eval \"$(heddlectl completions bash)\"

Bash, zsh and fish also complete threads and sessions.";

const BASH: &str = "\
# heddlectl in bash: what completes is asked of the program itself, which knows the threads and sessions there are.
eval \"$(HEDDLE_COMPLETE=bash heddlectl 2>/dev/null)\"
";

const ZSH: &str = "\
#compdef heddlectl
# heddlectl in zsh: what completes is asked of the program itself, which knows the threads and sessions there are.
eval \"$(HEDDLE_COMPLETE=zsh heddlectl 2>/dev/null)\"
# This file is the completion function the first time, and then the one that it has just made is.
if [[ $funcstack[1] == _heddlectl ]] && (( $+functions[_clap_dynamic_completer_heddlectl] )); then
  _clap_dynamic_completer_heddlectl \"$@\"
fi
";

const FISH: &str = "\
# heddlectl in fish: what completes is asked of the program itself, which knows the threads and sessions there are.
env HEDDLE_COMPLETE=fish heddlectl 2>/dev/null | source
";

/// Arguments of `completions`.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell that completes
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub(crate) fn run(&self, out: &Output, command: Command) -> Result<Exit, Error> {
        out.print(&script(self.shell, command))?;
        Ok(Exit::OK)
    }
}

fn script(shell: Shell, mut command: Command) -> Cow<'static, str> {
    match shell {
        Shell::Bash => BASH.into(),
        Shell::Zsh => ZSH.into(),
        Shell::Fish => FISH.into(),
        Shell::Elvish | Shell::PowerShell | _ => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "heddlectl", &mut script);
            String::from_utf8_lossy(&script).into_owned().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complete::VARIABLE;

    #[test]
    fn scripts_ask_by_the_variable_that_is_listened_to() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            assert!(
                script(shell, Command::new("heddlectl")).contains(&format!("{VARIABLE}={shell} heddlectl")),
                "{shell}"
            );
        }
    }
}
