//! Where the demo plays: a temporary directory with a clone of the reader's repository and a daemon of its own.
//!
//! The reader's repository is only read, by `git clone --shared --no-checkout`: its references, reflogs and files stay
//! as they are, and no registry puts its name there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto_schema::PathText;

use crate::app::App;
use crate::client::connector::Connector;
use crate::client::{Client, start};
use crate::clock;
use crate::error::Error;
use crate::exit::Exit;
use crate::files;
use crate::hidden;
use crate::paths::Paths;

/// How long the daemon may take until it listens.
const DEADLINE: Duration = Duration::from_secs(10);

/// The stage; everything on it goes when it is dropped.
pub(super) struct Stage {
    connector: Connector,
    daemon: Option<Child>,
    directory: Option<tempfile::TempDir>,
    source: Option<PathBuf>,
    /// How long the daemon took until it listened.
    pub(super) started: Duration,
}

impl Stage {
    /// Makes the directory and the clone, and starts the daemon.
    pub(super) fn set(app: &App) -> Result<Self, Error> {
        let directory = tempfile::Builder::new().prefix("heddle-demo-").tempdir();
        let directory = directory.map_err(|cause| Error::io("make a directory in", &std::env::temp_dir(), &cause))?;
        let root = fs::canonicalize(directory.path()).map_err(|cause| Error::io("find", directory.path(), &cause))?;
        for name in ["home", "run"] {
            start::private_directory(&root.join(name))?;
        }
        let identity = root.join("home/.gitconfig");
        fs::write(&identity, "[user]\n\tname = heddle demo\n\temail = demo@localhost\n")
            .map_err(|cause| Error::io("write", &identity, &cause))?;
        let source = clone(app, &root)?;
        let socket = root.join("run/heddled.sock");
        let paths = Paths { socket, named: true, state: root.join("state") };
        let connector = Connector { paths, ..app.connector.clone() };
        let mut stage = Self { connector, daemon: None, directory: Some(directory), source, started: Duration::ZERO };
        stage.start(&root)?;
        Ok(stage)
    }

    /// What the reader should know before it begins.
    pub(super) fn description(&self) -> String {
        let what = match &self.source {
            Some(source) => format!("{} is only read: this happens in a throw-away clone of it", source.display()),
            None => "There is no repository here, so this happens in a fresh one".to_owned(),
        };
        let root = self.root().display();
        format!(
            "{what},\nwith a daemon of its own (up in {} ms), in {root}.\nAll of that is removed at the end.\n",
            self.started.as_millis()
        )
    }

    /// The clone.
    pub(super) fn repo(&self) -> Result<PathText, Error> {
        let path = self.root().join("repo");
        let text = path.to_str().ok_or_else(|| Error::local(Exit::CONFIG, "the temporary directory is not UTF-8"))?;
        text.parse().map_err(|error| Error::local(Exit::CONFIG, format!("cannot use the temporary directory: {error}")))
    }

    /// A connection to its daemon.
    pub(super) fn connect(&self) -> Result<Client, Error> {
        self.connector.running()?.ok_or_else(|| self.connector.absent())
    }

    /// Takes everything away and says so.
    pub(super) fn strike(mut self, app: &App) -> Result<(), Error> {
        self.stop();
        if let Some(directory) = self.directory.take() {
            let path = directory.path().to_path_buf();
            directory.close().map_err(|cause| Error::io("remove", &path, &cause))?;
        }
        if app.out.json {
            return Ok(());
        }
        app.out.print("The daemon has stopped, the clone is removed; nothing is left behind.\n")
    }

    fn root(&self) -> &Path {
        self.connector.paths.state.parent().unwrap_or(&self.connector.paths.state)
    }

    fn start(&mut self, root: &Path) -> Result<(), Error> {
        let program = start::program(&self.connector.env)?;
        let log = root.join("log");
        let errors = fs::File::create(&log).map_err(|cause| Error::io("make", &log, &cause))?;
        let before = clock::now();
        let mut command = Command::new(hidden::own_program());
        command.arg(hidden::TETHERED).arg(&program).env_clear().current_dir(root);
        command.env("HOME", root.join("home")).env("XDG_CONFIG_HOME", root.join("home"));
        command.env("HEDDLE_SOCKET", &self.connector.paths.socket).env("HEDDLE_STATE_DIR", &self.connector.paths.state);
        if let Some(path) = self.connector.env.os("PATH") {
            command.env("PATH", path);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        // A Ctrl-C is for us; the daemon goes when we say so.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let daemon = command.spawn().map_err(|cause| Error::io("start", &program, &cause))?;
        let daemon = self.daemon.insert(daemon);
        while self.connector.running()?.is_none() {
            let ended = daemon.try_wait().map_err(|cause| Error::io("watch", &program, &cause))?;
            if ended.is_some() || clock::now() - before > DEADLINE {
                let words = files::read_text(&log).unwrap_or_default();
                let error = Error::local(Exit::UNREACHABLE, format!("{} did not start", program.display()));
                return Err(words.lines().rev().take(5).fold(error, |error, line| error.fact(line)));
            }
            clock::pause(Duration::from_millis(1));
        }
        self.started = clock::now() - before;
        Ok(())
    }

    fn stop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else { return };
        // It is our child and not reaped yet, so this pid is its own. Its directory goes anyway: nothing need be flushed.
        if let Ok(pid) = i32::try_from(daemon.id()) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        daemon.wait().ok();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Clones the reader's repository, or makes one where there is none; says which it read.
fn clone(app: &App, root: &Path) -> Result<Option<PathBuf>, Error> {
    let repo = root.join("repo");
    let source = app.worktree();
    let cloned = source.as_ref().is_some_and(|source| {
        let mut clone = git(app, root);
        clone.args(["clone", "--quiet", "--shared", "--no-checkout", "--no-tags", "--single-branch", "--template="]);
        clone.arg("--").arg(source).arg(&repo);
        clone.status().is_ok_and(|status| status.success())
    });
    if !cloned {
        must(git(app, root).args(["init", "--quiet", "--template="]).arg(&repo))?;
    }
    let mut head = git(app, &repo);
    if !head.args(["rev-parse", "--quiet", "--verify", "HEAD^{commit}"]).status().is_ok_and(|status| status.success()) {
        must(git(app, &repo).args(["commit", "--quiet", "--allow-empty", "--message", "Begin"]))?;
    }
    Ok(source.filter(|_| cloned))
}

fn git(app: &App, directory: &Path) -> Command {
    let mut git = Command::new("git");
    for (name, _) in app.env().iter() {
        // What a hook's environment says of another repository is not about this one.
        if name.to_str().is_some_and(|name| name.starts_with("GIT_")) {
            git.env_remove(name);
        }
    }
    git.args(["-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false", "-c", "gc.auto=0"]);
    git.args(["-c", "user.name=heddle demo", "-c", "user.email=demo@localhost", "-c", "advice.detachedHead=false"]);
    git.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    git
}

fn must(git: &mut Command) -> Result<(), Error> {
    let status = git.status().map_err(|cause| Error::io("start", Path::new("git"), &cause))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::local(Exit::UNEXPECTED, format!("git could not make a repository for the demo: {status}")))
}
