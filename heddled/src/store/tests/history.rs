//! Makes plausible histories: sessions that reserve, move, end, over a few threads.

use std::sync::Arc;

use proto_schema::{
    EndReason, FencingToken, ObjectId, ProbeSource, SessionId, SessionStatus, ThreadMode, ThreadName, Timestamp,
};

use super::super::Opened;
use crate::registry::{
    AgentRecord, Change, Ending, Entry, HoldRecord, HolderProcess, Intent, OperationRecord, Pulse, Registry, RepoId,
    RepoKey, RepoRecord, RequestRecord, SessionRecord, TokenHash,
};

/// A history in the making.
#[derive(Clone, Default)]
pub(super) struct History {
    pub(super) registry: Registry,
    pub(super) entries: Vec<Entry>,
    pub(super) operations: Vec<OperationRecord>,
    pub(super) now: i64,
}

pub(super) fn state(number: u64) -> ObjectId {
    let mut raw = [0; 20];
    raw[..8].copy_from_slice(&number.to_be_bytes());
    ObjectId::from_bytes(&raw).unwrap()
}

fn agent() -> Arc<AgentRecord> {
    Arc::new(AgentRecord {
        task: "make it work".parse().ok(),
        provider: "anthropic".parse().ok(),
        model: None,
        harness: "claude-code".parse().ok(),
        thinking_level: None,
        policy: None,
        probe_source: ProbeSource::ProcessTree,
        probe_confidence: 0.5,
        parent_session_id: None,
        client_instance_id: None,
        native_actor_key: None,
        native_parent_actor_key: None,
        native_instance_key: None,
        attach_precedence: Vec::new(),
        winning_attach_rule: None,
    })
}

impl History {
    pub(super) fn at(registry: Registry) -> Self {
        Self { registry, ..Self::default() }
    }

    fn happen(&mut self, change: Change) {
        let entry = self.registry.entry(Timestamp::from_unix_ms(self.now), change);
        self.registry.apply(&entry);
        self.operations.extend(self.registry.operation(&entry));
        self.entries.push(entry);
        self.now += 1;
    }

    /// What is too old now goes.
    pub(super) fn prune(&mut self) {
        self.happen(Change::Pruned { as_of: Timestamp::from_unix_ms(self.now) });
    }

    fn pulse(&self) -> Pulse {
        let at = Timestamp::from_unix_ms(self.now);
        Pulse { heartbeat_at: at, last_progress_at: at, usage: None }
    }

    pub(super) fn thread(number: u8) -> ThreadName {
        format!("thread-{number}").parse().unwrap()
    }

    /// One step, chosen by three numbers; whatever they are, something sensible happens.
    pub(super) fn step(&mut self, action: u8, thread: u8, value: u8) {
        let repo = RepoId(1 + u32::from(thread) % 2);
        let key = (repo, Self::thread(thread));
        let holder = self.registry.holder(&key).cloned();
        match (holder, action % 8) {
            (None, 0..=6) => self.reserve(key.0, key.1, value),
            (_, 7) => {
                self.now += i64::from(value) * 3_600_000;
                self.happen(Change::DaemonStarted { version: "1".into(), pid: u32::from(value) });
                if !value.is_multiple_of(2) {
                    self.prune();
                }
            }
            (Some(session), _) if matches!(session.intent, Some(Intent::Create)) && action % 8 != 1 => {
                let (session, path) = (session.id, Some("/w".into()));
                self.happen(Change::Settled { session, created: !value.is_multiple_of(3), path });
            }
            (Some(session), 0 | 1) => {
                let (status, reason) = match value % 3 {
                    0 => (SessionStatus::Complete, EndReason::Released),
                    1 => (SessionStatus::Abandoned, EndReason::HeartbeatExpired),
                    _ => (SessionStatus::Abandoned, EndReason::Evicted),
                };
                let session = session.id;
                self.happen(Change::Ended(Box::new(Ending { session, status, reason, by: None, note: None })));
            }
            (Some(session), 2) => {
                let process = HolderProcess {
                    pid: i32::from(value),
                    start_time: 5,
                    boot_id: "boot".into(),
                    pid_namespace: 4,
                    namespace_id: 0,
                };
                let hold = HoldRecord {
                    ttl_ms: Some(1000),
                    process: Some(process),
                    connection: value.is_multiple_of(2),
                    further_token: None,
                };
                self.happen(Change::Held { session: session.id, hold });
            }
            (Some(session), 3) => {
                let pulse = self.pulse();
                self.happen(Change::Pulses(vec![(session.id, pulse)]));
            }
            (Some(session), _) => {
                let (before, after) = (Some(session.recorded_state), state(1000 + self.entries.len() as u64));
                let session = session.id;
                let intent = Intent::Move { expected: before, new: after };
                self.happen(Change::MoveIntended { session, intent });
                if value.is_multiple_of(4) {
                    self.happen(Change::MoveDropped { session });
                } else {
                    self.happen(Change::Moved { session, before, after });
                }
            }
            (None, _) => {}
        }
    }

    pub(super) fn reserve(&mut self, repo: RepoId, thread: ThreadName, value: u8) {
        let counters = self.registry.counters();
        let known = self.registry.thread(&(repo, thread.clone())).map(|thread| thread.id);
        let token = counters.fencing + 1;
        let session = SessionRecord {
            id: SessionId::from_random(u128::from(token) << 7 | 5),
            repo,
            thread,
            thread_id: known.unwrap_or(counters.thread + 1),
            status: SessionStatus::Active,
            end_reason: None,
            intent: (value.is_multiple_of(2)).then_some(Intent::Create),
            anchor_state: state(token),
            anchor_root: state(token + 500),
            fencing_token: FencingToken(token),
            token_hash: TokenHash([value; 32]),
            hold: HoldRecord { ttl_ms: Some(300_000), process: None, connection: false, further_token: None },
            recorded_state: state(token),
            pulse: self.pulse(),
            started_at: Timestamp::from_unix_ms(self.now),
            completed_at: None,
            path: None,
            agent: agent(),
            request: Some(RequestRecord { id: format!("r{token}").parse().unwrap(), params: vec![("a".into(), 1)] }),
            thread_created: false,
            target_thread: (value.is_multiple_of(5)).then(|| "main".parse().unwrap()),
            mode: ThreadMode::InPlace,
        };
        let known = self.registry.repo(repo).is_some_and(|known| known.key.inode == u64::from(repo.0));
        let repo = (!known).then(|| {
            Arc::new(RepoRecord {
                id: repo,
                key: RepoKey { device: 1, inode: u64::from(repo.0) },
                git_dir: std::path::Path::new("/r/.git").into(),
                shown: "/r".into(),
                mark: None,
                born: None,
            })
        });
        self.happen(Change::Reserved { session: Arc::new(session), repo });
    }

    /// Steps by a simple generator of numbers.
    pub(super) fn steps(&mut self, count: usize, seed: u64) {
        let mut random = seed.wrapping_mul(2).wrapping_add(1);
        for _ in 0..count {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let [.., action, thread, value] = (random >> 20).to_be_bytes();
            // Time jumps are for the tests that want them.
            self.step(if action % 8 == 7 { 6 } else { action }, thread % 6, value);
        }
    }

    /// Appends what has happened since the last time, as one batch.
    pub(super) fn commit(&mut self, opened: &mut Opened) -> Result<(), super::super::Error> {
        let entries = std::mem::take(&mut self.entries);
        opened.store.append(&entries, std::mem::take(&mut self.operations), &self.registry)
    }
}
