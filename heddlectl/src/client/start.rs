//! Starts the daemon: through its service where it is one, else detached, once, and with its own words when it does not
//! come up.
//!
//! The daemon gets a session of its own, `/` as directory, none of our descriptors (`hidden::daemonize` sees to both) and
//! an environment of names that are meant for it, so that nothing of the agent that happened to need it first stays
//! with it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use super::Client;
use super::connector::Connector;
use crate::clock;
use crate::env::Env;
use crate::error::Error;
use crate::exit::Exit;
use crate::files;
use crate::hidden;
use crate::service;

/// How long a daemon may take until it listens.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often we look.
const LOOK: Duration = Duration::from_millis(3);

/// Starts the daemon, or waits for the one that somebody else is starting, and connects to it.
pub(crate) fn start(connector: &Connector) -> Result<Client, Error> {
    let paths = &connector.paths;
    private_directory(&paths.state)?;
    let deadline = clock::now() + DEADLINE;
    let mut file = open_private(&paths.start_lock())?;
    let lock = loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => break lock,
            Err((back, _)) => file = back,
        }
        if let Some(client) = connector.running()? {
            return Ok(client);
        }
        if clock::now() >= deadline {
            return Err(connector.absent().fact("another process has been starting it for 10 s"));
        }
        clock::pause(LOOK);
    };
    // Whoever had the lock before may have done it.
    if let Some(client) = connector.running()? {
        return Ok(client);
    }
    if let Some(service) = service::serving(connector) {
        return service::start(connector, &service);
    }
    // A daemon that runs leaves no room for another: it has to end, or to listen, first.
    while let Some(holder) = connector.lock_holder() {
        if holder.is_suspended() || clock::now() >= deadline {
            return Err(connector.unreachable(holder));
        }
        if let Some(client) = connector.running()? {
            return Ok(client);
        }
    }
    let mut log = open_private(&paths.log())?;
    let log_start = log.seek(SeekFrom::End(0)).unwrap_or_default();
    let program = program(&connector.env)?;
    let mut daemon = spawn(&program, connector, log)?;
    loop {
        if let Some(client) = connector.running()? {
            drop(lock);
            reap(daemon);
            return Ok(client);
        }
        let ended = daemon.try_wait().map_err(|cause| Error::io("watch the daemon", &program, &cause))?;
        if ended.is_some() || clock::now() >= deadline {
            // One that lost the race for the lock file to another daemon ends too, and that other one is as good.
            if let Some(client) = connector.running()? {
                return Ok(client);
            }
            return Err(did_not_start(connector, &program, ended, log_start));
        }
        clock::pause(LOOK);
    }
}

/// Takes note of the daemon's end, should we live longer, as `run` may: whoever waits for it to be gone must not find it
/// unreaped.
fn reap(mut daemon: Child) {
    let reaping = move || drop(daemon.wait());
    // Without a thread it stays unreaped until we end.
    drop(std::thread::Builder::new().name("daemon".to_owned()).spawn(reaping));
}

fn did_not_start(
    connector: &Connector,
    program: &Path,
    ended: Option<std::process::ExitStatus>,
    log_start: u64,
) -> Error {
    let log = connector.paths.log();
    let what = match ended {
        Some(status) => format!("the daemon did not start: {} ended with {status}", program.display()),
        None => format!("the daemon does not listen on {} after 10 s", connector.paths.socket.display()),
    };
    let mut error = Error::local(Exit::UNREACHABLE, what);
    let mut words = String::new();
    if let Ok(mut file) = files::open(&log)
        // It was moved aside meanwhile if it is shorter: then all of it is new.
        && let Ok(length) = file.metadata().map(|meta| meta.len())
        && file.seek(SeekFrom::Start(if length < log_start { 0 } else { log_start })).is_ok()
    {
        // What cannot be read is not told.
        file.take(64 * 1024).read_to_string(&mut words).ok();
    }
    let lines: Vec<_> = words.lines().filter(|line| !line.trim().is_empty()).collect();
    for line in lines.iter().skip(lines.len().saturating_sub(5)) {
        error = error.fact(*line);
    }
    error.hint(format!("its log is {}", log.display())).command("heddlectl doctor")
}

/// The daemon's program: beside this one, else on the PATH.
pub(crate) fn program(env: &Env) -> Result<PathBuf, Error> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join("heddled")));
    if let Some(beside) = beside.filter(|path| path.is_file()) {
        return Ok(beside);
    }
    let path = env.os("PATH").map(std::ffi::OsStr::to_os_string).unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("heddled"))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            Error::local(Exit::UNREACHABLE, "no daemon is running, and there is no `heddled` to start")
                .fact("it was looked for beside heddlectl and in the PATH")
                .hint("install heddled beside heddlectl")
        })
}

fn spawn(program: &Path, connector: &Connector, log: File) -> Result<Child, Error> {
    Command::new(hidden::own_program())
        .arg(hidden::DAEMONIZE)
        .arg(program)
        .env_clear()
        .envs(environment(connector))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|cause| Error::io("start", program, &cause))
}

/// The environment of the daemon's program.
pub(crate) fn environment(connector: &Connector) -> Vec<(OsString, OsString)> {
    let mut environment = meant(&connector.env);
    if connector.paths.named {
        // A socket named by --socket is the daemon's too.
        environment.retain(|(name, _)| name != "HEDDLE_SOCKET");
        environment.push(("HEDDLE_SOCKET".into(), connector.paths.socket.clone().into()));
    }
    environment
}

/// What a daemon needs to know, and nothing of the agent that needed it.
pub(crate) fn meant(env: &Env) -> Vec<(OsString, OsString)> {
    let meant = |name: &str| match name {
        "HOME" | "PATH" | "TMPDIR" | "LANG" => true,
        "HEDDLE_SESSION" | "HEDDLE_THREAD" | "HEDDLE_REPO" | "HEDDLE_NO_AUTOSTART" => false,
        _ if name.starts_with("HEDDLE_AGENT_") => false,
        _ => ["XDG_", "LC_", "HEDDLE_"].iter().any(|prefix| name.starts_with(prefix)),
    };
    env.iter()
        .filter(|(name, _)| name.to_str().is_some_and(meant))
        .map(|(name, value)| (name.to_os_string(), value.to_os_string()))
        .collect()
}

/// Makes a directory that only its owner can use.
pub(crate) fn private_directory(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|cause| Error::io("make", parent, &cause))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(_) if path.is_dir() => Ok(()),
        made => made.map_err(|cause| Error::io("make", path, &cause)),
    }
}

fn open_private(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o600)
        .open(path)
        .map_err(|cause| Error::io("open", path, &cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_inherits_nothing_of_the_agent() {
        let env = Env::of(&[
            ("HOME", "/h"),
            ("PATH", "/bin"),
            ("XDG_RUNTIME_DIR", "/run"),
            ("LC_ALL", "C"),
            ("HEDDLE_STATE_DIR", "/s"),
            ("HEDDLE_SESSION", "agent-x"),
            ("HEDDLE_AGENT_MODEL", "m"),
            ("HEDDLE_NO_AUTOSTART", "0"),
            ("CLAUDECODE", "1"),
            ("LD_PRELOAD", "/evil"),
            ("GIT_DIR", "/x"),
        ]);
        let names: Vec<_> = meant(&env).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["HOME", "PATH", "XDG_RUNTIME_DIR", "LC_ALL", "HEDDLE_STATE_DIR"]);
    }
}
