//! What every check looks at: the environment, the places, the lock's record, the daemon. Gathered once, with bounds.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde::Deserialize;

use super::bounded::{self, Said, Silent, within};
use super::probe::{self, Daemon, Reach};
use crate::client::connector::Connector;
use crate::client::connector::REBIND;
use crate::client::lock_holder::LockHolder;
use crate::client::{patience::Patience, start};
use crate::clock;
use crate::env::Env;
use crate::files;
use crate::paths::{self, Paths};
use crate::service;
use crate::worktree::Worktree;

/// What the lock file says of the daemon that holds it, or held it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(crate) struct Record {
    /// Its pid, in its own pid namespace.
    pub(crate) pid: u32,
    /// Where it listens.
    pub(crate) socket: PathBuf,
    /// When it took the lock.
    pub(crate) started_at: proto_schema::Timestamp,
}

/// What `heddled --check-config` says.
#[derive(Clone, Debug)]
pub(crate) enum Configuration {
    /// There is no such program.
    NoProgram(String),
    /// It cannot be run.
    NotRun(Silent),
    /// It said this.
    Said(PathBuf, Said),
}

/// What is looked at.
pub(crate) struct Scene {
    /// The environment.
    pub(crate) env: Env,
    /// Who we are.
    pub(crate) uid: u32,
    /// The socket as heddlectl finds it, and whether somebody named it; or why it cannot be told.
    pub(crate) socket: Result<(PathBuf, bool), String>,
    /// The state directory, if there is a place for one.
    pub(crate) state: Option<PathBuf>,
    /// The worktree that we are asked about.
    pub(crate) worktree: Option<Worktree>,
    /// Why it cannot be told whether there is a worktree: the file, and what is wrong with it.
    pub(crate) unreadable: Option<(PathBuf, String)>,
    /// What the lock file says.
    pub(crate) record: Option<Record>,
    /// How the daemon can be reached, and where that was tried.
    pub(crate) reach: Reach,
    /// Where it was tried last.
    pub(crate) tried: PathBuf,
    /// The configuration.
    pub(crate) configuration: Configuration,
}

impl Scene {
    /// Looks around.
    pub(crate) fn gather(env: Env, uid: u32, flag: Option<&Path>, directory: Option<PathBuf>) -> Self {
        let socket = paths::socket(&env, flag, uid).map_err(|error| probe::facts(&error));
        let state = paths::state(&env);
        let record = state.clone().and_then(|state| within(bounded::LOOK, move || record(&state)).flatten());
        let (worktree, unreadable) = directory.map_or((None, None), find_worktree);
        let (reach, tried) = idle(&env, uid, socket.as_ref().ok(), state.as_ref())
            .unwrap_or_else(|| patient_reach(socket.as_ref().ok(), record.as_ref(), state.as_ref(), uid));
        let configuration = configuration(&env, flag);
        Self { env, uid, socket, state, worktree, unreadable, record, reach, tried, configuration }
    }

    /// The daemon, if it answers.
    pub(crate) fn daemon(&self) -> Option<&Daemon> {
        match &self.reach {
            Reach::Answers(daemon) => Some(daemon),
            Reach::Absent
            | Reach::Idle
            | Reach::Stale
            | Reach::Denied(_)
            | Reach::Unsafe(_)
            | Reach::Foreign(_)
            | Reach::Silent(_)
            | Reach::Strange(_) => None,
        }
    }

    /// The value of a setting in the configuration in force, as `heddled --check-config` prints it.
    pub(crate) fn setting(&self, key: &str) -> Option<String> {
        let Configuration::Said(_, said) = &self.configuration else { return None };
        let text = std::str::from_utf8(&said.stdout).ok().filter(|_| said.success)?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
        Some(value.trim_matches('"').to_owned())
    }
}

