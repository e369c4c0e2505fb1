//! The table of decisions: in each state, the answer to each command.

use proto_schema::{EndReason, SessionStatus};

use super::*;
use crate::registry::tests::{
    begin_capture, begin_move, did, end, evict, finish_move, grant, id, key, process, release, repo, request, reserve,
    secret, settle, state,
};
use crate::registry::{HoldRecord, Registry};

const COMPLETE: SessionStatus = SessionStatus::Complete;
const ABANDONED: SessionStatus = SessionStatus::Abandoned;

fn ask(registry: &Registry, reserve: Reserve) -> Result<Decision, Refusal> {
    decide(registry, &Command::Reserve(Box::new(reserve)))
}

/// A registry in which session 1 holds `a`, at state 1.
fn held() -> Registry {
    let mut registry = Registry::default();
    grant(&mut registry, Reserve { request: Some(request("r1", &[("thread", 1)])), ..reserve(1, "a") });
    registry
}

/// A registry in which session 1 holds `a`, with an intent open.
fn busy() -> Registry {
    let mut registry = held();
    did(&mut registry, 0, &begin_move(1, 1, 2));
    registry
}

#[test]
fn a_free_thread_is_granted_with_the_next_fencing_token() {
    let mut registry = held();
    let Ok(Decision::Change(Change::Reserved { session, repo })) = ask(&registry, reserve(2, "b")) else { panic!() };
    assert_eq!(session.fencing_token, FencingToken(2), "R2");
    assert_eq!(repo, None, "the repository is known");
    did(&mut registry, 0, &release(1, COMPLETE));
    let again = grant(&mut registry, reserve(3, "a"));
    assert_eq!(again.fencing_token, FencingToken(2), "R2: decide alone grants nothing");
    assert_eq!(again.thread_id, 1, "the thread keeps its number");
}

#[test]
fn a_held_thread_is_refused_by_the_owners_anchor() {
    let registry = held();
    let owner = Arc::clone(registry.session(id(1)).unwrap());
    let refused = ask(&registry, reserve(2, "a"));
    assert_eq!(refused, Err(Refusal::LiveOwner { owner: Arc::clone(&owner), same_request: false }), "R1");
    let refused = ask(&registry, Reserve { anchor: state(2), tip: Some(state(2)), ..reserve(2, "a") });
    let (reserved, requested) = (state(1), state(2));
    assert_eq!(refused, Err(Refusal::AnchorDrift { owner: Some(owner), reserved, requested }));
    let other = Reserve { repo: repo(2), ..reserve(2, "a") };
    assert!(matches!(ask(&registry, other), Ok(Decision::Change(_))), "R1 is about one repository");
}

#[test]
fn a_thread_that_moved_on_is_drift_and_not_granted() {
    let refused = ask(&Registry::default(), Reserve { tip: Some(state(9)), ..reserve(1, "a") });
    let (reserved, requested) = (state(9), state(1));
    assert_eq!(refused, Err(Refusal::AnchorDrift { owner: None, reserved, requested }));
}

#[test]
fn what_was_read_before_the_thread_changed_is_read_again() {
    let mut registry = held();
    did(&mut registry, 0, &release(1, COMPLETE));
    let revision = registry.revision();
    let stale = Reserve { seen: revision - 1, tip: Some(state(9)), ..reserve(2, "a") };
    assert_eq!(ask(&registry, stale), Err(Refusal::Outdated), "before any word about its tip");
    assert!(ask(&registry, Reserve { seen: revision, ..reserve(2, "a") }).is_ok());
    assert!(ask(&registry, Reserve { seen: 0, ..reserve(2, "b") }).is_ok(), "another thread did not change");
}

#[test]
fn there_are_no_more_sessions_than_may_be() {
    let registry = held();
    let refused = ask(&registry, Reserve { max_active: 1, ..reserve(2, "b") });
    assert_eq!(refused, Err(Refusal::TooManySessions { value: 1, max: 1 }));
    let refused = ask(&registry, Reserve { max_active: 1, ..reserve(2, "a") });
    assert!(matches!(refused, Err(Refusal::LiveOwner { .. })), "a held thread is told first");
}

#[test]
fn git_work_is_an_intent() {
    let mut registry = Registry::default();
    let created = grant(&mut registry, Reserve { tip: None, ..reserve(1, "a") });
    assert_eq!(created.intent, Some(Intent::Create));
    let worktree = grant(&mut registry, Reserve { worktree: true, ..reserve(2, "b") });
    assert_eq!((worktree.intent.clone(), worktree.mode), (Some(Intent::Worktree), ThreadMode::Worktree));
    assert_eq!(grant(&mut registry, reserve(3, "c")).intent, None);
}

