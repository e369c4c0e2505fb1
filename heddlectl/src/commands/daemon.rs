//! `heddlectl daemon ...`: here those that start, stop and show it.

use std::time::Duration;

use clap::{Args, Subcommand};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto_schema::{Info, NoParams, ShutdownParams};

use super::{logs, rescue, status};
use crate::app::App;
use crate::client::{Answer, Client};
use crate::clock;
use crate::duration::duration_ms;
use crate::error::Error;
use crate::exit::Exit;
use crate::service;

/// The commands about the daemon.
#[derive(Subcommand, Debug)]
pub(crate) enum Daemon {
    /// Start the daemon if it is not running
    #[command(after_help = "Example:\n  heddlectl daemon start")]
    Start,
    /// Stop the daemon; sessions stay
    ///
    /// Sessions go on when the daemon starts again. A `heddlectl run` that is running starts it again within a second, unless
    /// HEDDLE_NO_AUTOSTART is set in its environment.
    #[command(after_help = "Example:\n  heddlectl daemon stop --drain 30s")]
    Stop(Stop),
    /// Make the daemon read its configuration again
    ///
    /// Most settings take effect at once; the log names those that need a restart. A file with an error changes nothing:
    /// check it with `heddled --check-config`.
    #[command(after_help = "Example:\n  heddled --check-config && heddlectl daemon reload")]
    Reload,
    /// Show the state of the daemon
    #[command(after_help = "Example:\n  heddlectl daemon status --json")]
    Status,
    /// Show the daemon's log
    #[command(after_help = "Example:\n  heddlectl daemon logs --follow")]
    Logs(logs::Logs),
    /// Copy the registry, as it is now, into one file
    ///
    /// The daemon can go on running: everything that it has acknowledged by now is in the backup. Only you can read the file,
    /// and it contains no reservation tokens. It is checked before it gets its name.
    #[command(after_help = "Example:\n  heddlectl daemon backup heddle.backup")]
    Backup(rescue::Backup),
    /// Check the registry, or a backup, and change nothing
    ///
    /// It reads every record and compares it with its checksum and with the other records. The daemon can go on running. Exit
    /// 0 if all is well, otherwise 74, with what is wrong and the command that helps.
    #[command(after_help = "Examples:\n  heddlectl daemon verify\n  heddlectl daemon verify heddle.backup")]
    Verify(rescue::Verify),
    /// Replace the registry with a backup; the old one is kept aside
    ///
    /// The daemon must be stopped. The old registry stays in a folder `before-restore-...` of the state directory. Fencing
    /// tokens continue above all that were granted since the backup. A session of the backup stays active only if the old
    /// registry says so too; all others end, because another agent may hold their thread by now.
    #[command(after_help = "Example:\n  heddlectl daemon stop && heddlectl daemon restore heddle.backup")]
    Restore(rescue::Restore),
}

/// Arguments of `daemon stop`.
#[derive(Args, Debug)]
pub(crate) struct Stop {
    /// How long calls under way get to finish: 10s, 1m
    #[arg(long, value_name = "TIME", value_parser = duration_ms)]
    drain: Option<u64>,
}

impl Daemon {
    /// Does it.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        match self {
            Self::Start => start(app),
            Self::Stop(stop) => stop.run(app),
            Self::Reload => reload(app),
            Self::Status => status::show(app),
            Self::Logs(logs) => logs.run(app),
            Self::Backup(backup) => backup.run(app),
            Self::Verify(verify) => verify.run(app),
            Self::Restore(restore) => restore.run(app),
        }
    }
}

fn start(app: &App) -> Result<Exit, Error> {
    let (mut client, how) = match app.connector.running()? {
        Some(client) => (client, "is running already"),
        None => (app.connector.start()?, "was started"),
    };
    let answer = app.call(&mut client, "daemon.info", &NoParams {})?;
    if app.out.json {
        app.out.print_json(&answer.0)?;
    } else if !app.out.quiet {
        let info: Info = answer.read()?;
        app.out.print(&format!("heddled {} {how}: pid {}, {}\n", info.version, info.pid, info.socket))?;
    }
    Ok(Exit::OK)
}

