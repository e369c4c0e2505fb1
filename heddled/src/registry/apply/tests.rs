//! What is kept, for how long, and what becomes of a thread's record.

use proto_schema::{EndReason, FencingToken, SessionStatus, ThreadState};

use super::*;
use crate::registry::tests::{
    at, begin_move, did, end, finish_move, grant, happen, id, key, release, repo, request, reserve, settle, state,
};
use crate::registry::{Command, RepoId, Reserve};

fn thread(registry: &Registry) -> &ThreadRecord {
    registry.thread(&key(registry, 1, "a")).unwrap()
}

fn prune(registry: &mut Registry, ms: i64) -> Entry {
    happen(registry, ms, Change::Pruned { as_of: at(ms) })
}

#[test]
fn ended_sessions_are_kept_seven_days_by_the_time_of_a_pruning() {
    let mut registry = Registry::default();
    grant(&mut registry, Reserve { request: Some(request("r", &[])), ..reserve(1, "a") });
    did(&mut registry, 1000, &release(1, SessionStatus::Complete));
    grant(&mut registry, Reserve { at: at(100 * ENDED_KEPT_MS), ..reserve(2, "a") });
    happen(&mut registry, 100 * ENDED_KEPT_MS, Change::Pulses(Vec::new()));
    assert!(registry.session(id(1)).is_some(), "whatever the clock shows, no other change forgets");
    prune(&mut registry, ENDED_KEPT_MS + 1000);
    assert!(registry.session(id(1)).is_some(), "seven days to the millisecond");
    prune(&mut registry, -5_000_000);
    assert!(registry.session(id(1)).is_some(), "a clock that was set back forgets nobody");
    prune(&mut registry, ENDED_KEPT_MS + 1001);
    assert!(registry.session(id(1)).is_none());
    assert!(registry.request(&"r".parse().unwrap()).is_none(), "and its request");
    assert_eq!(registry.sessions_of(key(&registry, 1, "a"), None).count(), 1);
    assert!(registry.session(id(2)).is_some(), "an active session is kept whatever the time");
    prune(&mut registry, 100 * ENDED_KEPT_MS);
    assert_eq!(registry.active_count(), 1);
    assert_eq!(grant(&mut registry, reserve(3, "b")).fencing_token, FencingToken(3), "R2: forgetting lowers nothing");
}

#[test]
fn no_more_ended_sessions_are_kept_than_may_be() {
    let mut registry = Registry::default();
    for number in 0..5 {
        grant(&mut registry, reserve(number, "a"));
        did(&mut registry, 0, &release(number, SessionStatus::Complete));
    }
    registry.forget_beyond(3);
    let kept: Vec<_> = registry.sessions(None).map(|session| session.id).collect();
    assert_eq!(kept, [id(4), id(3), id(2)], "the oldest went first");
}

#[test]
fn a_thread_is_what_its_last_session_made_of_it() {
    let cases: [(&[Command], ThreadState); 5] = [
        (&[], ThreadState::Active),
        (&[release(1, SessionStatus::Complete)], ThreadState::Draft),
        (&[release(1, SessionStatus::Abandoned)], ThreadState::Draft),
        (&[begin_move(1, 1, 2), finish_move(1, true), end(1, EndReason::HeartbeatExpired)], ThreadState::Abandoned),
        (&[begin_move(1, 1, 2), finish_move(1, false), end(1, EndReason::HeartbeatExpired)], ThreadState::Draft),
    ];
    for (commands, expected) in cases {
        let mut registry = Registry::default();
        grant(&mut registry, reserve(1, "a"));
        for command in commands {
            did(&mut registry, 0, command);
        }
        assert_eq!(thread(&registry).state, expected, "{commands:?}");
    }
}

#[test]
fn a_reserve_that_failed_leaves_no_thread_that_was_not_there() {
    let mut registry = Registry::default();
    grant(&mut registry, Reserve { tip: None, ..reserve(1, "a") });
    assert!(registry.thread(&key(&registry, 1, "a")).is_none(), "not before its branch is there");
    did(&mut registry, 0, &end(1, EndReason::ReserveFailed));
    assert!(registry.thread(&key(&registry, 1, "a")).is_none());
    assert!(registry.holder(&key(&registry, 1, "a")).is_none(), "and it is free");
}