#[test]
fn the_same_request_again_stands_and_another_is_named() {
    let mut registry = held();
    let again = |number, thread, params: &[(&str, u64)]| Reserve {
        token_hash: secret(number),
        request: Some(request("r1", params)),
        ..reserve(9, thread)
    };
    let conflict = |names: &[&str]| {
        let differing = names.iter().map(ToString::to_string).collect();
        Err(Refusal::IdempotencyConflict { request: "r1".parse().unwrap(), differing })
    };
    let session = Arc::clone(registry.session(id(1)).unwrap());
    let moved_on = Reserve { tip: Some(state(9)), seen: 0, max_active: 0, ..again(1, "a", &[("thread", 1)]) };
    assert_eq!(ask(&registry, moved_on), Ok(Decision::Stands(session)), "step 0 comes first");
    assert_eq!(ask(&registry, again(2, "a", &[("thread", 2), ("x", 1)])), conflict(&["reservation_token"]), "only it");
    let other = again(1, "b", &[("anchor", 7), ("thread", 2)]);
    assert_eq!(ask(&registry, other), conflict(&["anchor", "thread"]));
    did(&mut registry, 0, &release(1, COMPLETE));
    let ended = ask(&registry, again(1, "a", &[("thread", 1)]));
    assert!(matches!(ended, Err(Refusal::Inactive(_))), "never a new grant");
    assert_eq!(ask(&registry, again(2, "a", &[])), conflict(&["reservation_token"]), "not even that it ended is told");
}

#[test]
fn the_owner_may_be_the_callers_own_earlier_request() {
    let registry = held();
    // The request is known under another thread only after a restart that lost nothing, so it is a conflict before.
    let Err(Refusal::LiveOwner { same_request, .. }) = ask(&registry, reserve(2, "a")) else { panic!() };
    assert!(!same_request);
}

#[test]
fn every_call_is_checked_in_the_order_not_found_token_inactive() {
    let mut registry = held();
    let hold = |number, secret| Command::Hold { session: id(number), token_hash: secret, hold: HoldRecord::default() };
    let calls = |number, shown| {
        let session = id(number);
        [
            Command::Release { session, token_hash: shown, status: COMPLETE },
            Command::BeginMove { session, token_hash: shown, intent: Intent::Move { expected: None, new: state(2) } },
            hold(number, shown),
        ]
    };
    for call in calls(7, secret(1)) {
        assert_eq!(decide(&registry, &call), Err(Refusal::NotFound), "{call:?}");
    }
    did(&mut registry, 0, &evict(1));
    for call in calls(1, secret(2)) {
        assert_eq!(decide(&registry, &call), Err(Refusal::TokenMismatch), "{call:?}");
    }
    for call in calls(1, secret(1)) {
        assert!(matches!(decide(&registry, &call), Err(Refusal::Inactive(_))), "R4: {call:?}");
    }
    for call in [settle(1), evict(1), finish_move(1, true)] {
        assert!(matches!(decide(&registry, &call), Err(Refusal::Inactive(_))), "R4: {call:?}");
    }
}

#[test]
fn releasing_again_is_the_same_or_too_late() {
    for (first, second) in [(COMPLETE, ABANDONED), (ABANDONED, COMPLETE)] {
        let mut registry = held();
        did(&mut registry, 5, &release(1, first));
        let ended = Arc::clone(registry.session(id(1)).unwrap());
        assert_eq!((ended.status, ended.end_reason), (first, Some(EndReason::Released)));
        assert_eq!(decide(&registry, &release(1, first)), Ok(Decision::Stands(Arc::clone(&ended))));
        assert_eq!(decide(&registry, &release(1, second)), Err(Refusal::Inactive(ended)));
    }
}

#[test]
fn an_end_that_comes_late_changes_nothing() {
    let mut registry = held();
    did(&mut registry, 0, &release(1, COMPLETE));
    let ended = Arc::clone(registry.session(id(1)).unwrap());
    let late = decide(&registry, &end(1, EndReason::HeartbeatExpired));
    assert_eq!(late, Ok(Decision::Stands(ended)), "R4");
    assert_eq!(decide(&registry, &end(9, EndReason::HeartbeatExpired)), Err(Refusal::NotFound));
}

