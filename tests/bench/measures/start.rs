//! P9: what a large registry costs at the start, in memory, and when nobody asks anything.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::Bench;
use crate::contenders::calls::Cycle;
use crate::contenders::heddled::Heddled;
use crate::report::{Goal, Report, Row};
use crate::repository::Repository;
use crate::schedule::{self, Contender, Sample};
use crate::{clock, driver, quiet};

const SESSIONS: usize = 10_000;
const OPERATIONS: usize = 100_000;
const IDLE_CONNECTIONS: usize = 1_000;
const WORKERS: usize = 64;
/// Ticks of the kernel's accounting in a second, on every Linux that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Runs the measure.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    if bench.options.peers_only {
        return Ok(());
    }
    let directory = bench.root.join("p9");
    let (sessions, operations) = (bench.options.amount(SESSIONS), bench.options.amount(OPERATIONS));
    seed(&directory, sessions, operations)?;
    let state = directory.join("heddled");
    let contender = Contender::new("start", |_| {
        let began = clock::now();
        let heddled = Heddled::start(&state)?;
        let span = began.elapsed();
        heddled.stop()?;
        let mut latencies = driver::latencies()?;
        latencies.record(driver::nanoseconds(span))?;
        Ok(Sample { figure: schedule::milliseconds(span), latencies })
    });
    let found = schedule::rotate(bench.options, vec![contender])?;
    report.noise += found.noise;
    let what = format!("{sessions} sessions, {operations} operations");
    let start = found.tracks[0].median();
    report.rows.push(Row::alone(&format!("P9 start, {what}"), "ms", start, Some(Goal::Under(300.0))));

    let heddled = Heddled::start(&state)?;
    report.note(&format!("P9: daemon.info after the start: {}", heddled.call("daemon.info", &json!({}))?["counts"]));
    let resident = resident_megabytes(heddled.pid())?;
    report.rows.push(Row::alone(&format!("P9 memory, {what}"), "MB", resident, Some(Goal::Under(100.0))));
    let connections = heddled.connect(IDLE_CONNECTIONS)?;
    let idle = idle_percent(&heddled, bench.options.amount(10_000))?;
    drop(connections);
    let mut row = Row::alone("P9 idle CPU of a core", "%", idle, Some(Goal::Under(0.5)));
    row.connections = Some(IDLE_CONNECTIONS);
    report.rows.push(row);
    heddled.stop()
}

/// Fills a state directory: active sessions, and cycles for the rest of the operations.
fn seed(directory: &Path, sessions: usize, operations: usize) -> anyhow::Result<()> {
    let repository = Repository::make(&directory.join("repo"))?;
    repository.branches(&[], "held/", sessions)?;
    repository.branches(&[], "work/", WORKERS)?;
    let heddled = Heddled::start(&directory.join("heddled"))?;
    heddled.reserve_all(&repository.path, "held/", sessions)?;
    // A reserve and a release are one operation each.
    let cycles = operations.saturating_sub(sessions) / 2;
    let mut script = Cycle::new(&repository.path, "work/", WORKERS).limited(cycles);
    heddled.connect(WORKERS)?.run(&mut script, None)?;
    heddled.stop()
}

/// Resident memory of a process.
pub(super) fn resident_megabytes(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes / 1_024.0)
}

/// The share of one core that the daemon uses while its connections are silent.
#[expect(clippy::cast_precision_loss, reason = "a count of ticks is far below 2^53")]
pub(super) fn idle_percent(heddled: &Heddled, span_ms: usize) -> anyhow::Result<f64> {
    // What the start and the connects left to do is not idling.
    clock::pause(Duration::from_secs(2));
    let span = Duration::from_millis(u64::try_from(span_ms)?);
    let before = quiet::process_ticks(heddled.pid())?;
    clock::pause(span);
    let used = quiet::process_ticks(heddled.pid())? - before;
    Ok(100.0 * used as f64 / TICKS_PER_SECOND / span.as_secs_f64())
}
