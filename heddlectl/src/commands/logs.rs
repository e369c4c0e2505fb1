//! `heddlectl daemon logs`: what the daemon said, from the files that it writes when it was started in the background.
//!
//! There is one file that grows, and a few that were moved aside before it became long: `heddled.log`, `heddled.log.1` and so
//! on, the first the newest.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::app::App;
use crate::clock;
use crate::error::Error;
use crate::exit::Exit;
use crate::files;
use crate::output::text;

/// More files than the daemon keeps.
const FILES: u32 = 9;

/// How often we look for more.
const LOOK: Duration = Duration::from_millis(100);

/// Arguments of `daemon logs`.
#[derive(Args, Debug)]
pub(crate) struct Logs {
    /// Show this many of the newest lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    lines: usize,
    /// Go on with new lines as they come
    #[arg(long, short)]
    follow: bool,
}

impl Logs {
    /// Shows them.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        if self.follow && app.out.json {
            return Err(Error::usage("--follow shows lines as they come, --json one object").hint("use one of them"));
        }
        let path = app.connector.paths.log();
        if let Some(elsewhere) = elsewhere(app, &path)? {
            return Err(elsewhere);
        }
        // Opened before what is in the others is read: what is moved aside meanwhile is still read here.
        let mut current =
            files::open(&path).map(BufReader::new).map_err(|cause| Error::io("read the log", &path, &cause))?;
        let mut newest = VecDeque::new();
        for number in (1..=FILES).rev() {
            if let Ok(file) = files::open(&numbered(&path, number)) {
                self.keep(&mut newest, &mut BufReader::new(file), &path)?;
            }
        }
        self.keep(&mut newest, &mut current, &path)?;
        if app.out.json {
            let object = json!({"path": path.display().to_string(), "lines": newest});
            app.out.print_json(&object.to_string())?;
            return Ok(Exit::OK);
        }
        for line in &newest {
            app.out.print(&format!("{}\n", text::clean(line)))?;
        }
        if self.follow { follow(app, &path, current) } else { Ok(Exit::OK) }
    }

    /// Reads to the end, and keeps the newest lines.
    fn keep(&self, newest: &mut VecDeque<String>, file: &mut impl BufRead, path: &Path) -> Result<(), Error> {
        while let Some(line) = next_line(file, path)? {
            newest.push_back(line);
            if newest.len() > self.lines {
                newest.pop_front();
            }
        }
        Ok(())
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

/// The next line; what is not UTF-8 is shown as far as it is.
fn next_line(file: &mut impl BufRead, path: &Path) -> Result<Option<String>, Error> {
    let mut line = Vec::new();
    match file.read_until(b'\n', &mut line).map_err(|cause| Error::io("read the log", path, &cause))? {
        0 => Ok(None),
        _ => Ok(Some(String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned())),
    }
}

/// Shows lines as they come, until nobody reads them.
fn follow(app: &App, path: &Path, mut file: BufReader<File>) -> Result<Exit, Error> {
    loop {
        // It was moved aside once another is there; from then on nothing is added to it, and it is read to its end first.
        let is_over = match (file.get_ref().metadata(), fs::metadata(path)) {
            (Ok(open), Ok(named)) => (open.dev(), open.ino()) != (named.dev(), named.ino()),
            _ => false,
        };
        while let Some(line) = next_line(&mut file, path)? {
            app.out.print(&format!("{}\n", text::clean(&line)))?;
        }
        app.out.check()?;
        match files::open(path) {
            Ok(next) if is_over => file = BufReader::new(next),
            _ => clock::pause(LOOK),
        }
    }
}

/// The error that says where the log is, if it is not in these files.
fn elsewhere(app: &App, path: &Path) -> Result<Option<Error>, Error> {
    let running = app.connector.running()?.and_then(|client| client.peer_pid());
    let stderr = running.and_then(|pid| fs::read_link(format!("/proc/{pid}/fd/2")).ok());
    let said = |where_to: String| {
        Error::local(Exit::IO, format!("the daemon's log is not in {}", path.display())).fact(where_to)
    };
    Ok(match stderr {
        // Its service manager reads what it says.
        Some(target) if target.to_string_lossy().starts_with("socket:") => Some(
            said("the daemon was started by a service manager, which keeps it".to_owned())
                .command("journalctl --user -u heddled"),
        ),
        Some(target) if target != path => {
            let target = target.display().to_string();
            let error = said(format!("its standard error is {target}"));
            Some(if Path::new(&target).is_file() { error.command(shell_words::join(["tail", &target])) } else { error })
        }
        Some(_) => None,
        None if path.exists() => None,
        None => Some(
            said("there is no such file: no daemon was started in the background here".to_owned())
                .hint("a daemon that was started as a service says what it has to say there")
                .command("journalctl --user -u heddled"),
        ),
    })
}
