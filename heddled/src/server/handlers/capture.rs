//! `agent.capture`.

use std::sync::Arc;

use proto_schema::{CaptureParams, CaptureResult, CaptureSummary};

use crate::coordinator::CaptureCall;
use crate::server::advice::{About, explain};
use crate::server::context::Context;
use crate::server::dispatch::Call;
use crate::server::error::{WireError, invalid_params};
use crate::server::shown::{hashed, named};
use crate::server::{params, wire};

/// `agent.capture`.
pub(in crate::server) async fn capture(
    context: Arc<Context>,
    _: Arc<Call>,
    params: CaptureParams,
) -> Result<CaptureResult, WireError> {
    if params.confidence.is_some_and(|confidence| !(0.0..=1.0).contains(&confidence)) {
        return Err(invalid_params("confidence", "a number from 0 to 1"));
    }
    let worktree = params.worktree.as_ref().map(|path| params::absolute("worktree", path)).transpose()?;
    let (session, token) = (named(&context, params.session_id)?, hashed(params.reservation_token));
    let about = About::capture(&context, session, params.worktree.as_ref());
    let call = CaptureCall {
        worktree,
        message: params.message.map(|message| message.to_string()),
        confidence: params.confidence,
    };
    let captured = context.coordinator.capture(session, token, call).await;
    let captured = captured.map_err(|failure| explain(&context, &failure, &about))?;
    Ok(CaptureResult {
        reservation: wire::reservation(&context, &captured.view, None),
        capture: CaptureSummary {
            created: captured.created,
            state: captured.state,
            parent: captured.parent,
            root: captured.root,
            changed_paths: captured.changed_paths.into_iter().map(Arc::from).collect(),
            changed_count: captured.changed_count,
        },
    })
}
