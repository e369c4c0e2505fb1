//! What was seen of a thread's target: its work may have reached it by any means, `heddled` integrates nothing itself.

use proto_schema::{FencingToken, ObjectId, ThreadState};

use super::change::Change;
use super::record::ThreadKey;
use super::state::Registry;

/// A thread's work as it was just found in its target.
#[derive(Clone, Debug, PartialEq)]
pub struct Merging {
    /// The thread.
    pub thread: ThreadKey,
    /// Its tip; of a branch that was deleted, the last that is known.
    pub tip: ObjectId,
    /// The target's commit that has its work.
    pub merged_state: ObjectId,
    /// The registry's revision before the branches were read.
    pub seen: u64,
}

/// Says what that changes: nothing when it is known, when the record is newer than the look, while a session holds the thread,
/// or when there was never any work on it.
#[must_use]
pub fn merge(registry: &Registry, merging: &Merging) -> Option<Change> {
    let Merging { thread, tip, merged_state, seen } = merging;
    let is_open = |state| state != ThreadState::Merged && state != ThreadState::Promoted;
    let record = registry.thread(thread)?;
    let has_work = record.revision <= *seen && *tip != record.base_state && is_open(record.state);
    if !has_work || registry.holder(thread).is_some() {
        return None;
    }
    let (repo, name) = thread.clone();
    let through = registry.sessions_of(thread.clone(), None).next().map_or(FencingToken(0), |last| last.fencing_token);
    Some(Change::Merged { repo, thread: name, tip: *tip, merged_state: *merged_state, through })
}

#[cfg(test)]
mod tests {
    use proto_schema::{EndReason, OperationKind, SessionStatus};

    use super::*;
    use crate::registry::tests::{begin_move, did, end, finish_move, grant, happen, id, key, release, reserve, state};

    fn worked() -> Registry {
        let mut registry = Registry::default();
        grant(&mut registry, reserve(1, "t"));
        did(&mut registry, 1, &end(1, EndReason::ProcessExited));
        grant(&mut registry, reserve(2, "t"));
        did(&mut registry, 2, &begin_move(2, 1, 2));
        did(&mut registry, 3, &finish_move(2, true));
        registry
    }

    fn found(registry: &Registry, tip: u8) -> Merging {
        let thread = key(registry, 1, "t");
        Merging { thread, tip: state(tip), merged_state: state(9), seen: registry.revision() }
    }

    #[test]
    fn a_thread_is_merged_once_with_its_complete_sessions_and_no_other() {
        let mut registry = worked();
        assert_eq!(merge(&registry, &found(&registry, 2)), None, "it is held");
        did(&mut registry, 4, &release(2, SessionStatus::Complete));
        let change = merge(&registry, &found(&registry, 2)).unwrap();
        let entry = happen(&mut registry, 5, change);
        let told = registry.operation(&entry).unwrap();
        assert_eq!((told.kind, told.session, told.thread), (OperationKind::Merged, None, Some("t".parse().unwrap())));
        assert_eq!((told.detail.before, told.detail.after), (Some(state(2)), Some(state(9))));
        let status = |number| registry.session(id(number)).map(|session| (session.status, session.end_reason)).unwrap();
        assert_eq!(status(1), (SessionStatus::Abandoned, Some(EndReason::ProcessExited)), "R4");
        assert_eq!(status(2), (SessionStatus::Merged, Some(EndReason::Merged)));
        let record = registry.thread(&key(&registry, 1, "t")).unwrap();
        assert_eq!((record.state, record.merged_state), (ThreadState::Merged, Some(state(9))));
        assert_eq!(merge(&registry, &found(&registry, 2)), None, "it is known");
    }

    #[test]
    fn what_was_never_worked_on_or_has_changed_since_is_not_merged() {
        let mut registry = worked();
        let old = found(&registry, 2);
        did(&mut registry, 4, &release(2, SessionStatus::Complete));
        assert_eq!(merge(&registry, &old), None, "it changed after it was looked at");
        assert_eq!(merge(&registry, &found(&registry, 1)), None, "it is where it began");
    }

    #[test]
    fn r5_a_replay_upon_a_later_state_merges_no_later_session() {
        let mut registry = worked();
        did(&mut registry, 4, &release(2, SessionStatus::Complete));
        let change = merge(&registry, &found(&registry, 2)).unwrap();
        let merged = happen(&mut registry, 5, change);
        let mut again = reserve(3, "t");
        (again.anchor, again.tip) = (state(2), Some(state(2)));
        grant(&mut registry, again);
        did(&mut registry, 7, &release(3, SessionStatus::Complete));
        let after = registry.clone();
        registry.apply(&merged);
        assert_eq!(registry, after);
    }
}
