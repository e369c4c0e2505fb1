//! What the system lets the daemon's process do and see: descriptors, processes, time.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};
use proto_schema::{Alive, ListParams, ListResult, Reservation, SessionStatus};

use crate::clock;
use crate::doctor::bounded::ANSWER;
use crate::doctor::{Finding, Scene, probe};

/// Descriptors beside those of connections: watched processes, repositories, the store.
const BESIDE: u64 = 512;

/// How far a clock may be off before it is told, in milliseconds.
const OFF_MS: i64 = 60_000;

/// A time before the first version: 2026-01-01.
const BEFORE_US_MS: i64 = 1_767_225_600_000;

/// Whether there are descriptors for as many connections as may be.
pub(super) fn open_files(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "open_files";
    let daemon = scene.daemon();
    let connections = daemon.map(|daemon| daemon.info.limits.connections);
    let connections = connections.or_else(|| scene.setting("connections")?.parse().ok());
    let Some(connections) = connections else { return vec![Finding::skipped(NAME, "the limit is not known")] };
    let needed = connections.saturating_add(BESIDE);
    let pid = daemon.and_then(|daemon| daemon.pid);
    let (hard, whose) = match pid.and_then(hard_limit) {
        Some(hard) => (hard, "the daemon may have"),
        // It raises its own to the hard limit that it inherits.
        None => {
            (getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_, hard)| hard), "a daemon started here could have")
        }
    };
    let facts = |finding: Finding| finding.detail("hard_limit", hard).detail("connections", connections);
    if hard < needed {
        let summary = format!("{whose} {hard} files open, and {connections} connections may need {needed}");
        let target = pid.map_or_else(|| "$$".to_owned(), |pid| pid.to_string());
        let raise = format!("sudo prlimit --pid {target} --nofile={needed}:{needed}");
        return vec![facts(Finding::warning(NAME, summary).fix(raise))];
    }
    let open = pid.and_then(|pid| Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64));
    if let Some(open) = open.filter(|open| open.saturating_mul(5) > hard.saturating_mul(4)) {
        return vec![facts(
            Finding::warning(NAME, format!("the daemon has {open} of {hard} files open")).detail("open", open),
        )];
    }
    vec![facts(Finding::ok(NAME, format!("{whose} {hard} files open, for {connections} connections")))]
}

/// Whether there is room for another connection.
pub(super) fn connections(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "connections";
    let Some(daemon) = scene.daemon() else { return vec![Finding::skipped(NAME, "no daemon answers")] };
    let (open, max) = (daemon.info.counts.connections, daemon.info.limits.connections);
    let summary = format!("{open} of {max} connections are open");
    let finding = if open >= max {
        // Calls about the daemon itself have connections of their own, so this one was answered.
        let summary = format!("{summary}: agents are refused; raise limits.connections in heddled.toml, then reload");
        Finding::error(NAME, summary).fix("heddlectl daemon reload")
    } else if open.saturating_mul(10) >= max.saturating_mul(9) {
        let summary = format!("{summary}: raise limits.connections in heddled.toml, then reload");
        Finding::warning(NAME, summary).fix("heddlectl daemon reload")
    } else {
        Finding::ok(NAME, summary)
    };
    vec![finding.detail("open", open).detail("limit", max)]
}

/// The hard limit of open files of a process.
fn hard_limit(pid: i32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        hard => hard.parse().ok(),
    }
}

