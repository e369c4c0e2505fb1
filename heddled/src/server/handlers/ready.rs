//! `agent.ready`.

use std::sync::Arc;

use proto_schema::{ReadyParams, ReadyReport, ReadyResult, ReadyStatus};

use crate::coordinator::{Blocker, ReadyCall};
use crate::server::advice::{About, explain, findings};
use crate::server::context::Context;
use crate::server::dispatch::Call;
use crate::server::error::{WireError, invalid_params};
use crate::server::shown::{hashed, named};
use crate::server::{params, wire};

/// `agent.ready`.
pub(in crate::server) async fn ready(
    context: Arc<Context>,
    _: Arc<Call>,
    params: ReadyParams,
) -> Result<ReadyResult, WireError> {
    if params.confidence.is_some_and(|confidence| !(0.0..=1.0).contains(&confidence)) {
        return Err(invalid_params("confidence", "a number from 0 to 1"));
    }
    let coverage = params.verification.and_then(|verification| verification.coverage_pct);
    if coverage.is_some_and(|coverage| !(0.0..=100.0).contains(&coverage)) {
        return Err(invalid_params("verification.coverage_pct", "a number from 0 to 100"));
    }
    let worktree = params.worktree.as_ref().map(|path| params::absolute("worktree", path)).transpose()?;
    let (session, token) = (named(&context, params.session_id)?, hashed(params.reservation_token));
    let about = About::capture(&context, session, params.worktree.as_ref());
    let call = ReadyCall {
        worktree,
        message: params.message.map(|message| message.to_string()),
        confidence: params.confidence,
        verification: params.verification,
    };
    let found = context.coordinator.ready(session, token, call).await;
    let found = found.map_err(|failure| explain(&context, &failure, &about))?;
    let said = findings::of(&found);
    let (comparison, thread) = (&found.comparison, wire::thread(&context, &found.thread));
    let conflicts = found.blockers.iter().find_map(|blocker| match blocker {
        Blocker::Conflicts(conflicts) => Some(conflicts),
        Blocker::OperationInProgress(_)
        | Blocker::IndexConflicted(_)
        | Blocker::WorktreeDirty(..)
        | Blocker::TargetMissing
        | Blocker::UnrelatedHistories => None,
    });
    Ok(ReadyResult {
        reservation: wire::reservation(&context, &found.view, None),
        status: if found.blockers.is_empty() { ReadyStatus::Completed } else { ReadyStatus::Blocked },
        captured: found.captured.is_some(),
        captured_state: found.captured,
        report: ReadyReport {
            target_thread: found.target().cloned(),
            ahead: comparison.ahead,
            behind: comparison.behind,
            freshness: thread.freshness,
            conflicts: conflicts.map(|conflicts| conflicts.paths.clone()).unwrap_or_default(),
            conflict_count: conflicts.map_or(0, |conflicts| conflicts.count),
            changed_paths: comparison.changed_paths.clone(),
            changed_count: comparison.changed_count,
            blockers: said.blockers,
            warnings: said.warnings,
        },
        thread,
        recommended_action: said.next,
    })
}
