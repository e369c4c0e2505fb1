//! Whether anybody else uses the machine: a busy neighbour turns an fdatasync of 0.2 ms into 4, and flatters the slow.

use std::time::Duration;

use anyhow::Context as _;

use crate::{clock, interrupt};

/// The span over which idleness is judged: two ticks of the kernel's accounting.
const WINDOW: Duration = Duration::from_millis(20);
/// The share of all processors that others may use in a slice.
const FOREIGN_SHARE: f64 = 0.05;
/// What kernel threads have as their parent.
const KERNEL: u32 = 2;

/// Waits until no tick of any processor went to work, to waiting for the disk, or to another guest of the host.
///
/// Gives up after `patience`; tells whether it was quiet.
pub(crate) fn wait(patience: Duration) -> anyhow::Result<bool> {
    let began = clock::now();
    loop {
        interrupt::check()?;
        let before = ticks()?;
        clock::pause(WINDOW);
        let after = ticks()?;
        if after.busy == before.busy {
            return Ok(true);
        }
        if began.elapsed() >= patience {
            return Ok(false);
        }
    }
}

/// The accounts at the beginning of a slice.
pub(crate) struct Watch {
    all: u64,
    foreign: u64,
}

impl Watch {
    /// Begins to watch.
    pub(crate) fn begin() -> anyhow::Result<Self> {
        Ok(Self { all: ticks()?.all, foreign: foreign_ticks()? })
    }

    /// Whether processes other than this one and its children had a noticeable share of the machine since.
    #[expect(clippy::cast_precision_loss, reason = "a count of ticks is far below 2^53")]
    pub(crate) fn disturbed(&self) -> anyhow::Result<bool> {
        let foreign = foreign_ticks()?.saturating_sub(self.foreign);
        let all = ticks()?.all - self.all;
        // A short slice has few ticks: up to two say nothing.
        Ok(foreign > 2 && foreign as f64 > all as f64 * FOREIGN_SHARE)
    }
}

/// Ticks of all processors since boot.
struct Ticks {
    /// All that were not idle, waiting for the disk included.
    busy: u64,
    /// All.
    all: u64,
    /// Those that other guests of the host took.
    stolen: u64,
}

fn ticks() -> anyhow::Result<Ticks> {
    let stat = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let columns = line.split_ascii_whitespace().skip(1).map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    // user nice system idle iowait irq softirq steal; what follows is counted in these already.
    let (Some(eight), Some(idle), Some(&stolen)) = (columns.get(..8), columns.get(3), columns.get(7)) else {
        anyhow::bail!("/proc/stat has an unknown form");
    };
    let all = eight.iter().sum();
    Ok(Ticks { busy: all - idle, all, stolen })
}

/// Ticks of other guests of the host and of all processes, but for this one, its children, and the kernel's threads:
/// those work for whoever writes, which in a slice is the contender.
fn foreign_ticks() -> anyhow::Result<u64> {
    let own = std::process::id();
    let mut total = ticks()?.stolen;
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may have ended since the directory was read.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some(account) = account(&stat) else { continue };
        if ![pid, account.parent].iter().any(|&id| id == own || id == KERNEL) {
            total += account.ticks;
        }
    }
    Ok(total)
}

/// What `/proc/<pid>/stat` says of a process.
struct Account {
    parent: u32,
    ticks: u64,
}

/// Reads the parent, and the ticks of the process and of its children that it has waited for.
fn account(stat: &str) -> Option<Account> {
    // The name, in parentheses, may hold anything; the state follows it.
    let columns: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = columns.get(11..15)?.iter().map(|text| text.parse::<u64>().unwrap_or(0)).sum();
    Some(Account { parent: columns.get(1)?.parse().ok()?, ticks })
}

/// Ticks that the process `pid` has used, with its children that have ended.
pub(crate) fn process_ticks(pid: u32) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    account(&stat).map(|account| account.ticks).context("/proc/<pid>/stat has an unknown form")
}
