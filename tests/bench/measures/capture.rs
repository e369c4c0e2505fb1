//! P6: a capture of 10 changed files among 20,000, against `git add -A` and `git commit`; P10: what captures cost those who
//! send heartbeats meanwhile.
//!
//! Git syncs what it commits only when it is asked to, so it runs twice: as it is, and as durable as a capture.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::Bench;
use crate::contenders::calls::Heartbeat;
use crate::contenders::heddled::Heddled;
use crate::report::{Goal, Report, Subject};
use crate::repository::{self, Repository};
use crate::schedule::{self, Contender, Sample};
use crate::{clock, driver};

/// The files of a large worktree.
const FILES: usize = 20_000;
/// How many of them a capture finds changed.
const CHANGED: usize = 10;
/// What makes Git sync objects, index and refs.
const SYNCED: &[&str] = &["-c", "core.fsync=all", "-c", "core.fsyncMethod=batch"];
/// How many captures run beside the heartbeats.
const BESIDE: usize = 8;

/// Runs P6.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let directory = bench.root.join("p6");
    let files = bench.options.amount(FILES);
    let window = bench.options.slice();
    let make = |name: &str| Repository::make_with(&directory.join(name), files);
    let (plain, synced, own) = (make("git")?, make("git-synced")?, make("repo")?);
    let heddled = (!bench.options.peers_only).then(|| Heddled::start(&directory.join("heddled"))).transpose()?;
    let mut contenders = vec![
        Contender::new("git add, commit", |_| times(window, &plain.path, files, || commit(&plain.path, &[]))),
        Contender::new("the same, synced", |_| times(window, &synced.path, files, || commit(&synced.path, SYNCED))),
    ];
    if let Some(heddled) = &heddled {
        let work = Work::begin(heddled, &own, None, "work")?;
        contenders.push(Contender::new("capture", move |_| times(window, &work.path, files, || work.capture(heddled))));
    }
    let found = schedule::rotate(bench.options, contenders)?;
    report.noise += found.noise;
    let about = Subject { measure: "P6 capture, 10 of 20,000 files", connections: None, unit: "ms" };
    let goal = Some(Goal::RatioAtMost(0.9));
    report.compare(about, "capture", &[("git add, commit", goal), ("the same, synced", goal)], &found);
    Ok(())
}

/// Runs P10.
pub(crate) fn beside(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    if bench.options.peers_only {
        return Ok(());
    }
    let directory = bench.root.join("p10");
    let files = bench.options.amount(FILES);
    let repository = Repository::make_with(&directory.join("repo"), files)?;
    let heddled = Heddled::start(&directory.join("heddled"))?;
    let place = |number| Some(format!("busy/{number}"));
    let works = (0..BESIDE).map(|number| Work::begin(&heddled, &repository, place(number), ""));
    let works = works.collect::<anyhow::Result<Vec<_>>>()?;
    let window = Some(bench.options.slice());
    let grants = heddled.reserve_all(&repository.path, "beat/", 1)?;
    let (mut idle, mut busy) = (heddled.connect(1)?, heddled.connect(1)?);
    let (mut idle_script, mut busy_script) = (Heartbeat::new(&grants), Heartbeat::new(&grants));
    let contenders = vec![
        Contender::new("idle", move |_| Ok(worst(idle.run(&mut idle_script, window)?.into()))),
        Contender::new("beside captures", |_| {
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let captures: Vec<_> =
                    works.iter().map(|work| scope.spawn(|| work.keep_capturing(&heddled, files, &over))).collect();
                let outcome = busy.run(&mut busy_script, window);
                over.store(true, Ordering::Release);
                for capture in captures {
                    capture.join().map_err(|_| anyhow::anyhow!("a capture panicked"))??;
                }
                Ok(worst(outcome?.into()))
            })
        }),
    ];
    let found = schedule::rotate(bench.options, contenders)?;
    report.noise += found.noise;
    let about = Subject { measure: "P10 heartbeat p99, 8 captures", connections: Some(1), unit: "us" };
    report.compare(about, "beside captures", &[("idle", Some(Goal::RatioAtMost(1.5)))], &found);
    Ok(())
}

