//! R5: replaying the journal on a checkpoint that was cut off anywhere ends in the state before the crash.

use proptest::prelude::*;

use super::history::History;
use crate::registry::{Difference, Records, Registry};

fn records(registry: &Registry) -> Records {
    let mut records = Records { counters: registry.counters(), ..Records::default() };
    for difference in registry.since(&Registry::default()) {
        match difference {
            Difference::Repo(repo) => records.repos.push(repo),
            Difference::Session(session) => records.sessions.push(session),
            Difference::Thread(thread) => records.threads.push(thread),
            Difference::SessionForgotten(_) => {}
        }
    }
    records
}

fn records_of(registry: &Registry) -> Vec<Difference> {
    registry.since(&Registry::default()).collect()
}

fn overwrite(records: &mut Records, difference: Difference) {
    match difference {
        Difference::Repo(repo) => {
            records.repos.retain(|known| known.id != repo.id);
            records.repos.push(repo);
        }
        Difference::Session(session) => {
            records.sessions.retain(|known| known.fencing_token != session.fencing_token);
            records.sessions.push(session);
        }
        Difference::Thread(thread) => {
            records.threads.retain(|known| (known.repo, &known.thread) != (thread.repo, &thread.thread));
            records.threads.push(thread);
        }
        Difference::SessionForgotten(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn r5_a_checkpoint_cut_off_anywhere_is_healed_by_the_replay(
        steps in proptest::collection::vec((any::<u8>(), 0u8..4, any::<u8>()), 1..60),
        first in 0usize..60,
        second in 0usize..60,
        written in proptest::collection::vec(any::<bool>(), 30),
    ) {
        let (first, second) = (first.min(second).min(steps.len()), first.max(second).min(steps.len()));
        let mut history = History::default();
        let mut old = (Registry::default(), 0);
        let mut new = Registry::default();
        for (index, (action, thread, value)) in steps.iter().enumerate() {
            if index == first {
                old = (history.registry.clone(), history.entries.len());
            }
            if index == second {
                new = history.registry.clone();
            }
            history.step(*action, *thread, *value);
        }
        if second == steps.len() {
            new = history.registry.clone();
        }
        if first == steps.len() {
            old = (history.registry.clone(), history.entries.len());
        }
        let mut records = records(&old.0);
        for (difference, written) in new.since(&old.0).zip(written.iter().cycle()) {
            if *written {
                overwrite(&mut records, difference);
            }
        }
        let mut healed = Registry::restore(records);
        for entry in &history.entries[old.1..] {
            healed.apply(entry);
        }
        prop_assert_eq!(records_of(&healed), records_of(&history.registry), "{:?}", history.entries.iter().map(|entry| &entry.change).collect::<Vec<_>>());
        prop_assert_eq!(healed, history.registry);
    }
}
