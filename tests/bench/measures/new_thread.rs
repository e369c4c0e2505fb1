//! P3: reserve of a thread that is not there yet, against one `git update-ref --stdin` that makes as many branches.
//!
//! Git makes its refs durable only when it is asked to, so it runs twice: as it is, and synced as the daemon's are.

use super::Bench;
use crate::clock;
use crate::contenders::calls::Reserve;
use crate::contenders::heddled::Heddled;
use crate::report::{Goal, Report, Row, Subject};
use crate::repository::Repository;
use crate::schedule::{self, Contender, Sample};

/// What makes Git sync its refs, as the daemon does.
const SYNCED: &[&str] = &["-c", "core.fsync=reference", "-c", "core.fsyncMethod=fsync"];
/// Connections, and how many threads a slice makes.
const SIZES: [(usize, usize); 2] = [(1, 500), (16, 2_000)];

/// Runs the measure.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let directory = bench.root.join("p3");
    let repository = Repository::make(&directory.join("repo"))?;
    let plain = Repository::make(&directory.join("git"))?;
    let synced = Repository::make(&directory.join("git-synced"))?;
    let heddled = (!bench.options.peers_only).then(|| Heddled::start(&directory.join("heddled"))).transpose()?;
    for (count, threads) in SIZES {
        if bench.options.connections(&[count]).next().is_none() {
            continue;
        }
        let threads = bench.options.amount(threads);
        let mut contenders = vec![
            Contender::new("git update-ref", |attempt| batch(&plain, &[], &format!("t{count}/{attempt}/"), threads)),
            Contender::new("the same, synced", |attempt| {
                batch(&synced, SYNCED, &format!("t{count}/{attempt}/"), threads)
            }),
        ];
        if let Some(heddled) = &heddled {
            let mut driver = heddled.connect(count)?;
            let path = &repository.path;
            contenders.push(Contender::new("heddled", move |attempt| {
                let mut script = Reserve::new(path, &format!("t{count}/{attempt}/"), threads);
                let outcome = driver.run(&mut script, None)?;
                heddled.release_all(&script.grants)?;
                Ok(outcome.into())
            }));
        }
        let found = schedule::rotate(bench.options, contenders)?;
        report.noise += found.noise;
        let about = Subject { measure: "P3 reserve, new thread", connections: Some(count), unit: "/s" };
        let faster = Some(Goal::RatioAtLeast(1.0));
        report.compare(about, "heddled", &[("git update-ref", faster), ("the same, synced", faster)], &found);
        if let Some(own) = found.tracks.iter().find(|track| count == 1 && track.name == "heddled") {
            let median = own.microseconds(50.0) / 1_000.0;
            report.rows.push(Row::alone("P3 reserve, new thread, p50", "ms", median, Some(Goal::Under(1.0))));
        }
    }
    Ok(())
}

/// Makes `count` branches by one Git process.
fn batch(repository: &Repository, settings: &[&str], prefix: &str, count: usize) -> anyhow::Result<Sample> {
    let began = clock::now();
    repository.branches(settings, prefix, count)?;
    #[expect(clippy::cast_precision_loss, reason = "a count of branches is far below 2^53")]
    let figure = count as f64 / began.elapsed().as_secs_f64();
    Ok(Sample { figure, latencies: crate::driver::latencies()? })
}
