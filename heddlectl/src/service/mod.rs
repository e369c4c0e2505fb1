//! The daemon as a service of the user: whether it is one, how it becomes one, and how it is one no more.
//!
//! What is done is a list of [`Step`]s, made from what is there; `--dry-run` prints the list that would be done. Nothing here
//! needs the daemon to run, and looking never starts it.

pub(crate) mod launchd;
mod manager;
mod program;
mod step;
pub(crate) mod systemd;
mod unit;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub(crate) use step::{Step, carry_out};

use crate::client::Client;
use crate::client::connector::Connector;
use crate::error::Error;

/// How the service is. Also what `service status --json` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct State {
    /// What manages services here: `systemd` or `launchd`; none where there is nothing that could.
    pub(crate) manager: Option<&'static str>,
    /// Why there is none.
    pub(crate) unavailable: Option<String>,
    /// Whether its files are there, ours or a package's.
    pub(crate) installed: bool,
    /// Its files.
    pub(crate) files: Vec<PathBuf>,
    /// Whether `heddlectl` wrote them; else a package or somebody did.
    pub(crate) written_by_heddlectl: bool,
    /// Whether they differ from what this version would write, or have not been read since they changed.
    pub(crate) outdated: bool,
    /// Whether it starts by itself: at the first connection after a login or a boot.
    pub(crate) enabled: bool,
    /// Whether the manager listens on the socket now.
    pub(crate) listening: bool,
    /// What the manager says about the daemon: `active`, `inactive`, `failed`, `activating`.
    pub(crate) active: Option<String>,
    /// The daemon's process, where the manager runs one.
    pub(crate) pid: Option<u32>,
    /// The program it runs.
    pub(crate) program: Option<PathBuf>,
    /// Where it listens.
    pub(crate) socket: Option<PathBuf>,
    /// Where it keeps its registry, where its files say that.
    pub(crate) state_dir: Option<PathBuf>,
    /// Whether it goes on when the user has logged out (systemd).
    pub(crate) linger: Option<bool>,
}

/// How the service is. Never fails: what cannot be told is absent.
pub(crate) fn state(connector: &Connector) -> State {
    if cfg!(target_os = "macos") { launchd::state(connector) } else { systemd::state(connector) }
}

/// What has to be done so that the service is installed and runs.
pub(crate) fn install(connector: &Connector, force: bool) -> Result<Vec<Step>, Error> {
    if cfg!(target_os = "macos") { launchd::install(connector, force) } else { systemd::install(connector, force) }
}

/// What has to be done so that it is not. Nothing, if it is not.
pub(crate) fn uninstall(connector: &Connector) -> Result<Vec<Step>, Error> {
    if cfg!(target_os = "macos") { launchd::uninstall(connector) } else { systemd::uninstall(connector) }
}

/// The service, if it is what serves this connector: it is installed and enabled, for this state directory, and no other
/// socket than its own was named.
pub(crate) fn serving(connector: &Connector) -> Option<State> {
    let may_be = if cfg!(target_os = "macos") { launchd::may_be_installed } else { systemd::may_be_installed };
    if !may_be(&connector.env) {
        return None;
    }
    let state = state(connector);
    let paths = &connector.paths;
    let default_state = connector.env.os("HOME").map(|home| Path::new(home).join(".local/state/heddle"));
    let is_our_registry = state.state_dir.as_ref().or(default_state.as_ref()) == Some(&paths.state);
    let is_our_socket = !paths.named || state.socket.as_ref() == Some(&paths.socket);
    (state.installed && state.enabled && is_our_registry && is_our_socket).then_some(state)
}

/// Whether the service serves this connector and no daemon runs: a connection would start one.
pub(crate) fn is_idle(connector: &Connector) -> bool {
    serving(connector).is_some_and(|state| state.pid.is_none() && detached(connector, &state).is_none())
}

/// Starts the daemon through its service and connects to it. The manager comes back when the daemon serves.
pub(crate) fn start(connector: &Connector, service: &State) -> Result<Client, Error> {
    let started =
        if cfg!(target_os = "macos") { launchd::start(connector) } else { systemd::start(connector, service) };
    started?;
    let socket = service.socket.as_ref().unwrap_or(&connector.paths.socket);
    connector.open(socket)?.ok_or_else(|| {
        let error = connector.absent().fact("its service was started");
        error.command(if cfg!(target_os = "macos") { launchd::LOOK } else { systemd::LOOK })
    })
}

/// The daemon that runs beside the service: its pid. None where there is none, or where the service runs it.
pub(crate) fn detached(connector: &Connector, state: &State) -> Option<u32> {
    let pid = connector.recorded_pid()?;
    let is_there = nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid).ok()?), None).is_ok();
    (is_there && state.pid != Some(pid)).then_some(pid)
}
