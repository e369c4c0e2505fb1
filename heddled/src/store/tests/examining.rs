//! What an examination finds that a start would not.

use std::path::Path;
use std::sync::Arc;

use proto_schema::FencingToken;

use super::super::checkpoint::base;
use super::super::checkpoint::tables::{Meta, Tables};
use super::super::layout::Layout;
use super::super::{RealDisk, Tree, open};
use super::contract::small;
use super::damage::used;
use super::images::examined;
use crate::registry::{Counters, Difference, Registry, SessionRecord};

/// Has the database and its base be what somebody made of them.
fn altered(state: &Path, registry: &Registry, alter: impl FnOnce(&Tables, Meta) -> Meta) -> Vec<String> {
    let layout = Layout::new(state);
    let tables = Tables::open(&layout.database, 1 << 20).unwrap();
    let meta = alter(&tables, tables.load().unwrap().meta);
    tables.finish(&meta).unwrap();
    tables.flush().unwrap();
    base::renew(&layout, &RealDisk, &meta, registry).unwrap();
    drop(tables);
    examined(state).problems
}

fn expect(problems: &[String], words: &str) {
    assert!(problems.iter().any(|problem| problem.contains(words)), "{words}: {problems:?}");
}

#[test]
fn records_that_cannot_be_read_are_told_one_by_one() {
    let (place, registry) = used(true);
    let token = registry.sessions(None).next().unwrap().fencing_token;
    let problems = altered(place.path(), &registry, |tables, meta| {
        tables.spoil(Tree::Sessions, &token.0.to_be_bytes());
        tables.spoil(Tree::Operations, &1u64.to_be_bytes());
        meta
    });
    expect(&problems, "Sessions");
    expect(&problems, "the operations from 1 on");
    assert_eq!(problems.len(), 2, "{problems:?}");
    // A start sets the session aside; what is left is said to have been.
    drop(open(place.path(), &small()).unwrap());
    let found = examined(place.path());
    assert_eq!(found.problems.len(), 1, "the operations stay where they are: {:?}", found.problems);
    assert!(found.notes.iter().any(|note| note.contains("1 records")), "{:?}", found.notes);
}

#[test]
fn a_token_above_the_one_that_counts_as_the_last_is_told() {
    let (place, registry) = used(true);
    let problems = altered(place.path(), &registry, |_, meta| {
        let counters = Counters { fencing: meta.counters.fencing - 1, ..meta.counters };
        Meta::new(meta.id(), meta.applied, counters)
    });
    expect(&problems, "counts as the last one");
}

#[test]
fn two_holders_of_one_thread_are_told() {
    let (place, registry) = used(true);
    let holder = registry.active(None).next().unwrap();
    let (id, token) = (proto_schema::SessionId::from_random(99), FencingToken(registry.counters().fencing + 1));
    let second = SessionRecord { id, fencing_token: token, ..SessionRecord::clone(holder) };
    let layout = Layout::new(place.path());
    let tables = Tables::open(&layout.database, 1 << 20).unwrap();
    let meta = tables.load().unwrap().meta;
    tables.write(&Difference::Session(Arc::new(second))).unwrap();
    let meta = Meta::new(meta.id(), meta.applied, Counters { fencing: token.0, ..meta.counters });
    tables.finish(&meta).unwrap();
    tables.flush().unwrap();
    // As many records as are recorded: the count alone would not tell.
    let mut after = registry.clone();
    let oldest = registry.sessions(None).last().unwrap().fencing_token;
    tables.write(&Difference::SessionForgotten(oldest)).unwrap();
    tables.flush().unwrap();
    after.clone_from(&registry);
    base::renew(&layout, &RealDisk, &meta, &after).unwrap();
    drop(tables);
    expect(&examined(place.path()).problems, "is held twice");
}

#[test]
fn a_record_of_a_later_version_is_refused_and_not_set_aside() {
    let (place, registry) = used(true);
    let token = registry.sessions(None).next().unwrap().fencing_token;
    let layout = Layout::new(place.path());
    let tables = Tables::open(&layout.database, 1 << 20).unwrap();
    tables.of_version(Tree::Sessions, &token.0.to_be_bytes(), 2);
    let meta = tables.load().expect_err("of a later version").to_string();
    assert!(meta.contains("unknown format 2"), "{meta}");
}
