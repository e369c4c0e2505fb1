//! `agent.*`.

use std::sync::Arc;

use proto_schema::{
    Chain, EvictParams, FencingToken, HeartbeatParams, Kind, ListParams, ListResult, ReleaseParams, ReleaseStatus,
    ReservationResult, ResumeParams, SessionStatus, ShowParams, ValidateParams, ValidateResult,
};

pub(in crate::server) use super::capture::capture;
pub(in crate::server) use super::ready::ready;
pub(in crate::server) use super::reserve::reserve;
use crate::coordinator::{Heartbeat, SessionFilter};
use crate::registry::Refusal;
use crate::server::advice::{About, explain, thread_name};
use crate::server::context::Context;
use crate::server::dispatch::Call;
use crate::server::error::{WireError, invalid_params};
use crate::server::protocol::Via;
use crate::server::shown::{hashed, named};
use crate::server::{params, verification, wire};

/// `agent.heartbeat`.
pub(in crate::server) async fn heartbeat(
    context: Arc<Context>,
    call: Arc<Call>,
    params: HeartbeatParams,
) -> Result<ReservationResult, WireError> {
    let heartbeat = Heartbeat {
        progress: params.progress.unwrap_or(false),
        usage: params.usage,
        hold_for_pid: params.hold_for_pid,
        peer: call.caller.peer.pid,
    };
    let (session, token) = (named(&context, params.session_id)?, hashed(params.reservation_token));
    let view = context.coordinator.heartbeat(session, token, heartbeat).await;
    let view = view.map_err(|failure| explain(&context, &failure, &About::session(session)))?;
    Ok(ReservationResult { reservation: wire::reservation(&context, &view, None) })
}

/// `agent.resume`.
pub(in crate::server) async fn resume(
    context: Arc<Context>,
    call: Arc<Call>,
    params: ResumeParams,
) -> Result<ReservationResult, WireError> {
    if call.caller.via == Via::Http {
        return Err(invalid_params(".", "a connection that stays, over the socket's own lines or WebSocket"));
    }
    let (session, token) = (named(&context, params.session_id)?, hashed(params.reservation_token));
    if params.by_process == Some(true) {
        let (peer, since_ms) = (call.caller.peer.pid, call.caller.connected_at_ms);
        let added = context.coordinator.add_token(session, token, peer, since_ms).await;
        added.map_err(|failure| explain(&context, &failure, &About::session(session)))?;
    }
    let view = context.coordinator.resume(session, token, call.caller.connection).await;
    let view = view.map_err(|failure| explain(&context, &failure, &About::session(session)))?;
    Ok(ReservationResult { reservation: wire::reservation(&context, &view, None) })
}

/// `agent.release`.
pub(in crate::server) async fn release(
    context: Arc<Context>,
    _: Arc<Call>,
    params: ReleaseParams,
) -> Result<ReservationResult, WireError> {
    let status = match params.status.unwrap_or_default() {
        ReleaseStatus::Complete => SessionStatus::Complete,
        ReleaseStatus::Abandoned => SessionStatus::Abandoned,
    };
    let (session, token) = (named(&context, params.session_id)?, hashed(params.reservation_token));
    let view = context.coordinator.release(session, token, status).await;
    let view = view.map_err(|failure| explain(&context, &failure, &About::session(session)))?;
    Ok(ReservationResult { reservation: wire::reservation(&context, &view, None) })
}

/// `agent.evict`.
pub(in crate::server) async fn evict(
    context: Arc<Context>,
    call: Arc<Call>,
    params: EvictParams,
) -> Result<ReservationResult, WireError> {
    if params.reason.as_str().trim().is_empty() {
        return Err(invalid_params("reason", "why the session is ended, in a few words"));
    }
    let session = named(&context, params.session_id)?;
    let view = context.coordinator.evict(session, call.caller.peer.actor(), params.reason).await;
    let view = view.map_err(|failure| explain(&context, &failure, &About::session(session)))?;
    Ok(ReservationResult { reservation: wire::reservation(&context, &view, None) })
}

/// `agent.validate`.
pub(in crate::server) async fn validate(
    context: Arc<Context>,
    _: Arc<Call>,
    params: ValidateParams,
) -> Result<ValidateResult, WireError> {
    let invalid = |reservation, reason| Ok(ValidateResult { valid: false, reservation, reason: Some(reason) });
    let Some(session) = params.session_id.get() else { return invalid(None, Kind::AgentSessionNotFound) };
    let view = match context.coordinator.validate(session, hashed(params.reservation_token)) {
        Ok(view) => view,
        Err(Refusal::TokenMismatch) => return invalid(None, Kind::ReservationTokenMismatch),
        Err(_) => return invalid(None, Kind::AgentSessionNotFound),
    };
    let reservation = wire::reservation(&context, &view, None);
    if !view.session.is_active() {
        return invalid(Some(reservation), Kind::AgentSessionInactive);
    }
    if params.thread.is_some_and(|thread| *thread != *view.session.thread.as_str()) {
        return invalid(Some(reservation), Kind::AgentSessionThreadMismatch);
    }
    Ok(ValidateResult { valid: true, reservation: Some(reservation), reason: None })
}

/// `agent.show`.
pub(in crate::server) async fn show(
    context: Arc<Context>,
    _: Arc<Call>,
    params: ShowParams,
) -> Result<Chain, WireError> {
    let session = named(&context, params.session_id)?;
    let shown = context.coordinator.show(session);
    let (view, chain) = shown.map_err(|failure| explain(&context, &failure, &About::session(session)))?;
    Ok(Chain {
        reservation: wire::reservation(&context, &view, None),
        chain: chain.iter().map(|view| wire::reservation(&context, view, None)).collect(),
    })
}

/// `agent.list`.
pub(in crate::server) async fn list(
    context: Arc<Context>,
    _: Arc<Call>,
    params: ListParams,
) -> Result<ListResult, WireError> {
    let below = match &params.cursor {
        None => None,
        Some(cursor) => {
            Some(FencingToken(cursor.parse().map_err(|_| invalid_params("cursor", "the next_cursor of a page"))?))
        }
    };
    let about = params.repo.as_ref().map(About::repo).unwrap_or_default();
    let repo = params.repo.as_ref().map(|repo| params::absolute("repo", repo)).transpose()?;
    // Without a repository there is nothing to verify.
    let verified = repo.clone().filter(|_| params.verify == Some(true));
    let filter = SessionFilter {
        repo,
        thread: params.thread.as_deref().map(|name| thread_name(name, &about)).transpose()?,
        status: params.status,
        alive_only: params.alive_only.unwrap_or(false),
        below,
        limit: params::limit(params.limit)?,
    };
    let page = context.coordinator.list(filter).await.map_err(|failure| explain(&context, &failure, &about))?;
    let verification = match verified {
        Some(path) => {
            let found = context.coordinator.verify(path).await;
            Some(verification::tell(&found.map_err(|failure| explain(&context, &failure, &about))?))
        }
        None => None,
    };
    Ok(ListResult {
        reservations: page.views.iter().map(|view| wire::reservation(&context, view, None)).collect(),
        alive_only: params.alive_only.unwrap_or(false),
        thread: params.thread,
        verification,
        revision: page.revision,
        next_cursor: page.next.map(|token| token.to_string().into()),
    })
}
