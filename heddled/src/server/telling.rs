//! Operations as they stand on the wire, made once for all subscribers who are told of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use proto_schema::Event;
use serde_json::value::{RawValue, to_raw_value};

use super::wire;
use crate::registry::{OperationRecord, Registry};

/// How many operations are kept as text: those that some subscribers were told of and others will be next.
const KEPT: usize = 128;

/// The newest operations that were told, by their revisions.
#[derive(Default)]
pub(super) struct Telling {
    newest: Mutex<BTreeMap<u64, Arc<RawValue>>>,
}

impl Telling {
    /// An operation as it stands on the wire; none where it cannot be written, which is a defect.
    pub(super) fn operation(&self, registry: &Registry, record: &OperationRecord) -> Option<Arc<RawValue>> {
        if let Some(made) = self.newest.lock().get(&record.revision) {
            return Some(Arc::clone(made));
        }
        let made = text(&Event::Operation(wire::operation(registry, record)))?;
        let mut newest = self.newest.lock();
        newest.insert(record.revision, Arc::clone(&made));
        if newest.len() > KEPT {
            // Whoever reads back what is older leaves the newest where they are.
            newest.pop_first();
        }
        Some(made)
    }
}

/// An event as it stands on the wire.
pub(super) fn text(event: &Event) -> Option<Arc<RawValue>> {
    to_raw_value(event).ok().map(Arc::from)
}

#[cfg(test)]
mod tests {
    use proto_schema::{OperationKind, Timestamp};

    use super::*;
    use crate::registry::Detail;

    fn record(revision: u64) -> OperationRecord {
        OperationRecord {
            revision,
            at: Timestamp::from_unix_ms(0),
            kind: OperationKind::DaemonStarted,
            repo: None,
            thread: None,
            session: None,
            detail: Detail::default(),
        }
    }

    #[test]
    fn an_operation_is_made_into_text_once_and_whoever_reads_back_spoils_that_for_nobody() {
        let (telling, registry) = (Telling::default(), Registry::default());
        let made = |revision| telling.operation(&registry, &record(revision)).unwrap();
        let newest: Vec<_> = (1_000..1_000 + KEPT as u64).map(made).collect();
        assert!(newest[0].get().contains("\"revision\":1000"), "{}", newest[0]);
        for revision in 1..500 {
            assert!(made(revision).get().contains(&format!("\"revision\":{revision},")));
        }
        for (revision, text) in (1_000..).zip(&newest) {
            assert!(Arc::ptr_eq(&made(revision), text), "{revision} was made again");
        }
        made(5_000);
        assert_eq!(telling.newest.lock().len(), KEPT, "no more are kept");
        assert!(!Arc::ptr_eq(&made(1_000), &newest[0]), "the oldest is the one that is not");
    }
}
