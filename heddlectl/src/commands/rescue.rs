//! `heddlectl daemon backup|verify|restore`: run by the daemon's own program, which knows how its state is stored.
//!
//! They are not calls: a backup must be possible of a state that no daemon can open, and a restore while none runs. What the
//! program says, in either form, is what is printed, and its exit code is ours.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;

use crate::app::App;
use crate::client::start;
use crate::error::Error;
use crate::exit::Exit;

/// Arguments of `daemon backup`.
#[derive(Args, Debug)]
pub(crate) struct Backup {
    /// The file to create
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

/// Arguments of `daemon verify`.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// A backup file or a state directory [default: the state directory of your daemon]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
}

/// Arguments of `daemon restore`.
#[derive(Args, Debug)]
pub(crate) struct Restore {
    /// The backup to restore
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace a different registry, or one with active sessions that the backup does not have
    #[arg(long)]
    force: bool,
}

impl Backup {
    /// Does it.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        run(app, "backup", self.force, Some(&self.file))
    }
}

impl Verify {
    /// Does it.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        run(app, "verify", false, self.path.as_ref())
    }
}

impl Restore {
    /// Does it.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        run(app, "restore", self.force, Some(&self.file))
    }
}

fn run(app: &App, command: &str, force: bool, path: Option<&PathBuf>) -> Result<Exit, Error> {
    let program = start::program(app.env())?;
    let mut words: Vec<OsString> = vec![command.into()];
    words.extend(force.then(|| "--force".into()));
    words.extend(app.out.json.then(|| "--json".into()));
    // A name that begins with a hyphen is a name.
    words.extend(path.into_iter().flat_map(|path| ["--".into(), path.clone().into_os_string()]));
    let is_silent = app.out.quiet && !app.out.json;
    let ended = Command::new(&program)
        .args(words)
        .env_clear()
        .envs(start::environment(&app.connector))
        .stdin(Stdio::null())
        .stdout(if is_silent { Stdio::null() } else { Stdio::inherit() })
        .status()
        .map_err(|cause| Error::io("start", &program, &cause))?;
    match ended.code().map(u8::try_from) {
        Some(Ok(code)) => Ok(Exit(code)),
        _ => Err(Error::local(Exit::UNEXPECTED, format!("{} was killed: {ended}", program.display()))),
    }
}
