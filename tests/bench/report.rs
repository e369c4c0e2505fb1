//! The rows of the table, as facts.

use serde_json::{Value, json};

use crate::schedule::{Comparison, Noise, Track};

/// What is to be reached.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// The ratio to the peer is at least this.
    RatioAtLeast(f64),
    /// The ratio to the peer is at most this.
    RatioAtMost(f64),
    /// Our own figure is under this.
    Under(f64),
}

/// One line of the table.
pub(crate) struct Row {
    /// Which measure.
    pub(crate) measure: String,
    /// How many connections, where that matters.
    pub(crate) connections: Option<usize>,
    /// The unit of both figures.
    pub(crate) unit: &'static str,
    /// Our figure, or none where heddled was left out.
    pub(crate) ours: Option<f64>,
    /// Percentiles of our cycles, in microseconds: p50 and p99.
    pub(crate) percentiles: Option<(f64, f64)>,
    /// The peer's name; empty where the goal has none.
    pub(crate) peer: String,
    /// The peer's figure, or none where it is missing.
    pub(crate) theirs: Option<f64>,
    /// Ours by theirs.
    pub(crate) ratio: Option<f64>,
    /// What is to be reached.
    pub(crate) goal: Option<Goal>,
}

impl Row {
    /// Whether the goal is met; none where there is no goal or no figure.
    pub(crate) fn met(&self) -> Option<bool> {
        match self.goal? {
            Goal::RatioAtLeast(bound) => Some(self.ratio? >= bound),
            Goal::RatioAtMost(bound) => Some(self.ratio? <= bound),
            Goal::Under(bound) => Some(self.ours? < bound),
        }
    }

    /// A row about one figure of ours, without a peer.
    pub(crate) fn alone(measure: &str, unit: &'static str, figure: f64, goal: Option<Goal>) -> Self {
        Self {
            measure: measure.to_owned(),
            connections: None,
            unit,
            ours: Some(figure),
            percentiles: None,
            peer: String::new(),
            theirs: None,
            ratio: None,
            goal,
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "measure": self.measure, "connections": self.connections, "unit": self.unit, "ours": self.ours,
            "p50_us": self.percentiles.map(|both| both.0), "p99_us": self.percentiles.map(|both| both.1),
            "peer": self.peer, "theirs": self.theirs, "ratio": self.ratio, "met": self.met(),
        })
    }
}

/// What a measure compares.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// Which measure.
    pub(crate) measure: &'a str,
    /// How many connections, where that matters.
    pub(crate) connections: Option<usize>,
    /// The unit of the figures.
    pub(crate) unit: &'static str,
}

/// All rows of a run.
#[derive(Default)]
pub(crate) struct Report {
    /// In the order they were measured.
    pub(crate) rows: Vec<Row>,
    /// Remarks: what is missing, and how to get it.
    pub(crate) notes: Vec<String>,
    /// How quiet the machine was.
    pub(crate) noise: Noise,
}

impl Report {
    /// Adds a remark, once.
    pub(crate) fn note(&mut self, text: &str) {
        if !self.notes.iter().any(|note| note == text) {
            self.notes.push(text.to_owned());
        }
    }

    /// Adds one row for each of `goals`: the track called `ours` against the one that the goal names.
    pub(crate) fn compare(
        &mut self,
        about: Subject<'_>,
        ours: &str,
        goals: &[(&str, Option<Goal>)],
        found: &Comparison,
    ) {
        let track = |name: &str| found.tracks.iter().find(|track| track.name == name);
        let own = track(ours);
        for (peer, goal) in goals {
            let other = track(peer);
            self.rows.push(Row {
                measure: about.measure.to_owned(),
                connections: about.connections,
                unit: about.unit,
                ours: own.map(Track::median),
                percentiles: own.map(|own| (own.microseconds(50.0), own.microseconds(99.0))),
                peer: (*peer).to_owned(),
                theirs: other.map(Track::median),
                ratio: own.zip(other).map(|(own, other)| own.ratio(other)).filter(|ratio| ratio.is_finite()),
                goal: *goal,
            });
        }
    }

    /// The whole run as JSON.
    pub(crate) fn to_json(&self, machine: &str) -> Value {
        json!({
            "machine": machine, "notes": self.notes, "slices": self.noise.starts,
            "not_quiet": self.noise.not_quiet, "repeated": self.noise.repeated, "disturbed": self.noise.disturbed,
            "rows": self.rows.iter().map(Row::to_json).collect::<Vec<_>>(),
        })
    }
}
