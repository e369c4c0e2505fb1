//! P1: reserve and release of an existing thread, against Redis that syncs each write and touches no Git.

use super::{Bench, CONNECTIONS};
use crate::contenders::calls::Cycle;
use crate::contenders::heddled::Heddled;
use crate::contenders::redis::{Fsync, Redis};
use crate::report::{Goal, Report, Subject};
use crate::repository::Repository;
use crate::schedule::{self, Contender};

/// Branches that no connection uses: a repository has more than those that are worked on.
const BRANCHES: usize = 512;

/// Runs the measure.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let directory = bench.root.join("p1");
    let repository = Repository::make(&directory.join("repo"))?;
    repository.branches(&[], "work/", BRANCHES)?;
    let redis = Redis::start(&directory.join("redis"), Fsync::Always, report)?;
    let heddled = (!bench.options.peers_only).then(|| Heddled::start(&directory.join("heddled"))).transpose()?;
    for count in bench.options.connections(CONNECTIONS) {
        let window = Some(bench.options.slice());
        let mut contenders = Vec::new();
        if let Some(heddled) = &heddled {
            let (mut driver, mut script) = (heddled.connect(count)?, Cycle::new(&repository.path, "work/", count));
            contenders.push(Contender::new("heddled", move |_| Ok(driver.run(&mut script, window)?.into())));
        }
        if let Some(redis) = &redis {
            let (mut driver, mut script) = (redis.connect(count)?, redis.cycle(count));
            contenders.push(Contender::new("redis always", move |_| Ok(driver.run(&mut script, window)?.into())));
        }
        let found = schedule::rotate(bench.options, contenders)?;
        report.noise += found.noise;
        let about = Subject { measure: "P1 reserve+release", connections: Some(count), unit: "/s" };
        report.compare(about, "heddled", &[("redis always", Some(Goal::RatioAtLeast(1.0)))], &found);
    }
    Ok(())
}
