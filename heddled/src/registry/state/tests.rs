//! Listing: newest first, from a cursor on, one thread's or one repository's and nothing of its neighbours.

use proto_schema::SessionStatus;

use super::*;
use crate::registry::tests::{did, grant, key, release, repo, reserve};
use crate::registry::{Command, Decision, Refusal, Reserve, decide};

fn registry() -> Registry {
    let mut registry = Registry::default();
    for (number, thread) in (1..).zip(["b", "a", "a/x", "b"]) {
        grant(&mut registry, reserve(number, thread));
        did(&mut registry, 0, &release(number, SessionStatus::Complete));
    }
    grant(&mut registry, Reserve { repo: repo(2), ..reserve(5, "b") });
    grant(&mut registry, reserve(6, "b"));
    registry
}

fn tokens<'a>(sessions: impl Iterator<Item = &'a Arc<SessionRecord>>) -> Vec<u64> {
    sessions.map(|session| session.fencing_token.0).collect()
}

#[test]
fn sessions_are_listed_newest_first_from_before_a_cursor() {
    let registry = registry();
    let below = |token| Some(FencingToken(token));
    assert_eq!(tokens(registry.sessions(None)), [6, 5, 4, 3, 2, 1]);
    assert_eq!(tokens(registry.sessions(below(3))), [2, 1]);
    assert_eq!(tokens(registry.active(None)), [6, 5]);
    assert_eq!(tokens(registry.active(below(6))), [5]);
    let thread = key(&registry, 1, "b");
    assert_eq!(tokens(registry.sessions_of(thread.clone(), None)), [6, 4, 1], "not the other repository's");
    assert_eq!(tokens(registry.sessions_of(thread, below(4))), [1]);
    assert_eq!(tokens(registry.sessions_of(key(&registry, 1, "a"), None)), [2], "not those of a/x");
    assert_eq!(tokens(registry.sessions(below(0))), [0; 0]);
}

#[test]
fn threads_are_listed_by_name_after_a_cursor() {
    let registry = registry();
    let names = |repo, after: Option<&str>| -> Vec<String> {
        let after = after.map(|name| name.parse().unwrap());
        registry.threads_of(RepoId(repo), after.as_ref()).map(|thread| thread.thread.as_str().to_owned()).collect()
    };
    assert_eq!(names(1, None), ["a", "a/x", "b"]);
    assert_eq!(names(1, Some("a")), ["a/x", "b"]);
    assert_eq!(names(1, Some("b")), [""; 0], "and nothing of the next repository");
    assert_eq!(names(2, None), ["b"]);
    assert_eq!(names(9, None), [""; 0]);
}

#[test]
fn an_ended_session_is_found_and_holds_nothing() {
    let registry = registry();
    assert!(registry.holder(&key(&registry, 1, "a")).is_none());
    assert_eq!(registry.holder(&key(&registry, 1, "b")).map(|session| session.fencing_token.0), Some(6), "R1");
    assert_eq!((registry.active_count(), registry.sizes()), (2, (6, 4, 2)));
}

#[test]
fn a_branch_that_is_being_made_keeps_its_path_free() {
    let mut registry = Registry::default();
    let made = |number, thread| Reserve { tip: None, ..reserve(number, thread) };
    did(&mut registry, 0, &Command::Reserve(Box::new(made(1, "a/b"))));
    for other in ["a", "a/b/c"] {
        let refused = decide(&registry, &Command::Reserve(Box::new(made(2, other))));
        assert!(
            matches!(&refused, Err(Refusal::NameConflict { existing }) if existing.as_str() == "a/b"),
            "{refused:?}"
        );
    }
    for other in ["a-b", "a/bc", "b"] {
        let granted = decide(&registry, &Command::Reserve(Box::new(made(2, other))));
        assert!(matches!(granted, Ok(Decision::Change(_))), "{other}: {granted:?}");
    }
}
