//! Gives every contender a slice in turn, round after round, on a quiet machine.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::driver::{self, Outcome};
use crate::interrupt;
use crate::options::Options;
use crate::quiet::{self, Watch};

/// What one slice came to.
pub(crate) struct Sample {
    /// The figure that is compared: cycles a second, or a time.
    pub(crate) figure: f64,
    /// How long each cycle took, in nanoseconds.
    pub(crate) latencies: Histogram<u64>,
}

impl From<Outcome> for Sample {
    fn from(outcome: Outcome) -> Self {
        Self { figure: outcome.rate(), latencies: outcome.latencies }
    }
}

/// Runs one slice; it is given a number that no other call of it is given.
pub(crate) type Slice<'a> = Box<dyn FnMut(usize) -> anyhow::Result<Sample> + 'a>;

/// Somebody to measure.
pub(crate) struct Contender<'a> {
    /// Its name in the table.
    pub(crate) name: String,
    /// Runs one slice.
    pub(crate) slice: Slice<'a>,
}

impl<'a> Contender<'a> {
    /// A contender called `name`.
    pub(crate) fn new(name: &str, slice: impl FnMut(usize) -> anyhow::Result<Sample> + 'a) -> Self {
        Self { name: name.to_owned(), slice: Box::new(slice) }
    }
}

/// What a contender did, over all rounds.
pub(crate) struct Track {
    /// Its name.
    pub(crate) name: String,
    /// One figure a round.
    pub(crate) figures: Vec<f64>,
    /// All cycles of all rounds.
    pub(crate) latencies: Histogram<u64>,
}

impl Track {
    /// The median figure.
    pub(crate) fn median(&self) -> f64 {
        median(self.figures.clone())
    }

    /// The median of each round's own ratio to `peer`.
    pub(crate) fn ratio(&self, peer: &Self) -> f64 {
        median(self.figures.iter().zip(&peer.figures).map(|(own, other)| own / other).collect())
    }

    /// A percentile of the cycles' times in microseconds.
    #[expect(clippy::cast_precision_loss, reason = "a time in nanoseconds is far below 2^53")]
    pub(crate) fn microseconds(&self, percentile: f64) -> f64 {
        self.latencies.value_at_percentile(percentile) as f64 / 1_000.0
    }
}

/// A finished comparison.
pub(crate) struct Comparison {
    /// The contenders as they were given.
    pub(crate) tracks: Vec<Track>,
    /// How quiet the machine was.
    pub(crate) noise: Noise,
}

/// How quiet the machine was.
#[derive(Clone, Copy, Default)]
pub(crate) struct Noise {
    /// Slices that were run.
    pub(crate) starts: usize,
    /// Slices that began although the machine was not quiet.
    pub(crate) not_quiet: usize,
    /// Slices that were thrown away and repeated, because other processes ran meanwhile.
    pub(crate) repeated: usize,
    /// Slices that count although other processes ran meanwhile.
    pub(crate) disturbed: usize,
}

impl std::ops::AddAssign for Noise {
    fn add_assign(&mut self, other: Self) {
        self.starts += other.starts;
        self.not_quiet += other.not_quiet;
        self.repeated += other.repeated;
        self.disturbed += other.disturbed;
    }
}

/// Compares the contenders. Each round begins with another of them.
pub(crate) fn rotate(options: &Options, mut contenders: Vec<Contender<'_>>) -> anyhow::Result<Comparison> {
    let mut tracks = Vec::new();
    for contender in &contenders {
        tracks.push(Track { name: contender.name.clone(), figures: Vec::new(), latencies: driver::latencies()? });
    }
    let mut noise = Noise::default();
    let count = contenders.len();
    for round in 0..options.rounds() {
        for turn in 0..count {
            let which = (round + turn) % count;
            let sample = undisturbed(options, &mut contenders[which].slice, &mut noise)?;
            tracks[which].figures.push(sample.figure);
            tracks[which].latencies.add(&sample.latencies)?;
        }
    }
    Ok(Comparison { tracks, noise })
}

/// Runs a slice on a quiet machine; one during which others ran is repeated, a few times.
fn undisturbed(options: &Options, slice: &mut Slice<'_>, noise: &mut Noise) -> anyhow::Result<Sample> {
    let mut repeated = 0;
    loop {
        interrupt::check()?;
        let attempt = noise.starts;
        noise.starts += 1;
        noise.not_quiet += usize::from(!quiet::wait(options.patience())?);
        let watch = Watch::begin()?;
        let sample = slice(attempt)?;
        if !watch.disturbed()? {
            return Ok(sample);
        }
        if repeated == options.repetitions() {
            noise.disturbed += 1;
            return Ok(sample);
        }
        repeated += 1;
        noise.repeated += 1;
    }
}

/// The middle value; not a number where there is none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

/// A span in milliseconds.
pub(crate) fn milliseconds(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}
