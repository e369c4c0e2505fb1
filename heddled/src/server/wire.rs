//! From the registry's records to the wire's types.

use std::sync::Arc;

use proto_schema::{
    Alive, Band, ConfidenceSummary, Freshness, HeartbeatHold, Hold, OperationKind, ProcessHold, Reservation,
    ReservationToken, SessionStatus, Thread, Timestamp,
};

use serde_json::Value;

use super::context::Context;
use crate::coordinator::{ThreadView, View};
use crate::registry::{OperationRecord, Registry};
use crate::repo::Comparison;

/// A session as everybody may see it; with its token only for its own caller.
pub(super) fn reservation(context: &Context, view: &View, token: Option<ReservationToken>) -> Reservation {
    let View { session, repo, pulse, deadline, ttl_ms, lost_until, .. } = view;
    let agent = &session.agent;
    let expires_at = |ttl_ms: u64| match (deadline, session.completed_at) {
        (Some(deadline), _) => later(context.coordinator.now(), context.coordinator.until(*deadline)),
        (None, Some(ended)) => ended,
        (None, None) => later(pulse.heartbeat_at, ttl_ms),
    };
    Reservation {
        session_id: session.id,
        reservation_token: token,
        fencing_token: session.fencing_token,
        repo: repo.as_ref().map_or_else(|| Arc::from(""), |repo| Arc::clone(&repo.shown)),
        thread: session.thread.clone(),
        anchor_state: session.anchor_state,
        anchor_root: session.anchor_root,
        status: session.status,
        end_reason: session.end_reason,
        hold: Hold {
            heartbeat: ttl_ms.map(|ttl_ms| HeartbeatHold { ttl_ms, expires_at: expires_at(ttl_ms) }),
            process: session
                .hold
                .process
                .as_ref()
                .map(|process| ProcessHold { pid: process.pid, boot_id: Arc::clone(&process.boot_id) }),
            connection: session.hold.connection,
        },
        alive: match session.status {
            SessionStatus::Active if lost_until.is_some() || context.coordinator.is_unknown(session) => Alive::Unknown,
            SessionStatus::Active => Alive::Alive,
            SessionStatus::Complete | SessionStatus::Abandoned | SessionStatus::Merged => Alive::Dead,
        },
        path: session.path.clone(),
        task: agent.task.clone(),
        provider: agent.provider.clone(),
        model: agent.model.clone(),
        harness: agent.harness.clone(),
        thinking_level: agent.thinking_level.clone(),
        policy: agent.policy.clone(),
        probe_source: agent.probe_source,
        probe_confidence: agent.probe_confidence,
        parent_session_id: agent.parent_session_id,
        client_instance_id: agent.client_instance_id.clone(),
        native_actor_key: agent.native_actor_key.clone(),
        native_parent_actor_key: agent.native_parent_actor_key.clone(),
        usage_summary: pulse.usage,
        started_at: session.started_at,
        heartbeat_at: pulse.heartbeat_at,
        last_progress_at: pulse.last_progress_at,
        completed_at: session.completed_at,
    }
}

fn later(at: Timestamp, ms: u64) -> Timestamp {
    at.plus_ms(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// How a thread stands to a target that it was compared with.
pub(super) fn freshness(comparison: Option<&Comparison>) -> Freshness {
    match comparison {
        Some(comparison) if comparison.behind == 0 && comparison.merge_base.is_some() => Freshness::Current,
        Some(_) => Freshness::Stale,
        None => Freshness::Unknown,
    }
}

fn confidence(value: f64) -> ConfidenceSummary {
    let band = match value {
        value if value < 0.5 => Band::Low,
        value if value < 0.8 => Band::Medium,
        _ => Band::High,
    };
    ConfidenceSummary { value, band }
}

/// A thread as it is listed.
pub(super) fn thread(context: &Context, view: &ThreadView) -> Thread {
    let (record, comparison) = (&view.record, view.comparison.as_deref());
    // What was said of another state is not said of this one.
    let checked = record.checked.filter(|checked| Some(checked.tip) == view.tip);
    Thread {
        id: format!("thread-{}", record.id).into(),
        repo: view.repo.as_ref().map_or_else(|| Arc::from(""), |repo| Arc::clone(&repo.shown)),
        thread: record.thread.clone(),
        target_thread: record.target_thread.clone(),
        parent_thread: record.parent_thread.clone(),
        mode: record.mode,
        state: record.state,
        base_state: record.base_state,
        base_root: record.base_root,
        current_state: view.tip,
        merged_state: record.merged_state,
        task: record.task.clone(),
        execution_path: record.execution_path.clone(),
        ahead: comparison.map(|comparison| comparison.ahead),
        behind: comparison.filter(|_| view.has_target).map(|comparison| comparison.behind),
        changed_paths: comparison.map(|comparison| comparison.changed_paths.clone()).unwrap_or_default(),
        changed_count: comparison.map_or(0, |comparison| comparison.changed_count),
        impact_categories: comparison.map(|comparison| comparison.impact.clone()).unwrap_or_default(),
        freshness: freshness(comparison.filter(|_| view.has_target)),
        verification_summary: checked.and_then(|checked| checked.verification),
        confidence_summary: checked.and_then(|checked| checked.confidence).map(confidence),
        integration_policy_result: None,
        holder: view.holder.as_ref().map(|holder| reservation(context, holder, None)),
        created_at: record.created_at,
        updated_at: record.updated_at,
    }
}

/// An entry of the operation log.
pub(super) fn operation(registry: &Registry, record: &OperationRecord) -> proto_schema::Operation {
    let mut detail = serde_json::to_value(&record.detail).unwrap_or_default();
    if let (OperationKind::ThreadMoved, Some(detail)) = (record.kind, detail.as_object_mut()) {
        // Where there was no branch before, or is none after, that is what happened.
        for name in ["before", "after"] {
            detail.entry(name).or_insert(Value::Null);
        }
    }
    proto_schema::Operation {
        revision: record.revision,
        at: record.at,
        kind: record.kind,
        repo: record.repo.and_then(|repo| registry.repo(repo)).map(|repo| Arc::clone(&repo.shown)),
        thread: record.thread.clone(),
        session_id: record.session,
        detail,
    }
}
