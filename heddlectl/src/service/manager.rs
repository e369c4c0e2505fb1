//! Runs the programs of the service manager, and never waits for one for ever.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::client::connector::Connector;
use crate::clock;

/// How long one of them may take: a daemon that is stopped has calls to finish.
const TIME: Duration = Duration::from_secs(100);

/// How long one may take that only says how things are: a command that reads may depend on it.
const TIME_OF_LOOK: Duration = Duration::from_secs(2);

/// How often we look whether it has ended.
const LOOK: Duration = Duration::from_millis(2);

/// What a program said.
#[derive(Debug)]
pub(super) struct Said {
    /// Whether it succeeded.
    pub(super) ok: bool,
    /// On its standard output.
    pub(super) out: String,
    /// On its standard error, or why it could not be run.
    pub(super) err: String,
}

/// Runs a program that only says how things are.
pub(super) fn look(connector: &Connector, words: &[&str]) -> Said {
    run_within(connector, words, TIME_OF_LOOK)
}

/// Runs a program that may change something.
pub(super) fn run(connector: &Connector, words: &[&str]) -> Said {
    run_within(connector, words, TIME)
}

/// Runs a program with our environment. Its own words may be read by this program, so they are not translated.
fn run_within(connector: &Connector, words: &[&str], time: Duration) -> Said {
    let failed = |why: String| Said { ok: false, out: String::new(), err: why };
    let Some((program, arguments)) = words.split_first() else { return failed(String::new()) };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(connector.env.iter());
    command.env("LC_ALL", "C").env("SYSTEMD_COLORS", "0").env("SYSTEMD_PAGER", "cat");
    // ssh and cron do not say where the user's manager is; it is where it always is.
    let usual = format!("/run/user/{}", connector.uid);
    if connector.env.text("XDG_RUNTIME_DIR").is_none() && Path::new(&usual).is_dir() {
        command.env("XDG_RUNTIME_DIR", usual);
    }
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(cause) => return failed(format!("{program}: {cause}")),
    };
    let deadline = clock::now() + time;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                // They say a few lines, which a pipe holds.
                let (mut out, mut err) = (String::new(), String::new());
                child.stdout.take().map(|mut from| from.read_to_string(&mut out));
                child.stderr.take().map(|mut from| from.read_to_string(&mut err));
                return Said { ok: status.success(), out, err: err.trim().to_owned() };
            }
            Ok(None) if clock::now() < deadline => clock::pause(LOOK),
            Ok(None) | Err(_) => {
                // It may have ended meanwhile.
                child.kill().ok();
                child.wait().ok();
                return failed(format!("{program} did not end within {} s", time.as_secs()));
            }
        }
    }
}
