//! The shell that splits words at `=`, and puts on its line what it is given, as it is given.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::engine;
use clap_complete::env::{Bash as Script, EnvCompleter};

/// Bash.
pub(super) struct Bash;

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        Script.name()
    }

    fn is(&self, name: &str) -> bool {
        Script.is(name)
    }

    fn write_registration(
        &self,
        var: &str,
        name: &str,
        bin: &str,
        completer: &str,
        buf: &mut dyn Write,
    ) -> io::Result<()> {
        Script.write_registration(var, name, bin, completer, buf)
    }

    fn write_complete(
        &self,
        cmd: &mut Command,
        args: Vec<OsString>,
        current_dir: Option<&Path>,
        buf: &mut dyn Write,
    ) -> io::Result<()> {
        let variable = |name: &str| std::env::var(name).ok();
        let at = variable("_CLAP_COMPLETE_INDEX").and_then(|at| at.parse().ok()).unwrap_or_default();
        let between = variable("_CLAP_IFS").unwrap_or_else(|| "\n".to_owned());
        let (words, at) = whole(args, at);
        let found = engine::complete(cmd, words, at, current_dir)?;
        let found = found.iter().map(|one| quoted(&one.get_value().to_string_lossy()));
        write!(buf, "{}", found.collect::<Vec<_>>().join(&between))
    }
}

/// The words of the line, and which of them is asked about, without the `=` that bash takes out of `--thread=x`.
fn whole(words: Vec<OsString>, at: usize) -> (Vec<OsString>, usize) {
    let mut kept: Vec<OsString> = Vec::with_capacity(words.len());
    let mut asked = at;
    for (number, word) in words.into_iter().enumerate() {
        let is_option = kept.last().and_then(|before| before.to_str()).is_some_and(|before| before.starts_with("--"));
        if number < at && word == "=" && is_option {
            asked -= 1;
        } else {
            kept.push(word);
        }
    }
    (kept, asked)
}

/// The value as bash reads it back: a file may be called `$(reboot)`.
fn quoted(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@+,%~".contains(&byte) || byte >= 0x80;
    if value.bytes().all(is_plain) { value.to_owned() } else { shell_words::quote(value).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_and_its_value_are_found_on_both_sides_of_the_equals_sign() {
        let read = |line: &str, at: usize| {
            let (words, at) = whole(line.split(' ').map(OsString::from).collect(), at);
            (words.into_iter().map(|word| word.into_string().expect("text")).collect::<Vec<_>>().join(" "), at)
        };
        assert_eq!(read("heddlectl list --thread = fi", 4), ("heddlectl list --thread fi".to_owned(), 3));
        assert_eq!(read("heddlectl list --thread fi", 3), ("heddlectl list --thread fi".to_owned(), 3));
        assert_eq!(read("heddlectl run x = y", 4), ("heddlectl run x = y".to_owned(), 4));
    }

    #[test]
    fn nothing_that_a_shell_would_run_gets_onto_its_line() {
        assert_eq!(quoted("fix/login@2"), "fix/login@2");
        assert_eq!(quoted("$(reboot)"), "'$(reboot)'");
        assert_eq!(quoted("a b;c"), "'a b;c'");
    }
}
