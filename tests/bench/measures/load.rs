//! P2, P8 and P9 in a crowd: 10,000 active sessions, 3,800 connections that send 1,000 heartbeats a second together, 200
//! subscribers that are told of 50 changes a second, and one daemon for all of them.
//!
//! The peers are the same daemon while its crowd only listens (`at rest`), one with 10 sessions and no crowd (`alone`), and those
//! of P2. The crowd is busy only while it is measured beside: it would make the machine a busy one for the others.

use std::cell::RefCell;
use std::os::unix::net::UnixStream;

use anyhow::ensure;
use serde_json::json;

use super::Bench;
use super::many::{FEW, MANY, Place};
use super::start::{idle_percent, resident_megabytes};
use crate::contenders::calls::{Grant, Heartbeat, Repeat};
use crate::contenders::echo::{Echo, EchoScript};
use crate::contenders::heddled::Heddled;
use crate::contenders::redis::{Fsync, Redis};
use crate::crowd::{CHANGES, Crowd, Done, HEARTBEATS};
use crate::report::{Goal, Report, Row, Subject};
use crate::schedule::{self, Contender, Sample};
use crate::{clock, table};

const CONNECTIONS: usize = 4_000;
const SUBSCRIBERS: usize = 200;
/// The numbers of connections that are measured beside the crowd.
const MEASURED: &[usize] = &[1, 16, 64];

/// Runs the measure.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    if bench.options.peers_only {
        return Ok(());
    }
    let directory = bench.root.join("load");
    let sessions = bench.options.amount(MANY).max(64);
    let alone = Place::make(&directory.join("alone"), sessions, FEW)?;
    let many = Place::make(&directory.join("many"), sessions, sessions)?;
    let crowd = RefCell::new(gather(bench, report, &alone, &many)?);
    heartbeats(bench, report, &crowd, &alone, &many)?;
    cycles(bench, report, &crowd, &alone, &many)?;
    list(bench, report, &crowd, &many)?;
    deaf(bench, report, &crowd, &many)?;
    let resident = resident_megabytes(many.heddled.pid())?;
    report.rows.push(Row::alone("load: memory after all", "MB", resident, None));
    drop(crowd);
    alone.heddled.stop()?;
    many.heddled.stop()
}

/// Opens the connections, and says what each costs.
fn gather(bench: &Bench<'_>, report: &mut Report, alone: &Place, many: &Place) -> anyhow::Result<Crowd> {
    let heddled = &many.heddled;
    let subscribers = bench.options.amount(SUBSCRIBERS);
    let beating = (bench.options.amount(CONNECTIONS) - subscribers).min(many.grants.len());
    let mut row = |what: &str, unit, figure, goal| report.rows.push(Row::alone(what, unit, figure, goal));
    let each = |after: f64, before: f64, count: usize| {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        (after - before) * 1_024.0 / f64::from(count)
    };
    let empty = resident_megabytes(alone.heddled.pid())?;
    let seeded = resident_megabytes(heddled.pid())?;
    row("load: memory of a session", "KiB", each(seeded, empty, many.grants.len()), None);
    let connections = Crowd::connect(heddled, &many.grants, beating)?;
    let connected = resident_megabytes(heddled.pid())?;
    row("load: memory of a connection", "KiB", each(connected, seeded, beating), None);
    let listening = Crowd::subscribe(heddled, subscribers, None)?;
    let subscribed = resident_megabytes(heddled.pid())?;
    row("load: memory of a subscriber", "KiB", each(subscribed, connected, subscribers), None);
    row("load: P9 memory", "MB", subscribed, Some(Goal::Under(100.0)));
    let idle = idle_percent(heddled, bench.options.amount(10_000))?;
    row("load: P9 idle CPU of a core", "%", idle, Some(Goal::Under(0.5)));
    let changes = (&*many.repository.path, "events/");
    let crowd = Crowd::gather(heddled, &many.grants, connections, listening, changes)?;
    report.note(&format!(
        "load: {} sessions, {beating} connections with {HEARTBEATS} heartbeats a second, {subscribers} subscribers with \
         {CHANGES} events a second.",
        many.grants.len()
    ));
    Ok(crowd)
}

