//! P4: from the kill -9 of a holder until the next waiter has its grant. Both hold for processes of their own, as
//! `heddlectl run --wait` does. It has no peer: nobody else tells a waiter of a death.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::Bench;
use crate::contenders::heddled::Heddled;
use crate::report::{Goal, Report, Row};
use crate::repository::Repository;
use crate::schedule::{self, Contender, Sample};
use crate::{clock, driver};

/// Runs the measure.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    if bench.options.peers_only {
        return Ok(());
    }
    let directory = bench.root.join("p4");
    let repository = Repository::make(&directory.join("repo"))?;
    repository.branches(&[], "work/", 1)?;
    let heddled = Heddled::start(&directory.join("heddled"))?;
    let window = bench.options.slice();
    let contender = Contender::new("takeover", |_| takeovers(&heddled, &repository.path, window));
    let found = schedule::rotate(bench.options, vec![contender])?;
    report.noise += found.noise;
    for (percentile, bound) in [(50.0, 2.0), (99.0, 20.0)] {
        let measure = format!("P4 kill -9 of the holder to the next grant, p{percentile}");
        let figure = found.tracks[0].microseconds(percentile) / 1_000.0;
        report.rows.push(Row::alone(&measure, "ms", figure, Some(Goal::Under(bound))));
    }
    heddled.stop()
}

/// A process that holds a session; killed when this is dropped.
struct Holder(Child);

impl Holder {
    fn start() -> anyhow::Result<Self> {
        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self(command.spawn()?))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Both fail only where it has ended already, which is what is wanted.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A caller that waits on a connection of its own.
struct Waiter(BufReader<UnixStream>);

impl Waiter {
    fn start(heddled: &Heddled, repo: &Path, holder: &Holder) -> anyhow::Result<Self> {
        let mut stream = UnixStream::connect(heddled.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let params = json!({
            "repo": repo.to_string_lossy(), "thread": "work/0", "hold_for_pid": holder.0.id(), "wait_ms": 60_000,
        });
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": "agent.reserve", "params": params});
        stream.write_all(format!("{request}\n").as_bytes())?;
        Ok(Self(BufReader::new(stream)))
    }

    fn granted(&mut self) -> anyhow::Result<()> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line)?;
        ensure!(answer.get("result").is_some(), "the waiter was answered {line}");
        Ok(())
    }
}

/// Kills one holder after the other for the length of a slice; the figure is the median in milliseconds.
fn takeovers(heddled: &Heddled, repo: &Path, window: Duration) -> anyhow::Result<Sample> {
    let (mut latencies, mut spans) = (driver::latencies()?, Vec::new());
    let mut holder = Holder::start()?;
    Waiter::start(heddled, repo, &holder)?.granted()?;
    let start = clock::now();
    while start.elapsed() < window {
        let next = Holder::start()?;
        let mut waiter = Waiter::start(heddled, repo, &next)?;
        while heddled.call("daemon.info", &json!({}))?["counts"]["waiters"] != 1 {
            ensure!(start.elapsed() < window + Duration::from_secs(30), "the waiter never waits");
        }
        let began = clock::now();
        holder.0.kill()?;
        waiter.granted()?;
        let span = began.elapsed();
        latencies.record(driver::nanoseconds(span))?;
        spans.push(schedule::milliseconds(span));
        holder = next;
    }
    Ok(Sample { figure: schedule::median(spans), latencies })
}
