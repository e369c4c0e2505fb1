//! `heddlectl doctor`: what is wrong, and the command that mends it. It needs nothing: no daemon, no home, no repository.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::doctor::{Finding, Scene, Status, examine};
use crate::env::Env;
use crate::error::Error;
use crate::exit::Exit;
use crate::global::Global;
use crate::output::{Output, doctor};

/// What to look for in the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  heddlectl doctor          all checks, problems first
  heddlectl doctor -q       problems only
  heddlectl doctor --json   {healthy, checks: [{name, status, summary, ..}]}

It does not start the daemon and changes nothing. Exit 1 if a check fails.";

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub(crate) struct Doctor {}

/// What is printed with --json.
#[derive(Serialize)]
struct Report<'a> {
    healthy: bool,
    checks: &'a [Finding],
}

impl Doctor {
    /// Looks, and tells.
    #[expect(clippy::unused_self, reason = "every command is called in the same way")]
    pub(crate) fn run(&self, out: &Output, global: &Global) -> Result<Exit, Error> {
        let directory: Option<PathBuf> = match &global.repo {
            Some(path) => std::path::absolute(path).ok(),
            None => std::env::current_dir().ok(),
        };
        let uid = nix::unistd::geteuid().as_raw();
        let mut findings = examine(Scene::gather(Env::of_process(), uid, global.socket.as_deref(), directory));
        if let Some(socket) = global.socket.as_deref().and_then(|path| std::path::absolute(path).ok()) {
            findings.iter_mut().filter_map(|finding| finding.fix.as_mut()).for_each(|fix| *fix = through(fix, &socket));
        }
        let healthy = findings.iter().all(|finding| finding.status != Status::Error);
        if out.json {
            let report = serde_json::to_string(&Report { healthy, checks: &findings }).map_err(Error::garbled)?;
            out.print_json(&report)?;
        } else {
            out.print(&doctor::page(&findings, out.quiet, out.page()))?;
        }
        Ok(if healthy { Exit::OK } else { Exit::UNEXPECTED })
    }
}

/// The command for the daemon on this socket: whoever named it here must name it there too.
fn through(fix: &str, socket: &Path) -> String {
    let flag = shell_words::join(["--socket", &socket.display().to_string()]);
    let add = |command: &str| {
        let is_ours = command.starts_with("heddlectl ") && !command.contains(" --socket ");
        if is_ours { format!("{command} {flag}") } else { command.to_owned() }
    };
    fix.split(" && ").map(add).collect::<Vec<_>>().join(" && ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_a_fix_names_the_socket_that_was_named() {
        let of = |fix| through(fix, Path::new("/a b"));
        assert_eq!(of("heddlectl daemon stop && kill 3"), "heddlectl daemon stop --socket '/a b' && kill 3");
        assert_eq!(of("heddlectl --socket /c status"), "heddlectl --socket /c status");
    }
}