/// P2 beside the crowd.
fn heartbeats(
    bench: &Bench<'_>,
    report: &mut Report,
    crowd: &RefCell<Crowd>,
    alone: &Place,
    many: &Place,
) -> anyhow::Result<()> {
    let directory = bench.root.join("load");
    let echo = Echo::start(&directory.join("echo"))?;
    let redis = Redis::start(&directory.join("redis"), Fsync::EverySecond, report)?;
    for count in bench.options.connections(MEASURED) {
        let window = Some(bench.options.slice());
        // Those of the crowd are the first.
        let last = many.grants.len() - count;
        let few = alone.heddled.reserve_all(&alone.repository.path, &format!("beat/{count}/"), count)?;
        // The same connections for both: with the crowd there are almost as many as there may be.
        let beating = RefCell::new(beats(bench, &many.heddled, &many.grants[last..])?);
        let mut few = beats(bench, &alone.heddled, &few)?;
        let mut told = Told::default();
        let mut contenders = vec![
            Contender::new("in the crowd", |_| told.take(crowd.borrow_mut().beside(&mut *beating.borrow_mut())?)),
            Contender::new("at rest", |_| crowd.borrow_mut().around(&mut *beating.borrow_mut())),
            Contender::new("alone", move |_| few()),
        ];
        if let Some(redis) = &redis {
            let (mut driver, mut script) = (redis.connect(count)?, redis.heartbeat(count)?);
            contenders.push(Contender::new("redis everysec", move |_| Ok(driver.run(&mut script, window)?.into())));
        }
        let (mut driver, mut script) = (echo.connect(count)?, EchoScript::new());
        contenders.push(Contender::new("echo", move |_| Ok(driver.run(&mut script, window)?.into())));
        let found = schedule::rotate(bench.options, contenders)?;
        report.noise += found.noise;
        let about = Subject { measure: "load: P2 heartbeat", connections: Some(count), unit: "/s" };
        let goals = [
            ("at rest", None),
            ("alone", None),
            ("redis everysec", Some(Goal::RatioAtLeast(1.5))),
            ("echo", Some(Goal::RatioAtLeast(0.6))),
        ];
        report.compare(about, "in the crowd", &goals, &found);
        told.say(report, &format!("{count} connections that send heartbeats"));
    }
    Ok(())
}

/// The cycles of P8 beside the crowd.
fn cycles(
    bench: &Bench<'_>,
    report: &mut Report,
    crowd: &RefCell<Crowd>,
    alone: &Place,
    many: &Place,
) -> anyhow::Result<()> {
    let window = bench.options.slice();
    for count in bench.options.connections(MEASURED) {
        let cycling = RefCell::new(many.cycles(window, count)?);
        let mut few = alone.cycles(window, count)?;
        let mut told = Told::default();
        let contenders = vec![
            Contender::new("in the crowd", |_| told.take(crowd.borrow_mut().beside(&mut *cycling.borrow_mut())?)),
            Contender::new("at rest", |_| crowd.borrow_mut().around(&mut *cycling.borrow_mut())),
            Contender::new("alone", move |_| few()),
        ];
        let found = schedule::rotate(bench.options, contenders)?;
        report.noise += found.noise;
        let about = Subject { measure: "load: P8 cycle", connections: Some(count), unit: "us" };
        let goals = [("at rest", None), ("alone", Some(Goal::RatioAtMost(1.2)))];
        report.compare(about, "in the crowd", &goals, &found);
        told.say(report, &format!("{count} connections that reserve and release"));
    }
    Ok(())
}

