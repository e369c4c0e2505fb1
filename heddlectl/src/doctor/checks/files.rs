//! The log of a daemon that was started in the background.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::doctor::{Finding, Scene};

/// More than the daemon's files take together: four of 8 MiB, and some lines.
const MUCH: u64 = 40 * 1024 * 1024;

/// Whether it is the user's alone, and bounded.
pub(super) fn log(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "log";
    let Some(state) = &scene.state else { return vec![Finding::skipped(NAME, "there is no state directory")] };
    let path = state.join("heddled.log");
    let shown = path.display().to_string();
    let Ok(meta) = fs::symlink_metadata(&path) else {
        return vec![Finding::skipped(NAME, "no daemon was started in the background")];
    };
    if meta.mode() & 0o077 != 0 {
        let summary = format!("others can read {shown}: its mode is {:04o}", meta.mode() & 0o7777);
        return vec![Finding::warning(NAME, summary).fix_words(["chmod", "600", &shown])];
    }
    let aside = (1..=9).map(|number| format!("{shown}.{number}"));
    let aside: Vec<(u64, String)> =
        aside.filter_map(|path| Some((fs::symlink_metadata(&path).ok()?.len(), path))).collect();
    let bytes = meta.len() + aside.iter().map(|(bytes, _)| bytes).sum::<u64>();
    if bytes > MUCH {
        // A daemon of before did not cut it.
        let summary = format!("{shown} and what was moved aside take {} MiB", bytes >> 20);
        let finding = Finding::warning(NAME, summary).detail("bytes", bytes);
        return vec![match aside.iter().max().filter(|(bytes, _)| *bytes > meta.len()) {
            Some((_, path)) => finding.fix_words(["rm", path]),
            None => finding.fix("heddlectl daemon stop && heddlectl daemon start"),
        }];
    }
    vec![Finding::ok(NAME, format!("{shown}, {} KiB in all", bytes >> 10)).detail("bytes", bytes)]
}
