//! What the tests of the registry have in common: short ways to ask for something and to have it happen.

mod model;

use std::path::Path;
use std::sync::Arc;

use proto_schema::{EndReason, ObjectId, ProbeSource, SessionId, SessionStatus, Timestamp};

use super::{
    Actor, AgentRecord, CaptureIntent, Change, Checked, Command, Decision, Difference, Entry, Folding, HoldRecord,
    HolderProcess, Intent, Records, Registry, RepoKey, RepoSeen, RequestRecord, Reserve, SessionRecord, ThreadKey,
    TokenHash, decide,
};

pub(crate) fn state(number: u8) -> ObjectId {
    ObjectId::from_bytes(&[number; 20]).unwrap()
}

pub(crate) fn id(number: u64) -> SessionId {
    SessionId::from_random(u128::from(number))
}

pub(crate) fn secret(number: u64) -> TokenHash {
    TokenHash([number.to_le_bytes()[0]; 32])
}

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}

pub(crate) fn actor() -> Actor {
    Actor { pid: Some(1), executable: None }
}

pub(crate) fn process(pid: i32) -> HolderProcess {
    HolderProcess { pid, start_time: 1, boot_id: "boot".into(), pid_namespace: 1, namespace_id: 0 }
}

pub(crate) fn repo(number: u64) -> RepoSeen {
    let key = RepoKey { device: 1, inode: number };
    RepoSeen {
        key,
        git_dir: Path::new(&format!("/r{number}/.git")).into(),
        shown: "/r".into(),
        moved: false,
        folding: Folding::None,
        mark: None,
        born: None,
    }
}

pub(crate) fn request(name: &str, params: &[(&str, u64)]) -> RequestRecord {
    let params = params.iter().map(|(name, digest)| (Arc::from(*name), *digest)).collect();
    RequestRecord { id: name.parse().unwrap(), params }
}

/// Asks for a thread whose branch is there, at state 1.
pub(crate) fn reserve(number: u64, thread: &str) -> Reserve {
    Reserve {
        id: id(number),
        token_hash: secret(number),
        request: None,
        repo: repo(1),
        thread: thread.parse().unwrap(),
        anchor: state(1),
        root: state(101),
        tip: Some(state(1)),
        seen: u64::MAX,
        era: u64::MAX,
        hold: HoldRecord { ttl_ms: Some(300_000), process: None, connection: false, further_token: None },
        connection: None,
        agent: Arc::new(agent()),
        path: None,
        target_thread: None,
        worktree: false,
        at: at(0),
        max_active: 1000,
    }
}

pub(crate) fn agent() -> AgentRecord {
    AgentRecord { probe_source: ProbeSource::None, ..AgentRecord::unknown() }
}

pub(crate) fn happen(registry: &mut Registry, ms: i64, change: Change) -> Entry {
    let entry = registry.entry(at(ms), change);
    registry.apply(&entry);
    entry
}

/// Has a command happen that must be granted.
pub(crate) fn did(registry: &mut Registry, ms: i64, command: &Command) -> Entry {
    match decide(registry, command) {
        Ok(Decision::Change(change)) => happen(registry, ms, change),
        other => panic!("{command:?} was answered {other:?}"),
    }
}

pub(crate) fn grant(registry: &mut Registry, reserve: Reserve) -> Arc<SessionRecord> {
    let id = reserve.id;
    did(registry, reserve.at.unix_ms(), &Command::Reserve(Box::new(reserve)));
    Arc::clone(registry.session(id).unwrap())
}

pub(crate) fn release(number: u64, status: SessionStatus) -> Command {
    Command::Release { session: id(number), token_hash: secret(number), status }
}

pub(crate) fn evict(number: u64) -> Command {
    Command::Evict { session: id(number), by: actor(), note: "stuck".parse().unwrap() }
}

pub(crate) fn end(number: u64, reason: EndReason) -> Command {
    Command::End { session: id(number), reason }
}

pub(crate) fn settle(number: u64) -> Command {
    Command::Settle { session: id(number), created: true, path: None }
}

pub(crate) fn begin_move(number: u64, expected: u8, new: u8) -> Command {
    let intent = Intent::Move { expected: Some(state(expected)), new: state(new) };
    Command::BeginMove { session: id(number), token_hash: secret(number), intent }
}

pub(crate) fn begin_capture(number: u64, parent: u8, new: u8) -> Command {
    let worktree_git_dir = Path::new("/r1/.git/worktrees/w").into();
    let capture = CaptureIntent { worktree_git_dir, parent: state(parent), new: state(new), changed_count: 3 };
    let intent = Intent::Capture(Box::new(capture));
    Command::BeginMove { session: id(number), token_hash: secret(number), intent }
}

pub(crate) fn finish_move(number: u64, moved: bool) -> Command {
    Command::FinishMove { session: id(number), moved }
}

pub(crate) fn check(number: u64, tip: u8, ready: bool) -> Command {
    let checked = Checked { tip: state(tip), verification: None, confidence: None };
    Command::Check { session: id(number), token_hash: secret(number), ready, checked, seen: u64::MAX }
}

pub(crate) fn key(registry: &Registry, number: u64, thread: &str) -> ThreadKey {
    (registry.repo_at(repo(number).key).unwrap().id, thread.parse().unwrap())
}

/// The registry as a store gives it back: made anew of its records.
pub(crate) fn restored(registry: &Registry) -> Registry {
    let mut records = Records { counters: registry.counters(), ..Records::default() };
    for difference in registry.since(&Registry::default()) {
        match difference {
            Difference::Repo(repo) => records.repos.push(repo),
            Difference::Session(session) => records.sessions.push(session),
            Difference::Thread(thread) => records.threads.push(thread),
            Difference::SessionForgotten(_) => {}
        }
    }
    Registry::restore(records)
}
