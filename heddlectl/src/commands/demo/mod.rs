//! `heddlectl demo`: two agents contend for a thread, the holder is killed, the other goes on.
//!
//! It shows the real daemon at work, but leaves nothing: a daemon of its own, in a throw-away clone of the repository.

mod stage;
mod work;

use std::time::Duration;

use clap::Args;
use nix::sys::signal::{SigSet, Signal};
use proto_schema::{
    ListParams, ListResult, ReleaseParams, ReleaseStatus, Reservation, ReservationToken, ReserveParams, ReserveResult,
    WorktreeRequest,
};
use serde_json::json;

use crate::app::App;
use crate::client::{CallError, Client};
use crate::clock;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::color::{FAINT, GOOD, STRONG};
use crate::output::{problem, sessions, text};
use crate::run::gate::Gated;
use stage::Stage;

/// The thread that they contend for.
const THREAD: &str = "heddle-demo";
/// How long the second agent may have to wait for the first one's end, before something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Example:
  heddlectl demo --repo ~/src/app

It changes nothing in the repository and leaves nothing behind.";

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub(crate) struct Demo {}

/// An agent of the demo: a process that waits.
struct Agent {
    process: Gated,
    name: &'static str,
    task: &'static str,
}

impl Agent {
    fn start(name: &'static str, task: &'static str) -> Result<Self, Error> {
        Ok(Self { process: Gated::spawn(&[name.into()])?, name, task })
    }

    fn reserve(&self, stage: &Stage, client: &mut Client) -> Result<(ReserveResult, Duration), CallError> {
        self.reserve_in(stage, client, None)
    }

    fn reserve_in(
        &self,
        stage: &Stage,
        client: &mut Client,
        worktree: Option<WorktreeRequest>,
    ) -> Result<(ReserveResult, Duration), CallError> {
        let mut params = ReserveParams::new(stage.repo().map_err(CallError::Failed)?, THREAD);
        params.harness = self.name.parse().ok();
        params.task = self.task.parse().ok();
        params.at_tip = Some(true);
        params.hold_for_pid = Some(self.process.pid());
        params.worktree = worktree;
        let before = clock::now();
        let answer = client.call("agent.reserve", &params);
        let took = clock::now() - before;
        Ok((answer?.read().map_err(CallError::Failed)?, took))
    }
}

impl Demo {
    /// Plays it.
    #[expect(clippy::unused_self, reason = "every command is called in the same way")]
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        // Ctrl-C comes into effect once everything is put away, a second later at most.
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        let blocked = signals.thread_block().is_ok();
        let played = Stage::set(app).and_then(|stage| play(app, &stage).and_then(|()| stage.strike(app)));
        if blocked {
            // Only now an interruption that came meanwhile ends us.
            signals.thread_unblock().ok();
        }
        played.map(|()| Exit::OK)
    }
}

fn play(app: &App, stage: &Stage) -> Result<(), Error> {
    let say = |text: &str| if app.out.json { Ok(()) } else { app.out.print(text) };
    say(&format!("{STRONG}Two agents, one thread{STRONG:#}\n\n{}\n", stage.description()))?;
    let mut client = stage.connect()?;
    let first = Agent::start("agent-a", "Add the login form")?;
    let second = Agent::start("agent-b", "Fix the login form")?;

    let (granted, took) = first.reserve(stage, &mut client)?;
    let (a, b) = (first.process.pid(), second.process.pid());
    say(&step(1, &format!("agent A (pid {a}) reserves {THREAD}"), &format!("granted in {}", ms(took))))?;

    let before = clock::now();
    let refusal = match second.reserve(stage, &mut client) {
        Ok(_) => return Err(Error::local(Exit::UNEXPECTED, "both agents were granted the thread: this is a defect")),
        Err(refusal) => Error::from(refusal),
    };
    let refused = clock::now() - before;
    let what = format!("agent B (pid {b}) asks for it too");
    say(&step(2, &what, &format!("refused in {}", ms(refused))))?;
    say(&indented(&problem::render(&refusal.report(), text::WRAP - 5)))?;

    let killed = clock::now();
    crate::run::signals::send(a, Signal::SIGKILL);
    let mut tries = 0;
    let next = loop {
        tries += 1;
        match second.reserve(stage, &mut client) {
            Ok((granted, _)) => break granted,
            Err(error) => {
                let error = Error::from(error);
                if error.kind() != Some(proto_schema::Kind::LiveOwner) || clock::now() - killed > PATIENCE {
                    return Err(error);
                }
            }
        }
        clock::pause(Duration::from_micros(100));
    };
    let waited = clock::now() - killed;
    let attempts = if tries == 1 { "1 try".to_owned() } else { format!("{tries} tries") };
    say(&step(3, &format!("kill -9 {a}; agent B tries again"), &format!("granted {} later, {attempts}", ms(waited))))?;

    let list = ListParams { repo: Some(stage.repo()?), ..ListParams::default() };
    let list: ListResult = client.call("agent.list", &list).map_err(Error::from)?.read()?;
    say(&format!("\n{FAINT}$ heddlectl list{FAINT:#}\n{}\n", sessions::list(&list.reservations, app.out.page())))?;
    release(&mut client, &next.reservation)?;
    check(&granted.reservation, &next.reservation, &list)?;
    let (one, two) = (granted.reservation.fencing_token, next.reservation.fencing_token);
    say(&format!("{GOOD}The thread never had two holders:{GOOD:#} fencing token {one}, then {two}.\n\n"))?;
    let work = work::play(&second, stage, &mut client, &say)?;
    first.process.close();
    second.process.close();
    if app.out.json {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let json = json!({
            "granted_us": us(took), "refused_us": us(refused), "kill_to_grant_us": us(waited), "tries": tries,
            "daemon_start_us": us(stage.started), "capture_us": work.as_ref().map(|work| us(work.capture)),
            "ready_us": work.as_ref().map(|work| us(work.ready)), "reservations": list.reservations,
        });
        app.out.print_json(&json.to_string())?;
    }
    Ok(())
}

/// The demo checks what it shows.
fn check(first: &Reservation, second: &Reservation, list: &ListResult) -> Result<(), Error> {
    let ended = list.reservations.iter().find(|one| one.session_id == first.session_id);
    let ended = ended.is_some_and(|one| one.end_reason == Some(proto_schema::EndReason::ProcessExited));
    if ended && second.fencing_token > first.fencing_token {
        return Ok(());
    }
    Err(Error::local(Exit::UNEXPECTED, "the list does not show what happened: this is a defect"))
}

fn token(reservation: &Reservation) -> Result<ReservationToken, Error> {
    reservation.reservation_token.clone().ok_or_else(|| Error::garbled("the reservation has no token"))
}

fn release(client: &mut Client, reservation: &Reservation) -> Result<(), Error> {
    let params = ReleaseParams {
        session_id: reservation.session_id.into(),
        reservation_token: token(reservation)?.into(),
        status: Some(ReleaseStatus::Complete),
    };
    client.call("agent.release", &params).map(|_| ()).map_err(Error::from)
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

fn step(number: u8, what: &str, outcome: &str) -> String {
    format!("{STRONG}{number}.{STRONG:#} {what:<42} {GOOD}{outcome}{GOOD:#}\n")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("     {line}\n")).collect()
}
