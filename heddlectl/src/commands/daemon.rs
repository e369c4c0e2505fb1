//! `heddlectl daemon ...`: here those that start, stop and show it.

use std::time::Duration;

use clap::{Args, Subcommand};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto_schema::{Info, Kind, NoParams, ShutdownParams};

use super::{logs, rescue, status};
use crate::app::App;
use crate::client::lock_holder::{LockHolder, process_state};
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
    /// Whether the command only reads.
    pub(crate) fn only_reads(&self) -> bool {
        match self {
            Self::Status | Self::Logs(_) => true,
            Self::Start | Self::Stop(_) | Self::Reload | Self::Backup(_) | Self::Verify(_) | Self::Restore(_) => false,
        }
    }

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

/// How long a daemon that is asked to stop may take to answer, before it is signalled instead.
const ASK_TO_STOP: Duration = Duration::from_millis(2_500);

/// How long a daemon may take to close its store, beside what it may take for the calls under way.
const CLOSE: Duration = Duration::from_secs(10);

/// How long the calls under way may take, unless the caller says otherwise: that of the daemon.
const DRAIN_MS: u64 = 10_000;

/// How often it is checked whether a process has ended.
const LOOK: Duration = Duration::from_millis(5);

/// For how many of these checks a process that has ended may wait for its parent to reap it.
const ZOMBIE_LOOKS: u32 = 400;

impl Stop {
    fn run(&self, app: &App) -> Result<Exit, Error> {
        // A connection to its service's socket would start a daemon only to stop it.
        let running = if service::is_idle(&app.connector) { Ok(None) } else { app.connector.running() };
        let asked = match running {
            Ok(Some(mut client)) => end(app, &mut client, self.drain).map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match (asked, app.connector.lock_holder()) {
            (Ok(Some((info, answer))), _) => self.report(app, &info, &answer),
            // It cannot be asked: its socket is gone, it does not answer, or it takes no more connections.
            (Ok(None), Some(holder)) => self.signal(app, holder),
            (Err(error), Some(holder)) if is_unanswered(&error) => self.signal(app, holder),
            (Err(error), _) => Err(error),
            (Ok(None), None) => {
                if app.out.json {
                    app.out.print_json("{}")?;
                } else if !app.out.quiet {
                    app.out.print("no daemon is running\n")?;
                }
                Ok(Exit::OK)
            }
        }
    }

    fn report(&self, app: &App, info: &Info, answer: &Answer) -> Result<Exit, Error> {
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

    /// Stops a daemon that cannot be asked to: the process that holds the lock gets SIGTERM, and has the usual time to end.
    fn signal(&self, app: &App, holder: LockHolder) -> Result<Exit, Error> {
        let pid = holder.pid;
        if holder.is_suspended() {
            let error = Error::local(Exit::UNREACHABLE, format!("the daemon cannot be stopped: pid {pid}"));
            return Err(holder.tell_suspended(error).command("heddlectl daemon stop"));
        }
        let lock = app.connector.paths.lock();
        let sent = holder.terminate(&lock).map_err(|cause| {
            Error::local(Exit::DENIED, format!("the daemon cannot be signalled: pid {pid}: {cause}"))
        })?;
        if sent && !app.out.json {
            app.out.note(&format!("heddlectl: the daemon cannot be asked to stop; sent SIGTERM to pid {pid}"));
        }
        let deadline = clock::now() + Duration::from_millis(self.drain.unwrap_or(DRAIN_MS)) + CLOSE;
        while app.connector.lock_holder() == Some(holder) {
            if clock::now() >= deadline {
                return Err(Error::local(Exit::UNREACHABLE, format!("the daemon has not ended: pid {pid}"))
                    .fact("it got SIGTERM, and does not end")
                    .hint("end it by force: what it has acknowledged is on the disk, and the next start reads it")
                    .command(format!("kill -KILL {pid}"))
                    .command("heddlectl daemon logs"));
            }
            clock::pause(LOOK);
        }
        if app.out.json {
            app.out.print_json("{}")?;
        } else if !app.out.quiet {
            app.out.print(&format!("heddled was stopped: pid {pid}\n"))?;
        }
        Ok(Exit::OK)
    }
}

/// Whether the daemon has not decided about the call: it did not answer, or let no more connections in.
fn is_unanswered(error: &Error) -> bool {
    error.exit() == Exit::UNREACHABLE || error.kind() == Some(Kind::LimitExceeded)
}

/// Stops the daemon and waits until it has ended: until then it holds the lock. Returns what it was, and its answer.
pub(crate) fn end(app: &App, client: &mut Client, drain_ms: Option<u64>) -> Result<(Info, Answer), Error> {
    let info: Info = client.call_within("daemon.info", &NoParams {}, ASK_TO_STOP)?.read()?;
    app.tell_skew(client);
    let answer = client.call_within("daemon.shutdown", &ShutdownParams { drain_ms }, ASK_TO_STOP)?;
    let deadline = clock::now() + Duration::from_millis(drain_ms.unwrap_or(DRAIN_MS)) + CLOSE;
    let pid = i32::try_from(info.pid).unwrap_or(i32::MAX);
    let mut zombie_looks = 0;
    while kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH) {
        // A zombie has ended. Its parent is given a moment to reap it, and may be one that never does.
        zombie_looks += u32::from(process_state(pid) == Some('Z'));
        if zombie_looks > ZOMBIE_LOOKS {
            break;
        }
        if clock::now() >= deadline {
            return Err(Error::local(Exit::UNEXPECTED, format!("the daemon has not ended: pid {}", info.pid))
                .hint("it agreed to stop; look at its log")
                .command("heddlectl daemon logs"));
        }
        clock::pause(LOOK);
    }
    Ok((info, answer))
}
