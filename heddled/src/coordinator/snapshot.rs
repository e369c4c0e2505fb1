//! The last committed state, as everybody may read it without waiting for anybody.

use std::sync::Arc;

use imbl::OrdMap;
use parking_lot::Mutex;
use proto_schema::FencingToken;

use crate::registry::{Lease, Pulse, Registry, RepoRecord, SessionRecord, ThreadKey};

/// A committed registry, and the leases of its active sessions. A lease is shared with the live one: heartbeats move it
/// between two commits.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// Who holds what.
    pub registry: Registry,
    /// The leases of the active sessions.
    pub leases: OrdMap<FencingToken, Arc<Mutex<Lease>>>,
    /// How many callers wait for a thread; none where nobody does.
    pub waiters: OrdMap<ThreadKey, usize>,
}

/// One session with what changes between two commits: what is answered about it.
#[derive(Clone, Debug)]
pub struct View {
    /// The session.
    pub session: Arc<SessionRecord>,
    /// Its repository.
    pub repo: Option<Arc<RepoRecord>>,
    /// Its latest signs of life.
    pub pulse: Pulse,
    /// When its lease runs out, in lease time; none where heartbeats do not count or it has ended.
    pub deadline: Option<u64>,
    /// How long it lives after each sign of life, in milliseconds; none where heartbeats do not count.
    pub ttl_ms: Option<u64>,
    /// Whether its holder process is in another pid namespace, so that only its token keeps it.
    pub has_unknown_holder: bool,
    /// Until when it may be resumed, in lease time; none but where the connection that holds it is lost.
    pub lost_until: Option<u64>,
}

impl Snapshot {
    /// How many callers wait for the thread of a session.
    #[must_use]
    pub fn waiters(&self, session: &SessionRecord) -> usize {
        self.waiters.get(&session.thread_key()).copied().unwrap_or_default()
    }

    /// The session with its latest signs of life.
    #[must_use]
    pub fn view(&self, session: &Arc<SessionRecord>) -> View {
        let lease = self.leases.get(&session.fencing_token).filter(|_| session.is_active()).map(|lease| lease.lock());
        View {
            session: Arc::clone(session),
            repo: self.registry.repo(session.repo).cloned(),
            pulse: lease.as_ref().map_or(session.pulse, |lease| lease.pulse()),
            deadline: lease.as_ref().and_then(|lease| lease.deadline()),
            ttl_ms: lease.as_ref().map_or(session.hold.ttl_ms, |lease| lease.ttl_ms()),
            has_unknown_holder: lease.as_ref().is_some_and(|lease| lease.has_unknown_holder()),
            lost_until: lease.and_then(|lease| lease.lost_until()),
        }
    }
}
