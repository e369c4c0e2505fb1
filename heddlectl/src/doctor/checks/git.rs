//! Git, as the daemon starts it: from a cleaned environment, with a bound.

use std::path::Path;
use std::process::Command;

use crate::doctor::bounded::{self, Said, Silent};
use crate::doctor::{Finding, Scene};
use crate::env::Env;

/// The first version that can try a merge without a worktree (`merge-tree --write-tree`).
const NEEDED: (u32, u32) = (2, 38);

/// Runs Git with nothing of the environment but what it needs to be found and configured. It runs no hook, no monitor, no
/// pager, and takes no optional lock.
pub(super) fn git(env: &Env, directory: &Path, arguments: &[&str]) -> Result<Said, Silent> {
    let mut command = Command::new("git");
    command.env_clear().env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    for name in ["PATH", "HOME", "XDG_CONFIG_HOME"] {
        if let Some(value) = env.os(name) {
            command.env(name, value);
        }
    }
    command.args(["--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]);
    command.arg("-C").arg(directory).args(arguments);
    bounded::run(&mut command)
}

/// Whether Git is there, and new enough.
pub(super) fn version(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "git";
    let said = match git(&scene.env, Path::new("/"), &["--version"]) {
        Ok(said) => String::from_utf8_lossy(&said.stdout).trim_end().to_owned(),
        Err(Silent::NotStarted(why)) => {
            return vec![Finding::error(
                NAME,
                format!("there is no git in the PATH ({why}): install it, 2.38 or newer"),
            )];
        }
        Err(Silent::Late) => return vec![Finding::error(NAME, "`git --version` does not end")],
    };
    vec![
        match parse(&said) {
            None => Finding::warning(NAME, format!("its version is not understood: {said}")),
            Some(version) if version < NEEDED => Finding::warning(
                NAME,
                format!("{said} cannot try merges: `ready` cannot tell conflicts before Git 2.38; install a newer one"),
            ),
            Some(_) => Finding::ok(NAME, said.clone()),
        }
        .detail("version", said),
    ]
}

/// `git version 2.39.5 (Apple Git-154)`
fn parse(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix("git version ")?.split(['.', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_git_prints_them() {
        assert_eq!(parse("git version 2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(parse("git version 2.9.0"), Some((2, 9)));
        assert_eq!(parse("git version 2.50.1.windows.1"), Some((2, 50)));
        assert_eq!(parse("hub version 1"), None);
        assert!((2, 9) < NEEDED && (3, 0) > NEEDED);
    }
}