fn reload(app: &App) -> Result<Exit, Error> {
    let Some(client) = app.connector.running()? else { return Err(app.connector.not_running()) };
    // The pid that the kernel tells of the other end: what the daemon says of itself is of its own namespace.
    let pid = client.peer_pid().ok_or_else(|| {
        Error::local(Exit::UNEXPECTED, "the daemon cannot be signalled from here: it is in another pid namespace")
            .hint("run this where the daemon runs")
    })?;
    kill(Pid::from_raw(pid), Signal::SIGHUP)
        .map_err(|cause| Error::local(Exit::DENIED, format!("the daemon cannot be signalled: pid {pid}: {cause}")))?;
    if app.out.json {
        app.out.print_json("{}")?;
    } else if !app.out.quiet {
        app.out.print(&format!("heddled was told to read its configuration again: pid {pid}\n"))?;
        app.out.note("what became of it is in its log: heddlectl daemon logs");
    }
    Ok(Exit::OK)
}

impl Stop {
    fn run(&self, app: &App) -> Result<Exit, Error> {
        // To ask one to stop that is not there would start it.
        let running = if service::is_idle(&app.connector) { None } else { app.connector.running()? };
        let Some(mut client) = running else {
            if let Some(pid) = app.connector.recorded_pid().filter(|pid| is_heddled(*pid)) {
                let what = format!("no daemon can be reached, but pid {pid} seems to be one");
                return Err(Error::local(Exit::UNREACHABLE, what)
                    .hint("its socket may be gone; see what is wrong with it")
                    .command("heddlectl doctor"));
            }
            if app.out.json {
                app.out.print_json("{}")?;
            } else if !app.out.quiet {
                app.out.print("no daemon is running\n")?;
            }
            return Ok(Exit::OK);
        };
        let (info, answer) = end(app, &mut client, self.drain)?;
        if app.out.json {
            app.out.print_json(&answer.0)?;
        } else if !app.out.quiet {
            app.out.print(&format!("heddled {} was stopped: pid {}\n", info.version, info.pid))?;
            if service::serving(&app.connector).is_some_and(|service| service.listening) {
                app.out.note("its service starts it again with the next call; to keep it stopped: systemctl --user stop heddled.socket");
            }
            let active = match info.counts.active_sessions {
                0 => return Ok(Exit::OK),
                1 => "1 session is".to_owned(),
                many => format!("{many} sessions are"),
            };
            app.out.note(&format!("{active} active; a running `heddlectl run` starts the daemon again"));
        }
        Ok(Exit::OK)
    }
}

/// Whether the process that the lock file names is a daemon still, as far as the system tells.
fn is_heddled(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.starts_with("Name:\theddled\n") && !status.contains("\nState:\tZ")
}

/// Stops the daemon and waits until it has ended: until then it holds the lock. Gives what it was, and its answer.
pub(crate) fn end(app: &App, client: &mut Client, drain_ms: Option<u64>) -> Result<(Info, Answer), Error> {
    /// How often we look whether it has ended.
    const LOOK: Duration = Duration::from_millis(5);
    let info: Info = app.call(client, "daemon.info", &NoParams {})?.read()?;
    let answer = app.call(client, "daemon.shutdown", &ShutdownParams { drain_ms })?;
    let deadline = clock::now() + Duration::from_millis(drain_ms.unwrap_or(10_000)) + Duration::from_secs(10);
    let pid = Pid::from_raw(i32::try_from(info.pid).unwrap_or(i32::MAX));
    while kill(pid, None) != Err(Errno::ESRCH) {
        if clock::now() >= deadline {
            return Err(Error::local(Exit::UNEXPECTED, format!("the daemon has not ended: pid {}", info.pid))
                .hint("it agreed to stop; look at its log")
                .command("heddlectl daemon logs"));
        }
        clock::pause(LOOK);
    }
    Ok((info, answer))
}
