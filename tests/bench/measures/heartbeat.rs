//! P2: heartbeats, against Redis that syncs once a second and against the bare echo.

use super::{Bench, CONNECTIONS};
use crate::contenders::calls::Heartbeat;
use crate::contenders::echo::{Echo, EchoScript};
use crate::contenders::heddled::Heddled;
use crate::contenders::redis::{Fsync, Redis};
use crate::report::{Goal, Report, Subject};
use crate::repository::Repository;
use crate::schedule::{self, Contender};

/// Runs the measure.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let directory = bench.root.join("p2");
    let repository = Repository::make(&directory.join("repo"))?;
    let echo = Echo::start(&directory.join("echo"))?;
    let redis = Redis::start(&directory.join("redis"), Fsync::EverySecond, report)?;
    let heddled = (!bench.options.peers_only).then(|| Heddled::start(&directory.join("heddled"))).transpose()?;
    for count in bench.options.connections(CONNECTIONS) {
        let window = Some(bench.options.slice());
        let mut contenders = Vec::new();
        if let Some(heddled) = &heddled {
            let grants = heddled.reserve_all(&repository.path, &format!("beat/{count}/"), count)?;
            let (mut driver, mut script) = (heddled.connect(count)?, Heartbeat::new(&grants));
            contenders.push(Contender::new("heddled", move |_| Ok(driver.run(&mut script, window)?.into())));
        }
        if let Some(redis) = &redis {
            let (mut driver, mut script) = (redis.connect(count)?, redis.heartbeat(count)?);
            contenders.push(Contender::new("redis everysec", move |_| Ok(driver.run(&mut script, window)?.into())));
        }
        let (mut driver, mut script) = (echo.connect(count)?, EchoScript::new());
        contenders.push(Contender::new("echo", move |_| Ok(driver.run(&mut script, window)?.into())));
        let found = schedule::rotate(bench.options, contenders)?;
        report.noise += found.noise;
        let about = Subject { measure: "P2 heartbeat", connections: Some(count), unit: "/s" };
        let goals = [("redis everysec", Some(Goal::RatioAtLeast(1.5))), ("echo", Some(Goal::RatioAtLeast(0.6)))];
        report.compare(about, "heddled", &goals, &found);
    }
    Ok(())
}