#[test]
fn a_thread_keeps_its_base_until_its_branch_is_made_anew() {
    let mut registry = Registry::default();
    grant(&mut registry, reserve(1, "a"));
    did(&mut registry, 1, &release(1, SessionStatus::Complete));
    let at_two = Reserve { anchor: state(2), tip: Some(state(2)), at: at(2), ..reserve(2, "a") };
    grant(&mut registry, at_two);
    assert_eq!((thread(&registry).base_state, thread(&registry).created_at), (state(1), at(0)));
    did(&mut registry, 3, &release(2, SessionStatus::Complete));
    grant(&mut registry, Reserve { anchor: state(3), tip: None, at: at(4), ..reserve(3, "a") });
    did(&mut registry, 5, &settle(3));
    assert_eq!((thread(&registry).base_state, thread(&registry).created_at), (state(3), at(5)));
}

#[test]
fn a_worktree_that_comes_late_makes_no_second_thread() {
    let mut registry = Registry::default();
    grant(&mut registry, Reserve { tip: None, ..reserve(1, "a") });
    did(&mut registry, 1, &settle(1));
    let before = thread(&registry).clone();
    let late = Command::Settle { session: id(1), created: false, path: Some("/w".into()) };
    let entry = did(&mut registry, 9, &late);
    assert!(!entry.change.is_operation(), "the branch was made once, and told once");
    assert!(registry.session(id(1)).unwrap().thread_created);
    assert_eq!(thread(&registry).created_at, before.created_at);
    assert_eq!(thread(&registry).execution_path.as_deref(), Some("/w"));
}

#[test]
fn nothing_of_an_ended_session_changes() {
    let mut registry = Registry::default();
    let session = grant(&mut registry, reserve(1, "a"));
    did(&mut registry, 1, &release(1, SessionStatus::Complete));
    let ended = Arc::clone(registry.session(id(1)).unwrap());
    let session_id = session.id;
    let hold = crate::registry::HoldRecord::default();
    let intent = Intent::Worktree;
    for change in [
        Change::Pulses(vec![(session_id, crate::registry::Pulse { heartbeat_at: at(9), ..session.pulse })]),
        Change::Held { session: session_id, hold },
        Change::MoveIntended { session: session_id, intent },
        Change::Moved { session: session_id, before: None, after: state(9) },
        Change::Settled { session: session_id, created: true, path: Some("/w".into()) },
        Change::MoveDropped { session: session_id },
    ] {
        happen(&mut registry, 2, change);
        assert_eq!(registry.session(id(1)), Some(&ended), "R4");
    }
}

#[test]
fn a_forgotten_session_that_a_replay_brings_back_takes_no_request_away() {
    let mut registry = Registry::default();
    let mut entries = Vec::new();
    let asked = |number, ms| Reserve { request: Some(request("r", &[])), at: at(ms), ..reserve(number, "a") };
    let later = ENDED_KEPT_MS + 10;
    entries.push(did(&mut registry, 0, &Command::Reserve(Box::new(asked(1, 0)))));
    entries.push(did(&mut registry, 1, &release(1, SessionStatus::Complete)));
    entries.push(prune(&mut registry, later));
    entries.push(did(&mut registry, later, &Command::Reserve(Box::new(asked(2, later)))));
    let mut again = registry.clone();
    entries.iter().for_each(|entry| again.apply(entry));
    assert_eq!(again, registry, "R5");
    assert_eq!(again.request(&"r".parse().unwrap()).map(|session| session.id), Some(id(2)));
}

#[test]
fn a_place_has_one_repository_after_a_restart_too() {
    let mut registry = Registry::default();
    grant(&mut registry, reserve(1, "a"));
    grant(&mut registry, Reserve { repo: repo(2), ..reserve(2, "a") });
    // The machine started anew, and the device and inode of the second are now the first's.
    let first = RepoRecord { key: repo(2).key, ..RepoRecord::clone(registry.repo(RepoId(1)).unwrap()) };
    happen(&mut registry, 1, Change::RepoSeen(Arc::new(first)));
    assert_eq!(registry.repo_at(repo(2).key).map(|repo| repo.id), Some(RepoId(1)));
    assert_eq!(super::super::tests::restored(&registry), registry, "R5: else its threads could be granted twice");
}
