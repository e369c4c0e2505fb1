//! What was seen of a branch, against what is known of its thread: plain Git may move a branch at any time.

use proto_schema::{ObjectId, SessionId, SessionStatus, ThreadState};

use super::change::Change;
use super::record::ThreadKey;
use super::state::Registry;

/// A branch as it was just read.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The thread.
    pub thread: ThreadKey,
    /// Its branch's tip; none where there is no branch.
    pub tip: Option<ObjectId>,
    /// The registry's revision before the branch was read.
    pub seen: u64,
    /// The session whose end this look follows: what the branch has then, it got while that session held it.
    pub ended: Option<SessionId>,
}

/// Says what an observation changes: nothing when the branch is where the thread's record says, when the record is newer
/// than the look, or while a session is in the middle of a change of the branch.
#[must_use]
pub fn observe(registry: &Registry, observation: &Observation) -> Option<Change> {
    let Observation { thread, tip, seen, ended } = observation;
    let record = registry.thread(thread).filter(|record| record.revision <= *seen && record.current_state != *tip)?;
    let holder = registry.holder(thread);
    if holder.is_some_and(|holder| holder.intent.is_some()) {
        return None;
    }
    let is_left = || {
        let session = ended.and_then(|id| registry.session(id));
        session.is_some_and(|session| session.status == SessionStatus::Abandoned && session.has_changes(*tip))
    };
    let state = match (holder, record.state) {
        (Some(_), _) => ThreadState::Active,
        (None, ThreadState::Draft) if is_left() => ThreadState::Abandoned,
        // What was checked is not what is there now.
        (None, ThreadState::Active | ThreadState::Ready | ThreadState::Blocked) => ThreadState::Draft,
        // What was merged may be deleted; what goes on after it is not merged.
        (None, ThreadState::Merged) if tip.is_some() => ThreadState::Draft,
        (None, state) => state,
    };
    let (repo, thread) = thread.clone();
    Some(Change::Observed { repo, thread, before: record.current_state, after: *tip, state })
}

#[cfg(test)]
mod tests {
    use proto_schema::{EndReason, OperationKind};

    use super::*;
    use crate::registry::tests::{
        at, begin_move, did, end, finish_move, grant, happen, id, key, release, reserve, state,
    };
    use crate::registry::{ThreadRecord, decide};

    fn seen(registry: &Registry, tip: Option<u8>, ended: Option<u64>) -> Observation {
        let thread = key(registry, 1, "t");
        Observation { thread, tip: tip.map(state), seen: registry.revision(), ended: ended.map(id) }
    }

    fn record(registry: &Registry) -> ThreadRecord {
        ThreadRecord::clone(registry.thread(&key(registry, 1, "t")).unwrap())
    }

    fn look(registry: &mut Registry, tip: Option<u8>, ended: Option<u64>) -> bool {
        let observed = observe(registry, &seen(registry, tip, ended));
        observed.map(|change| happen(registry, 5, change)).is_some()
    }

    #[test]
    fn a_branch_that_plain_git_moved_is_recorded_once_and_changes_no_session() {
        let mut registry = Registry::default();
        let session = grant(&mut registry, reserve(1, "t"));
        assert!(!look(&mut registry, Some(1), None), "where it is known to be");
        let change = observe(&registry, &seen(&registry, Some(2), None)).unwrap();
        let entry = happen(&mut registry, 5, change);
        let told = registry.operation(&entry).unwrap();
        assert_eq!((told.kind, told.session), (OperationKind::ThreadMoved, None));
        assert_eq!((told.detail.before, told.detail.after), (Some(state(1)), Some(state(2))));
        assert_eq!((told.repo, told.thread), (Some(session.repo), Some(session.thread.clone())));
        assert_eq!(record(&registry).current_state, Some(state(2)));
        assert_eq!(**registry.session(id(1)).unwrap(), *session, "what the session recorded is its own");
        assert!(!look(&mut registry, Some(2), None));
        assert!(look(&mut registry, None, None), "a branch that was deleted moved, too");
        assert_eq!(record(&registry).current_state, None);
    }

    #[test]
    fn a_look_from_before_the_last_change_or_into_one_under_way_says_nothing() {
        let mut registry = Registry::default();
        grant(&mut registry, reserve(1, "t"));
        let old = seen(&registry, Some(1), None);
        did(&mut registry, 1, &begin_move(1, 1, 2));
        assert_eq!(observe(&registry, &seen(&registry, Some(2), None)), None, "the daemon itself moves it");
        did(&mut registry, 2, &finish_move(1, true));
        assert_eq!(observe(&registry, &old), None, "it was read before it moved");
        assert!(decide(&registry, &release(1, SessionStatus::Complete)).is_ok());
    }

    #[test]
    fn a_session_that_left_commits_of_plain_git_has_changed_its_thread() {
        // Seen while it was held, or right after; and not when somebody commits there later.
        for (before, after, expected) in [
            (Some(2), None, ThreadState::Abandoned),
            (None, Some((2, Some(1))), ThreadState::Abandoned),
            (None, Some((2, None)), ThreadState::Draft),
            (None, None, ThreadState::Draft),
        ] {
            let mut registry = Registry::default();
            grant(&mut registry, reserve(1, "t"));
            if let Some(tip) = before {
                assert!(look(&mut registry, Some(tip), None));
            }
            did(&mut registry, 9, &end(1, EndReason::ProcessExited));
            if let Some((tip, ended)) = after {
                assert!(look(&mut registry, Some(tip), ended));
            }
            assert_eq!(record(&registry).state, expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn what_was_ready_and_moved_is_ready_no_more() {
        for (is_held, expected) in [(true, ThreadState::Active), (false, ThreadState::Draft)] {
            let mut registry = Registry::default();
            grant(&mut registry, reserve(1, "t"));
            if !is_held {
                did(&mut registry, 1, &release(1, SessionStatus::Complete));
            }
            let ready = ThreadRecord { state: ThreadState::Ready, updated_at: at(2), ..record(&registry) };
            registry.threads.insert(key(&registry, 1, "t"), ready.into());
            assert!(look(&mut registry, Some(2), None));
            assert_eq!(record(&registry).state, expected, "held: {is_held}");
        }
    }
}
