//! What the figures were taken on.

use std::path::Path;

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Cores, processor, kernel, and the file system of `directory`, in one line; a warning where that is memory.
pub(crate) fn facts(directory: &Path) -> anyhow::Result<String> {
    let cores = std::thread::available_parallelism()?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("this needs Linux")?;
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let system = file_system(directory)?;
    let in_memory = matches!(system.as_str(), "tmpfs" | "ramfs" | "overlay");
    let warning = if in_memory { "\nWARNING: that is no real disk: choose one with --dir" } else { "" };
    Ok(format!(
        "{cores} cores, {}, Linux {}, {system}, heddled {}{warning}",
        model.unwrap_or("processor unknown"),
        kernel.trim(),
        env!("CARGO_PKG_VERSION")
    ))
}

/// Lets this process, and the servers it starts, have as many connections as the system allows.
pub(crate) fn raise_descriptor_limit() -> anyhow::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// The type of the file system that holds `directory`.
fn file_system(directory: &Path) -> anyhow::Result<String> {
    let real = directory.canonicalize()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let mut best = (0, "unknown file system");
    for line in mounts.lines() {
        let mut columns = line.split(' ').skip(1);
        if let (Some(place), Some(kind)) = (columns.next(), columns.next())
            && real.starts_with(place)
            && place.len() >= best.0
        {
            best = (place.len(), kind);
        }
    }
    Ok(best.1.to_owned())
}
