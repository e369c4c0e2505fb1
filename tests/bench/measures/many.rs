//! P8: the cost of a cycle, and of a list, while 10,000 sessions are active. The peer is the same daemon with 10.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::Bench;
use crate::contenders::calls::{Cycle, Grant, Repeat};
use crate::contenders::heddled::Heddled;
use crate::report::{Goal, Report, Row, Subject};
use crate::repository::Repository;
use crate::schedule::{self, Contender, Sample};

pub(super) const FEW: usize = 10;
pub(super) const MANY: usize = 10_000;
const CONNECTIONS: &[usize] = &[1, 16];

/// A daemon with sessions, and its repository.
pub(super) struct Place {
    pub(super) repository: Repository,
    pub(super) heddled: Heddled,
    /// Its sessions.
    pub(super) grants: Vec<Grant>,
}

impl Place {
    /// Both places have the same branches, so that only the sessions differ.
    pub(super) fn make(directory: &Path, branches: usize, sessions: usize) -> anyhow::Result<Self> {
        let repository = Repository::make(&directory.join("repo"))?;
        repository.branches(&[], "held/", branches)?;
        repository.branches(&[], "work/", 64)?;
        let heddled = Heddled::start(&directory.join("heddled"))?;
        let grants = heddled.reserve_all(&repository.path, "held/", sessions)?;
        Ok(Self { repository, heddled, grants })
    }

    /// Cycles on `count` connections for `window`; the figure is the time that one takes, in microseconds.
    pub(super) fn cycles(
        &self,
        window: Duration,
        count: usize,
    ) -> anyhow::Result<impl FnMut() -> anyhow::Result<Sample> + use<>> {
        let (mut driver, mut script) =
            (self.heddled.connect(count)?, Cycle::new(&self.repository.path, "work/", count));
        Ok(move || {
            let outcome = driver.run(&mut script, Some(window))?;
            #[expect(clippy::cast_precision_loss, reason = "a number of connections is small")]
            let figure = 1e6 * count as f64 / outcome.rate();
            Ok(Sample { figure, latencies: outcome.latencies })
        })
    }

    fn contender(&self, name: &str, bench: &Bench<'_>, count: usize) -> anyhow::Result<Contender<'static>> {
        let mut cycles = self.cycles(bench.options.slice(), count)?;
        Ok(Contender::new(name, move |_| cycles()))
    }
}

/// Runs the measure.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    if bench.options.peers_only {
        return Ok(());
    }
    let sessions = bench.options.amount(MANY);
    let few = Place::make(&bench.root.join("p8-few"), sessions, FEW)?;
    let many = Place::make(&bench.root.join("p8-many"), sessions, sessions)?;
    for count in bench.options.connections(CONNECTIONS) {
        let contenders = vec![many.contender("many", bench, count)?, few.contender("10 sessions", bench, count)?];
        let found = schedule::rotate(bench.options, contenders)?;
        report.noise += found.noise;
        let measure = format!("P8 cycle, {sessions} sessions");
        let about = Subject { measure: &measure, connections: Some(count), unit: "us" };
        report.compare(about, "many", &[("10 sessions", Some(Goal::RatioAtMost(1.2)))], &found);
    }
    list(bench, report, &many)
}

/// The time that a list of 100 takes.
fn list(bench: &Bench<'_>, report: &mut Report, many: &Place) -> anyhow::Result<()> {
    let window = Some(bench.options.slice());
    let mut driver = many.heddled.connect(1)?;
    let params = json!({"repo": many.repository.path, "limit": 100});
    let shown = many.heddled.call("agent.list", &params)?;
    let length = shown["reservations"].as_array().map_or(0, Vec::len);
    let mut script = Repeat::new("agent.list", &params);
    let contender = Contender::new("list", move |_| Ok(driver.run(&mut script, window)?.into()));
    let found = schedule::rotate(bench.options, vec![contender])?;
    report.noise += found.noise;
    let median = found.tracks[0].microseconds(50.0);
    let mut row = Row::alone(&format!("P8 list of {length}"), "ms", median / 1_000.0, Some(Goal::Under(1.0)));
    row.percentiles = Some((median, found.tracks[0].microseconds(99.0)));
    row.connections = Some(1);
    report.rows.push(row);
    Ok(())
}
