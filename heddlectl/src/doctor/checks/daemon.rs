//! The daemon itself: whether it runs, whether it answers, whether it is of our version, and how it says that it does.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::surroundings::name_of;
use crate::client::lock_holder::process_state;
use crate::client::seconds;
use crate::clock;
use crate::doctor::bounded::DAEMON;
use crate::doctor::probe::Reach;
use crate::doctor::{Finding, Scene};
use crate::output::text;

/// Starts it anew.
const RESTART: &str = "heddlectl daemon stop && heddlectl daemon start";

/// Whether it runs and answers.
pub(super) fn daemon(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "daemon";
    let at = scene.tried.display();
    vec![match &scene.reach {
        Reach::Answers(daemon) => {
            let age = text::age(clock::wall_ms() - daemon.info.started_at.unix_ms());
            let counts = &daemon.info.counts;
            let summary = format!(
                "heddled {} answers: pid {}, for {age}, {} active sessions",
                daemon.info.version, daemon.info.pid, counts.active_sessions
            );
            Finding::ok(NAME, summary).detail("pid", daemon.info.pid).detail("socket", at.to_string())
        }
        Reach::Absent | Reach::Stale => not_running(scene),
        Reach::Idle => Finding::ok(NAME, "it is not running; its service starts it at the next call"),
        Reach::Denied(cause) => {
            Finding::error(NAME, format!("it cannot be asked: connecting to {at} is forbidden ({cause})"))
                .fix("heddlectl daemon status")
        }
        Reach::Unsafe(why) => Finding::error(NAME, format!("nothing was sent to it: {why}")),
        Reach::Foreign(uid) => {
            let own = format!("export HEDDLE_SOCKET=/tmp/heddle-{}/heddled.sock", scene.uid);
            Finding::error(NAME, format!("what listens on {at} is {}'s, not yours", name_of(*uid))).fix(own)
        }
        Reach::Silent(pid) => silent(scene, *pid),
        Reach::Strange(why) => {
            Finding::error(NAME, format!("what listens on {at} is no daemon of this protocol: {why}"))
        }
    }]
}

/// Nobody listens: which is as it should be, unless somebody holds the lock, or nobody may start it.
fn not_running(scene: &Scene) -> Finding {
    const NAME: &str = "daemon";
    let lock = scene.state.as_ref().and_then(|state| fs::symlink_metadata(state.join("heddled.lock")).ok());
    let holder = lock.and_then(|meta| super::lock::holder(scene, meta.ino()));
    let recorded = scene.record.as_ref().map(|record| record.socket.display().to_string());
    match (holder, recorded) {
        (Some(pid), Some(elsewhere)) if elsewhere != scene.tried.display().to_string() => {
            let summary = format!("your daemon, pid {pid}, listens on {elsewhere}, and you asked for another socket");
            Finding::error(NAME, summary).fix_words(["heddlectl", "--socket", &elsewhere, "status"]).detail("pid", pid)
        }
        (Some(pid), _) => {
            let summary = format!("pid {pid} runs and holds the lock, and nobody can reach it: its socket is gone");
            Finding::error(NAME, summary).fix(RESTART).detail("pid", pid)
        }
        (None, _) if scene.env.flag("HEDDLE_NO_AUTOSTART") => {
            let summary = "it is not running, and HEDDLE_NO_AUTOSTART keeps commands from starting it";
            Finding::warning(NAME, summary).fix("heddlectl daemon start")
        }
        (None, _) => Finding::ok(NAME, "it is not running; any command that needs it starts it"),
    }
}

/// It listens and says nothing: why, as far as the system knows.
fn silent(scene: &Scene, peer: Option<i32>) -> Finding {
    const NAME: &str = "daemon";
    let pid = peer.or_else(|| i32::try_from(scene.record.as_ref()?.pid).ok());
    let Some(pid) = pid else {
        let summary = format!("it does not answer within {}, and its pid is not known", seconds(DAEMON));
        return Finding::error(NAME, summary);
    };
    let state = process_state(pid);
    let (why, mend) = match state {
        Some('T' | 't') => ("it was stopped by a signal or a debugger", format!("kill -CONT {pid}")),
        Some('D') => ("it waits for a disk", RESTART.to_owned()),
        _ => ("it is busy or stuck", RESTART.to_owned()),
    };
    let summary = format!("pid {pid} does not answer within {}: {why}", seconds(DAEMON));
    let finding = Finding::error(NAME, summary).fix(mend).detail("pid", pid);
    match state {
        Some(state) => finding.detail("process_state", state.to_string()),
        None => finding,
    }
}

/// Whether daemon and command line are of one version, and the daemon of the program that is installed.
pub(super) fn version(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "version";
    let Some(daemon) = scene.daemon() else { return vec![Finding::skipped(NAME, "no daemon answers")] };
    if daemon.skew.is_some() {
        let summary =
            format!("heddled {} is running, this is heddlectl {}", daemon.info.version, env!("CARGO_PKG_VERSION"));
        return vec![Finding::warning(NAME, summary).fix(RESTART)];
    }
    let program = daemon.pid.and_then(|pid| fs::read_link(format!("/proc/{pid}/exe")).ok());
    if program.is_some_and(|path| path.to_string_lossy().ends_with(" (deleted)")) {
        let summary = "the daemon's program was replaced since it was started";
        return vec![Finding::warning(NAME, summary).fix(RESTART)];
    }
    vec![Finding::ok(NAME, format!("daemon and heddlectl are {}", daemon.info.version))]
}

/// How the daemon says that it does, a finding each.
pub(super) fn health(scene: &Scene) -> Vec<Finding> {
    let Some(daemon) = scene.daemon() else { return vec![Finding::skipped("health", "no daemon answers")] };
    let told = daemon.health.checks.iter().map(|check| {
        if check.clean {
            return Finding::ok(check.name.clone(), check.summary.clone());
        }
        let finding = Finding::error(check.name.clone(), check.summary.clone());
        match check.name.as_str() {
            // A checkpoint that failed is tried again by the daemon itself.
            "store" if check.summary.starts_with("the last checkpoint") => finding.fix("heddlectl daemon logs"),
            "store" => finding.fix(RESTART),
            "sessions" => finding.fix("heddlectl list --all-repos --alive-only"),
            _ => finding.fix("heddlectl daemon logs"),
        }
    });
    told.collect()
}
