//! `cargo bench -p heddled --bench load`: measures heddled against its peers on this machine, in turn, in one run.
//!
//! A figure is the median over several rounds; a ratio is the median of each round's own ratio. A round gives every
//! contender one slice of a few hundred milliseconds, and a slice starts when the machine is idle (`quiet.rs`). All
//! contenders are driven by the same client (`driver.rs`), from this one process. Where others are to be busy meanwhile, a
//! second client sends at its own pace, whatever is answered (`crowd.rs`).
//!
//! Only Linux is measured: the idle test, the memory and the CPU times come from `/proc`.

mod child;
mod clock;
mod contenders;
mod crowd;
mod driver;
mod interrupt;
mod machine;
mod measures;
mod options;
mod poller;
mod quiet;
mod report;
mod repository;
mod schedule;
mod script;
mod table;

use clap::Parser;
use options::Options;
use report::Report;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(socket) = &options.serve_echo {
        return contenders::echo::serve(socket);
    }
    interrupt::watch()?;
    machine::raise_descriptor_limit()?;
    let root = options.directory()?;
    let bench = measures::Bench { options: &options, root: root.path() };
    table::say(&machine::facts(root.path())?);
    let mut report = Report::default();
    for measure in measures::ALL {
        if options.wants(measure.name) {
            table::progress(&format!("{}: {}", measure.name, measure.about));
            (measure.run)(&bench, &mut report)?;
        }
    }
    table::say(&table::render(&report));
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&report.to_json(&machine::facts(root.path())?))?)?;
    }
    Ok(())
}
