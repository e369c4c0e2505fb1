//! The lock of the state directory: who has it, without touching it.
//!
//! To try the lock would be to take it, and a daemon that starts in that moment would find it taken. So the kernel's list is
//! read, which shows the locks of the processes of our pid namespace and of those within.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::client::lock_holder;
use crate::doctor::{Finding, Scene};

const NAME: &str = "lock";

/// The lock file, its record, and who holds it.
pub(super) fn lock(scene: &Scene) -> Vec<Finding> {
    let Some(state) = &scene.state else { return vec![Finding::skipped(NAME, "there is no state directory")] };
    let path = state.join("heddled.lock");
    let shown = path.display().to_string();
    let meta = match fs::symlink_metadata(&path) {
        Ok(meta) => meta,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            return vec![Finding::ok(NAME, "no daemon has run with this state directory")];
        }
        Err(cause) => return vec![Finding::error(NAME, format!("{shown} cannot be looked at: {cause}"))],
    };
    if !meta.is_file() || meta.uid() != scene.uid {
        let summary = format!("{shown} is not a regular file of your own: look who made it, and remove it");
        return vec![Finding::error(NAME, summary).fix_words(["rm", &shown]).detail("owner", meta.uid())];
    }
    vec![judged(scene, holder(scene, meta.ino()))]
}

/// The pid that holds the lock, as the kernel lists it.
pub(super) fn holder(scene: &Scene, inode: u64) -> Option<i32> {
    let recorded = scene.record.as_ref().and_then(|record| i32::try_from(record.pid).ok());
    lock_holder::listed(inode, recorded)
}

fn judged(scene: &Scene, holder: Option<i32>) -> Finding {
    match (&scene.record, holder) {
        (Some(record), Some(holder)) if i64::from(record.pid) == i64::from(holder) => {
            Finding::ok(NAME, format!("pid {holder} holds it")).detail("pid", holder)
        }
        (_, Some(holder)) => Finding::ok(NAME, format!("pid {holder} holds it, which has written another pid or none"))
            .detail("pid", holder),
        (None, None) => Finding::ok(NAME, "nobody holds it"),
        (Some(record), None) if scene.daemon().is_some() => {
            let summary = format!("it is held where we cannot see it: the daemon calls itself pid {}", record.pid);
            Finding::ok(NAME, summary).detail("recorded_pid", record.pid)
        }
        (Some(record), None) => {
            let pid = i32::try_from(record.pid).unwrap_or(i32::MAX);
            let gone = kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH);
            let what = if gone { "which is gone" } else { "which is another process now, or in another pid namespace" };
            let summary =
                format!("it names pid {pid}, {what}: that daemon was killed; the next one takes the lock over");
            Finding::warning(NAME, summary).fix("heddlectl daemon start").detail("recorded_pid", record.pid)
        }
    }
}