#[test]
fn an_eviction_says_who_and_why() {
    let registry = held();
    let Ok(Decision::Change(Change::Ended(ending))) = decide(&registry, &evict(1)) else { panic!() };
    assert_eq!((ending.status, ending.reason), (ABANDONED, EndReason::Evicted));
    assert!(ending.by.is_some() && ending.note.is_some());
}

#[test]
fn nothing_ends_or_moves_a_session_between_intent_and_outcome() {
    let registry = busy();
    let mut calls = vec![release(1, COMPLETE), evict(1), begin_move(1, 1, 3), settle(1)];
    calls.extend(
        [
            EndReason::ProcessExited,
            EndReason::BootChanged,
            EndReason::HeartbeatExpired,
            EndReason::ConnectionLost,
            EndReason::Evicted,
        ]
        .map(|reason| end(1, reason)),
    );
    for call in calls {
        assert_eq!(decide(&registry, &call), Err(Refusal::Busy), "{call:?}");
    }
    let failed = decide(&registry, &end(1, EndReason::ReserveFailed));
    assert!(matches!(failed, Ok(Decision::Change(Change::Ended(_)))), "whoever did the work says that it is over");
    assert!(matches!(ask(&registry, reserve(2, "a")), Err(Refusal::LiveOwner { .. })), "R1");
}

#[test]
fn a_move_is_recorded_as_what_came_of_it() {
    let mut registry = busy();
    let dropped = decide(&registry, &finish_move(1, false));
    assert_eq!(dropped, Ok(Decision::Change(Change::MoveDropped { session: id(1) })));
    did(&mut registry, 0, &finish_move(1, true));
    let session = registry.session(id(1)).unwrap();
    assert_eq!((session.recorded_state, session.anchor_state, &session.intent), (state(2), state(1), &None));
    assert_eq!(registry.thread(&key(&registry, 1, "a")).unwrap().current_state, Some(state(2)));
}

#[test]
fn a_hold_that_is_so_already_stands() {
    let mut registry = held();
    let hold = HoldRecord { ttl_ms: Some(300_000), process: Some(process(7)), connection: false, further_token: None };
    let command = Command::Hold { session: id(1), token_hash: secret(1), hold };
    did(&mut registry, 0, &command);
    assert!(matches!(decide(&registry, &command), Ok(Decision::Stands(_))));
    assert_eq!(registry.held_by(&process(7)).count(), 1);
    assert_eq!(registry.held_by(&process(8)).count(), 0);
}

#[test]
fn a_repository_that_moved_keeps_its_number() {
    let mut registry = held();
    let before = registry.repo_at(repo(1).key).unwrap().id;
    let mut moved = Reserve { repo: repo(1), ..reserve(2, "b") };
    moved.repo.moved = true;
    moved.repo.git_dir = std::path::Path::new("/elsewhere/.git").into();
    grant(&mut registry, moved);
    let after = registry.repo_at(repo(1).key).unwrap();
    assert_eq!((after.id, after.git_dir.to_str()), (before, Some("/elsewhere/.git")));
    assert!(matches!(ask(&registry, reserve(3, "a")), Err(Refusal::LiveOwner { .. })), "R1: still the same repository");
}

#[test]
fn a_capture_is_recorded_with_what_finishes_it_and_its_outcome_is_what_the_branch_got() {
    let captured = Change::Captured { session: id(1), before: state(1), after: state(2), changed_count: 3 };
    for (moved, outcome, recorded) in
        [(true, captured, state(2)), (false, Change::MoveDropped { session: id(1) }, state(1))]
    {
        let mut registry = held();
        did(&mut registry, 0, &begin_capture(1, 1, 2));
        for call in [release(1, COMPLETE), evict(1), end(1, EndReason::ProcessExited), begin_move(1, 1, 3), settle(1)] {
            assert_eq!(decide(&registry, &call), Err(Refusal::Busy), "the intent is open: {call:?}");
        }
        let finish = finish_move(1, moved);
        assert_eq!(decide(&registry, &finish), Ok(Decision::Change(outcome)));
        let entry = did(&mut registry, 0, &finish);
        let session = registry.session(id(1)).unwrap();
        assert_eq!((session.recorded_state, session.intent.is_none()), (recorded, true));
        assert_eq!(registry.thread(&key(&registry, 1, "a")).unwrap().current_state, Some(recorded));
        let operation = registry.operation(&entry);
        assert_eq!(operation.map(|operation| operation.detail.changed_count), moved.then_some(Some(3)));
    }
}
