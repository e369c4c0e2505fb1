//! What differs between two configurations, and what of it needs a restart.
//!
//! Every key is named here once: one that is added to [`Config`] or [`Limits`] does not compile before it is.

use super::{Config, Limits};

/// The keys that take effect only when the daemon is started again: its lock and its socket are held for life.
pub const NEEDS_RESTART: [&str; 2] = ["socket", "state_dir"];

impl Config {
    /// The keys whose values differ.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let Self { socket, state_dir, default_ttl_ms, allowed_filters, worktree_roots, repos, log, limits } = self;
        let own = [
            ("socket", *socket != other.socket),
            ("state_dir", *state_dir != other.state_dir),
            ("default_ttl_ms", *default_ttl_ms != other.default_ttl_ms),
            ("allowed_filters", *allowed_filters != other.allowed_filters),
            ("worktree_roots", *worktree_roots != other.worktree_roots),
            ("repos", *repos != other.repos),
            ("log", *log != other.log),
        ];
        own.into_iter()
            .chain(limits.compared(&other.limits))
            .filter(|(_, differs)| *differs)
            .map(|(key, _)| key)
            .collect()
    }
}

impl Limits {
    fn compared(&self, other: &Self) -> [(&'static str, bool); 9] {
        let Self {
            line_bytes,
            connections,
            calls_in_flight,
            active_sessions,
            request_timeout_ms,
            batch,
            waiters,
            subscriptions,
            events_behind,
        } = self;
        [
            ("limits.line_bytes", *line_bytes != other.line_bytes),
            ("limits.connections", *connections != other.connections),
            ("limits.calls_in_flight", *calls_in_flight != other.calls_in_flight),
            ("limits.active_sessions", *active_sessions != other.active_sessions),
            ("limits.request_timeout_ms", *request_timeout_ms != other.request_timeout_ms),
            ("limits.batch", *batch != other.batch),
            ("limits.waiters", *waiters != other.waiters),
            ("limits.subscriptions", *subscriptions != other.subscriptions),
            ("limits.events_behind", *events_behind != other.events_behind),
        ]
    }
}
