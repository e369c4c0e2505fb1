//! Waits for CMD, with everything that can happen meanwhile as one stream of events.

use std::io;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::release::Waiting;
use super::signals::{self, Arrived, Signals};
use super::watch::Lost;
use crate::clock;
use crate::error::Error;

/// How long CMD may take to end by itself after it was told to.
const GRACE: Duration = Duration::from_secs(10);

/// What can happen while CMD runs.
#[derive(Debug)]
enum Event {
    /// CMD has ended, and has not been reaped; what came of giving its session back.
    Exited(Result<(), Error>),
    /// A signal came for it.
    Signal(Arrived),
    /// Its reservation is lost.
    Lost(Lost),
}

/// How CMD ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its status.
    pub(crate) status: ExitStatus,
    /// Why it was stopped by us, if it was.
    pub(crate) lost: Option<Lost>,
    /// What came of giving its session back; none where that was given up.
    pub(crate) released: Option<Result<(), Error>>,
}

/// Waits for `child`. `release` is called on the very thread that sees its end, with whether it succeeded, and gives the
/// session back. Until then the child is not reaped: the daemon sees its end too, and by that it knows that it is to be told
/// how it was. `watch` runs beside it until its receiver is told to stop or it finds the reservation lost.
pub(crate) fn supervise(
    mut child: Child,
    mut signals: Signals,
    release: impl FnOnce(bool, &Waiting) -> Result<(), Error> + Send + 'static,
    watch: impl FnOnce(&mpsc::Receiver<()>) -> Option<Lost> + Send + 'static,
    on_lost: impl Fn(Lost),
) -> io::Result<Ended> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let (events, inbox) = mpsc::channel();
    let (stop, stopped) = mpsc::channel();
    let sender = events.clone();
    // These threads end with the process: one waits for signals, one for CMD.
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while let Ok(arrived) = signals.next() {
            if sender.send(Event::Signal(arrived)).is_err() {
                return;
            }
        }
    })?;
    let (sender, waiting) = (events.clone(), Arc::new(Waiting::default()));
    let waits = Arc::clone(&waiting);
    thread::Builder::new().name("exit".to_owned()).spawn(move || {
        let succeeded = wait_unreaped(pid);
        sender.send(Event::Exited(release(succeeded, &waits))).ok();
    })?;
    thread::Builder::new().name("watch".to_owned()).spawn(move || {
        if let Some(lost) = watch(&stopped) {
            events.send(Event::Lost(lost)).ok();
        }
    })?;
    let mut lost = None;
    let mut deadline: Option<Instant> = None;
    let released = loop {
        let event = match deadline {
            None => inbox.recv().map_err(io::Error::other)?,
            Some(deadline) => match inbox.recv_timeout(deadline.saturating_duration_since(clock::now())) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => {
                    signals::send(pid, Signal::SIGKILL);
                    inbox.recv().map_err(io::Error::other)?
                }
                Err(RecvTimeoutError::Disconnected) => break None,
            },
        };
        match event {
            Event::Exited(released) => break Some(released),
            // Whoever does not want to wait for the daemon.
            Event::Signal(_) if waiting.has_begun() => break None,
            Event::Signal(arrived) => signals::pass_on(arrived, pid),
            Event::Lost(why) => {
                waiting.end();
                on_lost(why);
                lost = Some(why);
                signals::send(pid, Signal::SIGTERM);
                // One that is stopped (Ctrl-Z) would not notice.
                signals::send(pid, Signal::SIGCONT);
                deadline = Some(clock::now() + GRACE);
            }
        }
    };
    stop.send(()).ok();
    // Reaped only here, so that its pid was its own as long as signals could be sent to it.
    Ok(Ended { status: child.wait()?, lost, released })
}

/// Waits until the process has ended, and leaves it to be reaped; says whether it succeeded.
fn wait_unreaped(pid: i32) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return false };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(pid), options) {
            Ok(status) => return status.is_some_and(|status| status.exit_status() == Some(0)),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
