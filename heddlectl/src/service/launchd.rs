//! The service in launchd (macOS): one property list.
//!
//! The list is made and read back in tests; that launchd does with it what it says there has not been tried on a Mac.

use std::path::{Path, PathBuf};

use super::manager::run;
use super::{State, Step, detached, program, unit};
use crate::client::connector::Connector;
use crate::env::Env;
use crate::error::Error;
use crate::exit::Exit;
use crate::files;

const LABEL: &str = "io.github.heddled.heddled";

/// What shows why it does not run.
pub(crate) const LOOK: &str = "heddlectl service status";

/// Whether a file says that it may be installed.
pub(crate) fn may_be_installed(env: &Env) -> bool {
    file(env).is_some_and(|file| file.exists())
}

fn file(env: &Env) -> Option<PathBuf> {
    Some(Path::new(env.os("HOME")?).join("Library/LaunchAgents").join(format!("{LABEL}.plist")))
}

/// The socket of the service: launchd makes no directories, and empties those for temporary files.
fn socket(connector: &Connector) -> PathBuf {
    let paths = &connector.paths;
    if paths.named { paths.socket.clone() } else { paths.state.join("run/heddled.sock") }
}

fn domain(connector: &Connector) -> String {
    format!("gui/{}", connector.uid)
}

fn target(connector: &Connector) -> String {
    format!("{}/{LABEL}", domain(connector))
}

/// See [`super::state`].
pub(crate) fn state(connector: &Connector) -> State {
    let content = file(&connector.env).and_then(|file| Some((files::read_text(&file).ok()?, file)));
    let said = run(connector, &["launchctl", "print", &target(connector)]);
    let value = |name: &str| {
        let line = said.out.lines().find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix('='));
        line.map(|value| value.trim().to_owned())
    };
    let program = program::find(&connector.env).ok();
    let expected = program.as_ref().map(|it| unit::plist(it, &socket(connector), &connector.paths.state));
    State {
        manager: Some("launchd"),
        installed: content.is_some(),
        written_by_heddlectl: content.as_ref().is_some_and(|(content, _)| unit::is_ours(content)),
        outdated: content.as_ref().is_some_and(|(content, _)| expected.is_some_and(|text| text != *content)),
        enabled: content.is_some() && said.ok,
        listening: said.ok,
        active: value("state"),
        pid: value("pid").and_then(|pid| pid.parse().ok()),
        program: value("program").map(PathBuf::from).or(program).filter(|_| content.is_some()),
        socket: content.is_some().then(|| socket(connector)),
        state_dir: content.is_some().then(|| connector.paths.state.clone()),
        files: content.map(|(_, file)| file).into_iter().collect(),
        unavailable: None,
        linger: None,
    }
}

/// See [`super::install`].
pub(crate) fn install(connector: &Connector, force: bool) -> Result<Vec<Step>, Error> {
    let state = state(connector);
    let file = file(&connector.env).ok_or_else(|| Error::local(Exit::CONFIG, "HOME is not set"))?;
    if state.installed && !state.written_by_heddlectl && !force {
        return Err(Error::local(Exit::REFUSED, format!("somebody else wrote {}", file.display()))
            .fact("nothing was changed")
            .command("heddlectl service install --force"));
    }
    let socket = socket(connector);
    program::text(&socket)?;
    program::text(&connector.paths.state)?;
    let text = unit::plist(&program::find(&connector.env)?, &socket, &connector.paths.state);
    if files::read_text(&file).ok().as_ref() == Some(&text) && state.listening {
        return Ok(Vec::new());
    }
    let mut steps: Vec<_> = socket.parent().map(|folder| Step::Directory(folder.to_path_buf())).into_iter().collect();
    let list = file.display().to_string();
    steps.push(Step::Write(file, text));
    if state.listening {
        steps.push(Step::run(&["launchctl", "bootout", &target(connector)]));
    }
    steps.extend(detached(connector, &state).map(Step::Stop));
    steps.push(Step::run(&["launchctl", "bootstrap", &domain(connector), &list]));
    Ok(steps)
}

/// See [`super::uninstall`].
pub(crate) fn uninstall(connector: &Connector) -> Result<Vec<Step>, Error> {
    let state = state(connector);
    let mut steps = Vec::new();
    if state.listening {
        steps.push(Step::run(&["launchctl", "bootout", &target(connector)]));
    }
    if state.written_by_heddlectl {
        steps.extend(state.files.into_iter().map(Step::Remove));
    }
    Ok(steps)
}

/// See [`super::start`].
pub(crate) fn start(connector: &Connector) -> Result<(), Error> {
    let said = run(connector, &["launchctl", "kickstart", &target(connector)]);
    if said.ok {
        return Ok(());
    }
    let error = Error::local(Exit::UNREACHABLE, "the daemon did not start: launchd does not start it");
    Err(said.err.lines().fold(error, Error::fact).command(LOOK))
}