/// The list of P8 beside the crowd.
fn list(bench: &Bench<'_>, report: &mut Report, crowd: &RefCell<Crowd>, many: &Place) -> anyhow::Result<()> {
    let window = Some(bench.options.slice());
    let mut driver = many.heddled.connect(1)?;
    let mut script = Repeat::new("agent.list", &json!({"repo": many.repository.path, "limit": 100}));
    let mut told = Told::default();
    let contender = Contender::new("in the crowd", |_| {
        told.take(crowd.borrow_mut().beside(|| Ok(driver.run(&mut script, window)?.into()))?)
    });
    let found = schedule::rotate(bench.options, vec![contender])?;
    report.noise += found.noise;
    let track = &found.tracks[0];
    let median = track.microseconds(50.0);
    let mut row = Row::alone("load: P8 list of 100", "ms", median / 1_000.0, Some(Goal::Under(1.0)));
    row.percentiles = Some((median, track.microseconds(99.0)));
    row.connections = Some(1);
    report.rows.push(row);
    Ok(())
}

/// The crowd's own heartbeats, with a subscriber that never reads and without.
fn deaf(bench: &Bench<'_>, report: &mut Report, crowd: &RefCell<Crowd>, many: &Place) -> anyhow::Result<()> {
    let window = bench.options.slice();
    let slice = |deaf: usize| -> anyhow::Result<Sample> {
        // From the beginning of the log: what it is sent fills its socket at once.
        let deaf: Vec<UnixStream> = Crowd::subscribe(&many.heddled, deaf, Some(0))?;
        let ((), done) = crowd.borrow_mut().beside(|| {
            clock::pause(window);
            Ok(())
        })?;
        drop(deaf);
        #[expect(clippy::cast_precision_loss, reason = "a time in nanoseconds is far below 2^53")]
        let figure = done.latencies.value_at_percentile(99.0) as f64 / 1_000.0;
        Ok(Sample { figure, latencies: done.latencies })
    };
    let contenders = vec![
        Contender::new("one does not read", |_| slice(1)),
        Contender::new("all read", |_| slice(0)),
        Contender::new("20 do not read", |_| slice(20)),
    ];
    let found = schedule::rotate(bench.options, contenders)?;
    report.noise += found.noise;
    let about = Subject { measure: "load: heartbeat p99", connections: None, unit: "us" };
    report.compare(about, "one does not read", &[("all read", Some(Goal::RatioAtMost(1.2)))], &found);
    report.compare(about, "20 do not read", &[("all read", None)], &found);
    Ok(())
}

/// Heartbeats of those sessions, a connection each, for a slice.
fn beats(
    bench: &Bench<'_>,
    heddled: &Heddled,
    grants: &[Grant],
) -> anyhow::Result<impl FnMut() -> anyhow::Result<Sample> + use<>> {
    let (mut driver, mut script) = (heddled.connect(grants.len())?, Heartbeat::new(grants));
    let window = Some(bench.options.slice());
    Ok(move || Ok(driver.run(&mut script, window)?.into()))
}

/// What the crowd did beside the slices of a comparison.
#[derive(Default)]
struct Told {
    kept: Vec<f64>,
    p99: Vec<f64>,
    lagged: u64,
}

impl Told {
    /// Notes it, and fails where somebody was not told of a change.
    fn take(&mut self, (sample, done): (Sample, Done)) -> anyhow::Result<Sample> {
        ensure!(done.events > 0 || done.changes == 0, "no subscriber was told of {} changes", done.changes);
        self.kept.push(done.kept);
        self.lagged += done.lagged;
        #[expect(clippy::cast_precision_loss, reason = "a time in nanoseconds is far below 2^53")]
        self.p99.push(done.latencies.value_at_percentile(99.0) as f64 / 1e6);
        Ok(sample)
    }

    fn say(self, report: &mut Report, beside: &str) {
        let (kept, p99) = (100.0 * schedule::median(self.kept), schedule::median(self.p99));
        let lagged = self.lagged;
        let text = format!(
            "load: beside {beside} the crowd kept {kept:.0} % of its pace, its heartbeats' p99 was {p99:.2} ms, and its \
             subscribers were too far behind {lagged} times."
        );
        table::progress(&text);
        report.note(&text);
    }
}
