//! What the daemon counts and measures, as Prometheus reads it.
//!
//! Counting costs whoever counts a few atomic additions: every handle is made at the start, none is looked up by its name, and
//! nothing is locked, but for errors. What the registry knows is not counted beside it, but taken from a snapshot when
//! somebody asks.

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use proto_schema::{EndReason, Kind, SessionStatus};

/// Bounds of what a call may take: a heartbeat takes microseconds, a capture seconds.
const CALL_SECONDS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Bounds of what a disk takes to make something durable.
const FLUSH_SECONDS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Bounds of how many changes share a flush.
const GROUP_SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With its result.
    Ok,
    /// With an error that is the caller's business.
    Refused,
    /// With an error that is the operator's: a defect, a disk, a repository.
    Failed,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Ok, Self::Refused, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// What an error of this kind is counted as.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        match kind.exit_code() {
            // Those of sysexits.h for software, input and output.
            70 | 74 => Self::Failed,
            _ => Self::Refused,
        }
    }
}

/// Everything that is counted or measured.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: IntCounterVec,
    call_seconds: HistogramVec,
    errors: IntCounterVec,
    ended: Vec<(EndReason, IntCounter)>,
    flush_seconds: Histogram,
    flush_operations: Histogram,
    inbox: IntGauge,
    connections: IntGauge,
    subscriptions: IntGauge,
    sessions: IntGaugeVec,
    threads: IntGauge,
    repositories: IntGauge,
    revision: IntGauge,
    started: IntGauge,
}

/// What the registry holds, and the edge beside it, when somebody asks.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Sessions by what has become of them.
    pub sessions: Vec<(SessionStatus, usize)>,
    /// Threads that are known.
    pub threads: usize,
    /// Repositories that are known.
    pub repositories: usize,
    /// The newest revision.
    pub revision: u64,
    /// Open connections.
    pub connections: usize,
    /// Subscriptions to events, all connections together.
    pub subscriptions: usize,
    /// When the daemon started, in seconds since 1970.
    pub started: i64,
}

/// What one method is measured with.
#[derive(Debug)]
pub struct MethodMetrics {
    outcomes: [IntCounter; 3],
    seconds: Histogram,
}

