//! `events.*`: the operation log, live.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Operation, PathText, SessionId, ThreadName, Timestamp};

/// Names a subscription among those of its daemon: `sub-7`. It means nothing to another daemon, nor after a restart.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SubscriptionId(Arc<str>);

impl SubscriptionId {
    /// The subscription of that number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self(format!("sub-{number}").into())
    }

    /// Its number, if it is one of ours.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        let number = self.0.strip_prefix("sub-")?.parse().ok()?;
        // `sub-07` and `sub-+7` are nobody's.
        (*self == Self::new(number)).then_some(number)
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parameters of `events.subscribe`. Each filter that is given must match; an event about no thread (`daemon_started`) is
/// given only where nothing is filtered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscribeParams {
    /// Only this repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<PathText>,
    /// Only this thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<Arc<str>>,
    /// Only this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Begin with what happened after this revision: the `revision` of the last event seen, or of `daemon.info`, or of
    /// `oplog.list`. At most the newest revision. Without it: with what happens from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Parameters of `events.unsubscribe`: `{"subscription": ".."}`, or `[".."]` as some libraries send it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnsubscribeParams {
    /// A subscription of this connection.
    pub subscription: SubscriptionId,
}

/// The kind of a [`Lagged`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LaggedKind {
    /// The subscriber fell behind.
    Lagged,
}

/// The last event of a subscription that fell behind. Nothing is lost: subscribe again with `after` of
/// `detail.resume_after`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Lagged {
    /// The same as `detail.resume_after`.
    pub revision: u64,
    /// When it was noticed, by the wall clock.
    pub at: Timestamp,
    /// Always `lagged`.
    pub kind: LaggedKind,
    /// Always null.
    pub repo: Option<Arc<str>>,
    /// Always null.
    pub thread: Option<ThreadName>,
    /// Always null.
    pub session_id: Option<SessionId>,
    /// Where to go on.
    pub detail: LaggedDetail,
}

/// Where a subscriber that fell behind goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LaggedDetail {
    /// Everything up to this revision that matches was given, and nothing after it.
    pub resume_after: u64,
}

impl Lagged {
    /// The end of a subscription that was given everything up to this revision.
    #[must_use]
    pub fn new(resume_after: u64, at: Timestamp) -> Self {
        Self {
            revision: resume_after,
            at,
            kind: LaggedKind::Lagged,
            repo: None,
            thread: None,
            session_id: None,
            detail: LaggedDetail { resume_after },
        }
    }
}

/// What a subscriber is told: an operation, or that it fell behind.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Event {
    /// Something happened.
    Operation(Operation),
    /// The subscriber fell behind; its subscription has ended.
    Lagged(Lagged),
}

/// Parameters of the notification `events.event`. Its revisions rise; where something is filtered, not by one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EventParams {
    /// Which subscription.
    pub subscription: SubscriptionId,
    /// What happened.
    pub result: Event,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_subscription_has_one_name() {
        assert_eq!(SubscriptionId::new(7).number(), Some(7));
        for name in ["sub-07", "sub-+7", "sub-", "7", "sub-7 ", "sub-18446744073709551616"] {
            let id: SubscriptionId = serde_json::from_value(json!(name)).unwrap();
            assert_eq!(id.number(), None, "{name}");
        }
    }

    #[test]
    fn an_event_reads_as_what_it_is() {
        let lagged = Event::Lagged(Lagged::new(7, Timestamp::from_unix_ms(0)));
        let wire = serde_json::to_value(&lagged).unwrap();
        assert_eq!((&wire["kind"], &wire["detail"]), (&json!("lagged"), &json!({"resume_after": 7})));
        assert_eq!(wire["repo"], serde_json::Value::Null, "absent is null");
        assert_eq!(serde_json::from_value::<Event>(wire).unwrap(), lagged);
        let wire = json!({"revision": 3, "at": "2026-08-01T12:00:00.000Z", "kind": "daemon_started", "repo": null,
            "thread": null, "session_id": null, "detail": {}});
        assert!(matches!(serde_json::from_value(wire).unwrap(), Event::Operation(_)));
    }
}
