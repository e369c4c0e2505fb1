//! What is done to install or remove the service, step by step: the same list is printed and carried out.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::manager;
use crate::app::App;
use crate::commands::daemon;
use crate::error::Error;
use crate::exit::Exit;

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make a directory that is the user's alone.
    Directory(PathBuf),
    /// Write a file, or replace it.
    Write(PathBuf, String),
    /// Remove a file.
    Remove(PathBuf),
    /// Run a program of the service manager.
    Run(Vec<String>),
    /// Run one whose failure stops nothing.
    Try(Vec<String>),
    /// Stop the daemon that runs beside the service, in order: sessions stay.
    Stop(u32),
}

impl Step {
    /// A program of the service manager.
    pub(super) fn run(words: &[&str]) -> Self {
        Self::Run(words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// What it does, for people.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Directory(path) => format!("make {}", path.display()),
            Self::Write(path, _) => format!("write {}", path.display()),
            Self::Remove(path) => format!("remove {}", path.display()),
            Self::Run(words) | Self::Try(words) => shell_words::join(words),
            Self::Stop(pid) => format!("stop the daemon that runs by itself (pid {pid}); sessions stay"),
        }
    }

    /// What it does, for programs.
    pub(crate) fn object(&self) -> Value {
        match self {
            Self::Directory(path) => json!({"action": "make_directory", "path": path}),
            Self::Write(path, content) => json!({"action": "write", "path": path, "content": content}),
            Self::Remove(path) => json!({"action": "remove", "path": path}),
            Self::Run(words) | Self::Try(words) => json!({"action": "run", "command": words}),
            Self::Stop(pid) => json!({"action": "stop_daemon", "pid": pid}),
        }
    }

    fn carry_out(&self, app: &App) -> Result<(), Error> {
        match self {
            Self::Directory(path) => {
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
                made.map_err(|cause| Error::io("make", path, &cause))
            }
            Self::Write(path, content) => write(path, content).map_err(|cause| Error::io("write", path, &cause)),
            Self::Remove(path) => match fs::remove_file(path) {
                Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, &cause)),
                Ok(()) | Err(_) => Ok(()),
            },
            Self::Run(words) => run(app, words),
            Self::Try(words) => {
                // It is told by nobody: that is what makes it a try.
                run(app, words).ok();
                Ok(())
            }
            Self::Stop(pid) => stop(app, *pid),
        }
    }
}

/// Does one after the other; the first that fails ends it, and says what has been done.
pub(crate) fn carry_out(app: &App, steps: &[Step]) -> Result<(), Error> {
    for (done, step) in steps.iter().enumerate() {
        step.carry_out(app).map_err(|error| match done {
            0 => error.fact("nothing was changed"),
            _ => steps[..done].iter().fold(error, |error, step| error.fact(format!("done before: {}", step.text()))),
        })?;
    }
    Ok(())
}

fn run(app: &App, words: &[String]) -> Result<(), Error> {
    let said = manager::run(&app.connector, &words.iter().map(String::as_str).collect::<Vec<_>>());
    if said.ok {
        return Ok(());
    }
    let error = Error::local(Exit::UNEXPECTED, format!("this failed: {}", shell_words::join(words)));
    let error = said.err.lines().filter(|line| !line.trim().is_empty()).fold(error, Error::fact);
    Err(error.command("heddlectl service status"))
}

/// The whole file or none: under another name first.
fn write(path: &Path, content: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let new = folder.join(name);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(&new)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn stop(app: &App, pid: u32) -> Result<(), Error> {
    let Some(mut client) = app.connector.running()? else { return Ok(()) };
    let ended = daemon::end(app, &mut client, None)?;
    if ended.0.pid == pid {
        return Ok(());
    }
    Err(Error::local(Exit::REFUSED, format!("the daemon with pid {pid} cannot be reached, and holds the registry"))
        .fact("its socket was replaced by another's")
        .command(format!("kill {pid}")))
}