/// A thread that is held, and its worktree.
pub(super) struct Work {
    path: PathBuf,
    pub(super) key: Value,
}

impl Work {
    /// Reserves a thread, in a linked worktree of its own or in the main one, which is switched to it.
    pub(super) fn begin(
        heddled: &Heddled,
        repository: &Repository,
        linked: Option<String>,
        main: &str,
    ) -> anyhow::Result<Self> {
        let mut params = json!({"repo": repository.path, "ttl_ms": 86_400_000});
        match linked {
            Some(thread) => {
                params["thread"] = thread.into();
                params["worktree"] = json!({});
            }
            None => {
                git(&repository.path, &["switch", "--quiet", "--create", main])?;
                params["thread"] = main.into();
                params["target_thread"] = "main".into();
            }
        }
        let answer = heddled.call("agent.reserve", &params)?;
        let held = answer.get("reservation").context("no reservation")?;
        let text = |name: &str| held.get(name).and_then(Value::as_str).with_context(|| format!("no {name}"));
        let key = json!({
            "session_id": text("session_id")?, "reservation_token": text("reservation_token")?, "message": "work",
        });
        Ok(Self { path: text("path")?.into(), key })
    }

    fn capture(&self, heddled: &Heddled) -> anyhow::Result<Duration> {
        let began = clock::now();
        let answer = heddled.call("agent.capture", &self.key)?;
        let span = began.elapsed();
        ensure!(answer.pointer("/capture/created") == Some(&Value::Bool(true)), "nothing was captured: {answer}");
        Ok(span)
    }

    fn keep_capturing(&self, heddled: &Heddled, files: usize, over: &AtomicBool) -> anyhow::Result<()> {
        while !over.load(Ordering::Acquire) {
            change(&self.path, files)?;
            self.capture(heddled)?;
        }
        Ok(())
    }
}

/// Changes some files that lie apart, in a way that their size tells nothing of.
fn change(path: &Path, files: usize) -> anyhow::Result<()> {
    for number in (0..files).step_by((files / CHANGED).max(1)) {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
        std::fs::write(path.join(repository::file(number)), format!("{:032x}\n", u128::from_le_bytes(bytes)))?;
    }
    Ok(())
}

/// Changes files and lets `once` commit them, for the length of a slice; the figure is the median in milliseconds.
fn times(
    window: Duration,
    path: &Path,
    files: usize,
    mut once: impl FnMut() -> anyhow::Result<Duration>,
) -> anyhow::Result<Sample> {
    times_of(window, || {
        change(path, files)?;
        once()
    })
}

/// Does something for the length of a slice; the figure is the median in milliseconds of what it says that it took.
pub(super) fn times_of(window: Duration, mut once: impl FnMut() -> anyhow::Result<Duration>) -> anyhow::Result<Sample> {
    let mut latencies = driver::latencies()?;
    let mut spans = Vec::new();
    let start = clock::now();
    while start.elapsed() < window {
        let span = once()?;
        latencies.record(driver::nanoseconds(span))?;
        spans.push(schedule::milliseconds(span));
    }
    Ok(Sample { figure: schedule::median(spans), latencies })
}

/// What people do today.
fn commit(path: &Path, settings: &[&str]) -> anyhow::Result<Duration> {
    let began = clock::now();
    git(path, &[settings, &["add", "--all"]].concat())?;
    git(path, &[settings, &["commit", "--quiet", "--message", "work"]].concat())?;
    Ok(began.elapsed())
}

pub(super) fn git(path: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let status = repository::git(path).args(arguments).stdin(std::process::Stdio::null()).status()?;
    ensure!(status.success(), "git {arguments:?} ended with {status}");
    Ok(())
}

/// The figure is the 99th percentile, in microseconds.
fn worst(sample: Sample) -> Sample {
    #[expect(clippy::cast_precision_loss, reason = "a time in nanoseconds is far below 2^53")]
    let figure = sample.latencies.value_at_percentile(99.0) as f64 / 1_000.0;
    Sample { figure, ..sample }
}