/// Whether the daemon can see the processes of this side.
pub(super) fn pid_namespace(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "pid_namespace";
    let Ok(ours) = fs::read_link("/proc/self/ns/pid") else {
        return vec![Finding::skipped(NAME, "this system has none")];
    };
    let container = container();
    let Some(daemon) = scene.daemon() else {
        let finding = Finding::skipped(NAME, "no daemon answers");
        return vec![finding.detail("ours", ours.display().to_string()).detail("container", container)];
    };
    let theirs = daemon.pid.map(|pid| fs::read_link(format!("/proc/{pid}/ns/pid")));
    let other = match theirs {
        None => true,
        Some(Ok(theirs)) => theirs != ours,
        Some(Err(_)) => return vec![Finding::skipped(NAME, "the daemon's cannot be looked at")],
    };
    let finding = if other {
        let summary = "the daemon is in another pid namespace, that of a container perhaps: it cannot watch processes of this side, so sessions live by heartbeats";
        Finding::warning(NAME, summary).fix("heddlectl reserve --no-hold-for-agent --ttl 5m --thread <thread>")
    } else {
        Finding::ok(NAME, "the daemon sees the processes of this side")
    };
    vec![finding.detail("ours", ours.display().to_string()).detail("container", container)]
}

/// Whether sessions are held by processes that the daemon cannot look at: it was started again in another pid namespace.
pub(super) fn holders(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "holders";
    let asked = scene.daemon().and_then(|daemon| probe::again(daemon, scene.uid));
    let Some(mut client) = asked else { return vec![Finding::skipped(NAME, "no daemon answers")] };
    let params = ListParams { status: Some(SessionStatus::Active), limit: Some(1000), ..ListParams::default() };
    let answer = client.call_within("agent.list", &params, ANSWER).ok();
    let Some(listed) = answer.and_then(|answer| answer.read::<ListResult>().ok()) else {
        return vec![Finding::skipped(NAME, "the sessions could not be listed")];
    };
    let is_unknown =
        |one: &&Reservation| one.alive == Alive::Unknown && one.hold.process.is_some() && one.hold.heartbeat.is_some();
    let unknown: Vec<&Reservation> = listed.reservations.iter().filter(is_unknown).collect();
    let Some(first) = unknown.first() else { return vec![Finding::ok(NAME, "the daemon can tell which holders live")] };
    let id = first.session_id.to_string();
    let summary = format!(
        "the daemon cannot look at the processes that hold {} of the sessions, which it has from another pid namespace: each \
         ends as holder_unknown unless its token renews it in time",
        unknown.len()
    );
    let finding = Finding::warning(NAME, summary).fix_words(["heddlectl", "heartbeat", "--session", &id]);
    let expires_at = first.hold.heartbeat.as_ref().map(|heartbeat| heartbeat.expires_at.to_string());
    vec![finding.detail("sessions", unknown.len()).detail("first", id).detail("expires_at", expires_at)]
}

/// Whether this looks like the inside of a container.
fn container() -> bool {
    ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"].iter().any(|mark| fs::exists(mark).unwrap_or(false))
}

/// Whether the clock and the boot are those that the daemon has.
pub(super) fn clock(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "clock";
    let now = clock::wall_ms();
    if now < BEFORE_US_MS {
        let summary = "the clock is years behind: records get wrong times (deadlines do not depend on it)";
        return vec![Finding::warning(NAME, summary).fix("sudo timedatectl set-ntp true")];
    }
    let started =
        scene.daemon().map(|daemon| daemon.info.started_at).or(scene.record.as_ref().map(|record| record.started_at));
    if let Some(ahead) = started.map(|at| at.unix_ms() - now).filter(|ahead| *ahead > OFF_MS) {
        let summary = format!("the daemon was started {} s from now: the clock was set back", ahead / 1000);
        return vec![Finding::warning(NAME, summary).fix("sudo timedatectl set-ntp true")];
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    if let (Some(daemon), Some(boot)) = (scene.daemon(), boot)
        && *daemon.info.boot_id != *boot.trim_end()
    {
        let summary =
            "the daemon knows another boot than this side: it runs on another kernel, and cannot watch processes here";
        return vec![
            Finding::warning(NAME, summary).detail("daemon", &*daemon.info.boot_id).detail("ours", boot.trim_end()),
        ];
    }
    vec![Finding::ok(NAME, "the clock and the boot are as they should be")]
}
