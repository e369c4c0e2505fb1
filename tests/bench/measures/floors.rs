//! What this machine allows at best: one small synced write, and one round trip over a socket.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use super::Bench;
use crate::contenders::echo::{Echo, EchoScript};
use crate::report::{Report, Subject};
use crate::schedule::{self, Contender, Sample};
use crate::{clock, driver};

/// What is written at a time.
const BLOCK: [u8; 256] = [7; 256];
/// Bytes of the file that is filled with zeros beforehand.
const ZEROS: usize = 4 * 1024 * 1024;

/// Runs the measure.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let directory = bench.root.join("floors");
    let echo = Echo::start(&directory)?;
    let mut growing = Writer::new(&directory.join("growing"), 0)?;
    let mut filled = Writer::new(&directory.join("filled"), ZEROS)?;
    let window = bench.options.slice();
    let (mut one, mut sixteen) = (echo.connect(1)?, echo.connect(16)?);
    let contenders = vec![
        Contender::new("fdatasync, append", move |_| growing.slice(window)),
        Contender::new("fdatasync, overwrite", move |_| filled.slice(window)),
        Contender::new("echo, 1", move |_| Ok(one.run(&mut EchoScript::new(), Some(window))?.into())),
        Contender::new("echo, 16", move |_| Ok(sixteen.run(&mut EchoScript::new(), Some(window))?.into())),
    ];
    let found = schedule::rotate(bench.options, contenders)?;
    for (name, connections) in [("fdatasync, append", 1), ("fdatasync, overwrite", 1), ("echo, 1", 1), ("echo, 16", 16)]
    {
        report.compare(
            Subject { measure: &format!("floor: {name}"), connections: Some(connections), unit: "/s" },
            name,
            &[("", None)],
            &found,
        );
    }
    report.noise += found.noise;
    Ok(())
}

/// Writes small blocks and syncs each.
struct Writer {
    file: File,
    at: usize,
    length: usize,
}

impl Writer {
    /// Makes the file with `length` zeros: it is then overwritten, round and round, or without zeros it grows.
    fn new(path: &Path, length: usize) -> anyhow::Result<Self> {
        let file = File::create_new(path)?;
        file.write_all_at(&vec![0; length], 0)?;
        file.sync_all()?;
        Ok(Self { file, at: 0, length })
    }

    fn slice(&mut self, window: Duration) -> anyhow::Result<Sample> {
        let mut latencies = driver::latencies()?;
        let start = clock::now();
        while start.elapsed() < window {
            let began = clock::now();
            let at = self.at.checked_rem(self.length).unwrap_or(self.at);
            self.file.write_all_at(&BLOCK, u64::try_from(at)?)?;
            self.file.sync_data()?;
            self.at += BLOCK.len();
            latencies.record(driver::nanoseconds(began.elapsed()))?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of writes is far below 2^53")]
        let figure = latencies.len() as f64 / start.elapsed().as_secs_f64();
        Ok(Sample { figure, latencies })
    }
}