fn find_worktree(near: PathBuf) -> (Option<Worktree>, Option<(PathBuf, String)>) {
    let path = near.clone();
    match within(bounded::LOOK, move || Worktree::find(&path)) {
        Some(Ok(worktree)) => (worktree, None),
        Some(Err((path, cause))) => (None, Some((path, cause.to_string()))),
        None => (None, Some((near, "its file system does not answer".to_owned()))),
    }
}

/// Reads the record of a lock file, without a lock.
fn record(state: &Path) -> Option<Record> {
    let mut text = String::new();
    files::open_no_follow(&state.join("heddled.lock")).ok()?.take(8_192).read_to_string(&mut text).ok()?;
    serde_json::from_str(text.lines().next()?).ok()
}

/// Where its service would start the daemon for whoever asks it: it is not asked there.
fn idle(env: &Env, uid: u32, socket: Option<&(PathBuf, bool)>, state: Option<&PathBuf>) -> Option<(Reach, PathBuf)> {
    let ((socket, named), state) = (socket.cloned()?, state.cloned()?);
    let (path, env) = (socket.clone(), env.clone());
    let is_idle = within(bounded::LOOK, move || {
        let paths = Paths { socket, named, state };
        service::is_idle(&Connector { paths, env, uid, patience: Patience::default(), told: Arc::default() })
    });
    is_idle.unwrap_or(false).then_some((Reach::Idle, path))
}

/// The same as [`reach`], but gives a daemon that runs the time to bind a socket again that was removed.
fn patient_reach(
    socket: Option<&(PathBuf, bool)>,
    record: Option<&Record>,
    state: Option<&PathBuf>,
    uid: u32,
) -> (Reach, PathBuf) {
    let deadline = clock::now() + REBIND;
    let runs = || {
        let (record, state) = record.zip(state)?;
        LockHolder::of(&state.join("heddled.lock"), record.pid)
    };
    loop {
        let found = reach(socket, record, uid);
        let is_gone = matches!(found.0, Reach::Absent | Reach::Stale) && found.1 == record_socket(record);
        if !is_gone || runs().is_none() || clock::now() >= deadline {
            return found;
        }
        clock::pause(bounded::POLL);
    }
}

fn record_socket(record: Option<&Record>) -> &Path {
    record.map_or(Path::new(""), |record| &record.socket)
}

/// Asks at the socket that heddlectl would use; and where nobody named that one, at the one that the lock file names.
fn reach(socket: Option<&(PathBuf, bool)>, record: Option<&Record>, uid: u32) -> (Reach, PathBuf) {
    let ask = |path: &Path| {
        let at = path.to_owned();
        within(bounded::LOOK, move || probe::ask(&at, uid)).unwrap_or(Reach::Silent(None))
    };
    let Some((path, named)) = socket else { return (Reach::Absent, PathBuf::new()) };
    let first = ask(path);
    let is_none = |reach: &Reach| matches!(reach, Reach::Absent | Reach::Stale);
    let other = record.filter(|record| !named && record.socket.is_absolute() && record.socket != *path);
    if let Some(record) = other.filter(|_| is_none(&first)) {
        let there = ask(&record.socket);
        // What is left of a daemon elsewhere says nothing that the first does not.
        if !is_none(&there) {
            return (there, record.socket.clone());
        }
    }
    (first, path.clone())
}

/// Has the daemon's own program look at the configuration, in the environment that a daemon would be started in.
fn configuration(env: &Env, flag: Option<&Path>) -> Configuration {
    let program = match start::program(env) {
        Ok(program) => program,
        Err(error) => return Configuration::NoProgram(probe::facts(&error)),
    };
    let mut command = Command::new(&program);
    command.arg("--check-config").env_clear().envs(start::meant(env)).current_dir("/");
    if let Some(socket) = flag.and_then(|path| std::path::absolute(path).ok()) {
        command.env("HEDDLE_SOCKET", socket);
    }
    match bounded::run(&mut command) {
        Ok(said) => Configuration::Said(program, said),
        Err(silent) => Configuration::NotRun(silent),
    }
}