impl MethodMetrics {
    /// Counts a call that has ended.
    pub fn called(&self, outcome: Outcome, took: Duration) {
        let [ok, refused, failed] = &self.outcomes;
        match outcome {
            Outcome::Ok => ok.inc(),
            Outcome::Refused => refused.inc(),
            Outcome::Failed => failed.inc(),
        }
        self.seconds.observe(took.as_secs_f64());
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> prometheus::Result<C> {
    let collector = made?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    register(registry, IntGauge::new(name, help))
}

fn histogram(name: &str, help: &str, bounds: &[f64]) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(bounds.to_vec())
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// One counter for each way to end. A merge is none: it happens to sessions that have ended.
fn handles(ended: &IntCounterVec) -> Vec<(EndReason, IntCounter)> {
    let reasons = EndReason::ALL.into_iter().filter(|reason| *reason != EndReason::Merged);
    reasons.map(|reason| (reason, ended.with_label_values(&[reason.as_str()]))).collect()
}

impl Metrics {
    /// Makes every metric, all at zero.
    ///
    /// # Errors
    /// Two have one name, or a name is none: a mistake of the code.
    pub fn new() -> prometheus::Result<Arc<Self>> {
        let registry = Registry::new();
        let r = &registry;
        let calls = Opts::new("heddled_requests_total", "Calls that have ended, by method and outcome.");
        let call_seconds = histogram(
            "heddled_request_duration_seconds",
            "What a call took, from its turn to its answer.",
            CALL_SECONDS,
        );
        let errors = Opts::new("heddled_errors_total", "Errors that calls were answered with, by kind.");
        let ended = Opts::new("heddled_sessions_ended_total", "Sessions that have ended since the start, by reason.");
        let flush_seconds =
            histogram("heddled_flush_duration_seconds", "What it took to make one batch durable.", FLUSH_SECONDS);
        let flush_operations =
            histogram("heddled_flush_operations", "Changes of the registry that one flush made durable.", GROUP_SIZES);
        let sessions = Opts::new("heddled_sessions", "Sessions that are kept, by status.");
        let build = Opts::new("heddled_build_info", "The daemon's version; always 1.");
        let metrics = Self {
            calls: register(r, IntCounterVec::new(calls, &["method", "outcome"]))?,
            call_seconds: register(r, HistogramVec::new(call_seconds, &["method"]))?,
            errors: register(r, IntCounterVec::new(errors, &["kind"]))?,
            ended: handles(&register(r, IntCounterVec::new(ended, &["reason"]))?),
            flush_seconds: register(r, Histogram::with_opts(flush_seconds))?,
            flush_operations: register(r, Histogram::with_opts(flush_operations))?,
            inbox: gauge(r, "heddled_inbox_length", "Messages that wait for the writer.")?,
            connections: gauge(r, "heddled_connections", "Open connections.")?,
            subscriptions: gauge(r, "heddled_subscriptions", "Subscriptions to events.")?,
            sessions: register(r, IntGaugeVec::new(sessions, &["status"]))?,
            threads: gauge(r, "heddled_threads", "Threads that are known.")?,
            repositories: gauge(r, "heddled_repositories", "Repositories that are known.")?,
            revision: gauge(r, "heddled_revision", "The newest revision of the registry.")?,
            started: gauge(r, "heddled_start_time_seconds", "When the daemon started, since 1970.")?,
            registry,
        };
        register(&metrics.registry, IntGaugeVec::new(build, &["version"]))?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        Ok(Arc::new(metrics))
    }

    /// What a method is measured with: made once, when the method is registered.
    #[must_use]
    pub fn method(&self, name: &str) -> MethodMetrics {
        let outcomes = Outcome::ALL.map(|outcome| self.calls.with_label_values(&[name, outcome.as_str()]));
        MethodMetrics { outcomes, seconds: self.call_seconds.with_label_values(&[name]) }
    }

    /// Counts an error. Looked up by its kind: errors are rarer than calls, and cost more themselves.
    pub fn erred(&self, kind: Kind) {
        self.errors.with_label_values(&[kind.as_str()]).inc();
    }

    /// Counts a batch that has become durable.
    pub fn flushed(&self, changes: usize, took: Duration) {
        self.flush_seconds.observe(took.as_secs_f64());
        self.flush_operations.observe(f64::from(u32::try_from(changes).unwrap_or(u32::MAX)));
    }

    /// Counts the end of a session.
    pub fn ended(&self, reason: EndReason) {
        self.ended.iter().filter(|(known, _)| *known == reason).for_each(|(_, counter)| counter.inc());
    }

    /// How many messages wait for the writer.
    #[must_use]
    pub fn inbox(&self) -> IntGauge {
        self.inbox.clone()
    }

    /// Everything as text, with what is so at this moment.
    ///
    /// # Errors
    /// A metric is in no state to be shown: a mistake of the code.
    pub fn text(&self, figures: &Figures) -> prometheus::Result<String> {
        for (status, sessions) in &figures.sessions {
            self.sessions.with_label_values(&[status.as_str()]).set(count(*sessions));
        }
        self.threads.set(count(figures.threads));
        self.repositories.set(count(figures.repositories));
        self.revision.set(i64::try_from(figures.revision).unwrap_or(i64::MAX));
        self.connections.set(count(figures.connections));
        self.subscriptions.set(count(figures.subscriptions));
        self.started.set(figures.started);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_in_the_text_and_what_never_happened_is_zero() {
        let metrics = Metrics::new().unwrap();
        let method = metrics.method("agent.reserve");
        method.called(Outcome::Ok, Duration::from_micros(70));
        method.called(Outcome::Refused, Duration::from_millis(2));
        metrics.erred(Kind::LiveOwner);
        metrics.ended(EndReason::Released);
        metrics.flushed(3, Duration::from_micros(300));
        metrics.inbox().inc();
        let figures = Figures { sessions: vec![(SessionStatus::Active, 2)], revision: 7, ..Figures::default() };
        let text = metrics.text(&figures).unwrap();
        for line in [
            r#"heddled_requests_total{method="agent.reserve",outcome="ok"} 1"#,
            r#"heddled_requests_total{method="agent.reserve",outcome="failed"} 0"#,
            r#"heddled_request_duration_seconds_bucket{method="agent.reserve",le="0.00005"} 0"#,
            r#"heddled_request_duration_seconds_bucket{method="agent.reserve",le="0.0001"} 1"#,
            r#"heddled_request_duration_seconds_count{method="agent.reserve"} 2"#,
            r#"heddled_errors_total{kind="live_owner"} 1"#,
            r#"heddled_sessions_ended_total{reason="released"} 1"#,
            r#"heddled_sessions_ended_total{reason="evicted"} 0"#,
            r#"heddled_flush_operations_bucket{le="4"} 1"#,
            r#"heddled_sessions{status="active"} 2"#,
            "heddled_inbox_length 1",
            "heddled_revision 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_the_operator_must_look_after_counts_as_failed() {
        for kind in [Kind::Internal, Kind::StoreUnavailable, Kind::RepositoryUnavailable] {
            assert_eq!(Outcome::of(kind), Outcome::Failed, "{kind:?}");
        }
        for kind in [Kind::LiveOwner, Kind::InvalidParams, Kind::ReservationTokenMismatch, Kind::LimitExceeded] {
            assert_eq!(Outcome::of(kind), Outcome::Refused, "{kind:?}");
        }
    }
}
