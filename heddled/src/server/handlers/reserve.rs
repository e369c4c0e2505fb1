//! `agent.reserve`: whether the request is known, then the checks of its parameters, before anything is asked of anybody.

use std::sync::Arc;

use proto_schema::{PathText, ProbeSource, ReservationToken, ReserveParams, ReserveResult};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::coordinator::{Patience, ReserveRequest, hash};
use crate::registry::{AgentRecord, ParamDigest, RequestRecord, TokenHash};
use crate::repo::Anchor;
use crate::server::advice::{About, explain, thread_name};
use crate::server::context::Context;
use crate::server::dispatch::Call;
use crate::server::error::{WireError, invalid_params};
use crate::server::params::Sent;
use crate::server::protocol::Via;
use crate::server::{params, wire};

/// How long a session may live without a heartbeat, in milliseconds.
const TTL_MS: std::ops::RangeInclusive<u64> = 1000..=86_400_000;

/// `agent.reserve`.
pub(in crate::server) async fn reserve(
    context: Arc<Context>,
    call: Arc<Call>,
    sent: Sent,
) -> Result<ReserveResult, WireError> {
    let read = sent.read::<ReserveParams>();
    // Read as a caller sent it, for a known request is answered from what it did even where it could not be made again.
    let named = match &read {
        Ok(params) if params.request_id.is_none() => None,
        Ok(_) | Err(_) => named(&context, &sent.members())?,
    };
    let params = read?;
    let about = About::reserve(&params);
    let can_repeat = params.request_id.is_some();
    let request = request(&context, &call, params, named, &about)?;
    let reserved = context.coordinator.reserve(request).await.map_err(|failure| explain(&context, &failure, &about))?;
    if !can_repeat {
        // It is the first and only: nothing sets it twice.
        let _set = call.granted.set(reserved.view.session.id);
    }
    Ok(ReserveResult {
        reservation: wire::reservation(&context, &reserved.view, Some(reserved.token)),
        thread_created: reserved.view.session.thread_created,
        replayed: reserved.replayed,
    })
}

/// The request as its caller named it. One that is known already must be the same as it was.
fn named(context: &Context, sent: &Map<String, Value>) -> Result<Option<RequestRecord>, WireError> {
    let text = |name| sent.get(name).and_then(Value::as_str);
    let Some(id) = text("request_id").and_then(|id| id.parse().ok()) else { return Ok(None) };
    let token: Option<ReservationToken> = text("reservation_token").and_then(|token| token.parse().ok());
    let request = RequestRecord { id, params: digests(sent) };
    let known = context.coordinator.replay(&request, token.as_ref().map_or(TokenHash::NOBODYS, hash));
    known.map_err(|refusal| {
        let repo: Option<PathText> = text("repo").and_then(|repo| repo.parse().ok());
        explain(context, &refusal.into(), &repo.as_ref().map(About::repo).unwrap_or_default())
    })?;
    Ok(Some(request))
}

fn request(
    context: &Context,
    call: &Call,
    params: ReserveParams,
    named: Option<RequestRecord>,
    about: &About,
) -> Result<ReserveRequest, WireError> {
    let connection = params.hold_connection.unwrap_or(false).then_some(call.caller.connection);
    if connection.is_some() && call.caller.via == Via::Http {
        let expected =
            "absent over plain HTTP, whose connections belong to no caller: send it as a line or over WebSocket";
        return Err(invalid_params("hold_connection", expected));
    }
    if params.request_id.is_some() && params.reservation_token.is_none() {
        return Err(invalid_params("reservation_token", "the caller's own secret, which a request_id needs"));
    }
    if params.ttl_ms.is_some_and(|ttl_ms| !TTL_MS.contains(&ttl_ms)) {
        return Err(invalid_params("ttl_ms", "1000 to 86400000"));
    }
    let wait = params.wait_ms.filter(|ms| *ms > 0).map(|ms| Patience { ms, stay: call.caller.stay.clone() });
    let at_tip = params.at_tip.unwrap_or(false);
    let anchor = match (&params.anchor, at_tip) {
        (Some(_), true) => return Err(invalid_params("at_tip", "absent when an anchor is given")),
        (Some(anchor), false) => Anchor::Revision(anchor.to_string()),
        (None, true) => Anchor::Tip,
        // Whoever waits takes the thread over where it is then.
        (None, false) if wait.is_some() => Anchor::Tip,
        (None, false) => Anchor::Head,
    };
    let absolute = |field, path: &Option<PathText>| path.as_ref().map(|path| params::absolute(field, path)).transpose();
    let worktree = match &params.worktree {
        Some(worktree) => Some(absolute("worktree.path", &worktree.path)?),
        None => None,
    };
    if worktree.is_some() && params.path.is_some() {
        return Err(invalid_params("path", "absent when a worktree is asked for: the answer says where it is"));
    }
    // Another hold carries the session alone, unless heartbeats were asked for too.
    let is_held = params.hold_for_pid.is_some() || connection.is_some();
    let ttl_ms = params.ttl_ms.or_else(|| (!is_held).then(|| context.terms.now().default_ttl_ms));
    Ok(ReserveRequest {
        repo: params::absolute("repo", &params.repo)?,
        thread: thread_name(&params.thread, about)?,
        anchor,
        target_thread: params.target_thread.as_deref().map(|name| thread_name(name, about)).transpose()?,
        worktree,
        path: absolute("path", &params.path)?,
        ttl_ms,
        hold_for_pid: params.hold_for_pid,
        connection,
        peer: call.caller.peer.pid,
        request: named,
        token: params.reservation_token.clone(),
        agent: Arc::new(agent(params)?),
        wait,
    })
}

/// Who the agent is, as the caller says. What comes without a probe is explicit; nothing at all is unknown.
fn agent(params: ReserveParams) -> Result<AgentRecord, WireError> {
    let is_named = params.provider.is_some() || params.model.is_some() || params.harness.is_some();
    let (probe_source, probe_confidence) = match &params.probe {
        Some(probe) if !(0.0..=1.0).contains(&probe.confidence) => {
            return Err(invalid_params("probe.confidence", "0 to 1"));
        }
        Some(probe) => (probe.source, probe.confidence),
        None if is_named => (ProbeSource::ExplicitPayload, 1.0),
        None => (ProbeSource::None, 0.0),
    };
    let rule = match probe_source {
        ProbeSource::None => None,
        ProbeSource::ExplicitPayload => Some("explicit_payload"),
        ProbeSource::HookPayload => Some("hook_payload"),
        ProbeSource::ArgvEnv => Some("argv_env"),
        ProbeSource::ProcessTree => Some("process_tree"),
    };
    Ok(AgentRecord {
        task: params.task,
        provider: params.provider,
        model: params.model,
        harness: params.harness,
        thinking_level: params.thinking_level,
        policy: params.policy,
        probe_source,
        probe_confidence,
        parent_session_id: params.parent_session_id,
        client_instance_id: params.client_instance_id,
        native_actor_key: params.native_actor_key,
        native_parent_actor_key: params.native_parent_actor_key,
        native_instance_key: params.native_instance_key,
        attach_precedence: rule.map(Arc::from).into_iter().collect(),
        winning_attach_rule: rule.map(Arc::from),
    })
}

/// The beginning of a SHA-256: two values that differ are not taken for one.
fn digest(value: &Value) -> u64 {
    let hash = Sha256::digest(value.to_string());
    hash.iter().take(8).fold(0, |digest, byte| digest << 8 | u64::from(*byte))
}

/// The name of a parameter as it may be told: what is sent for a name may be anything, and is not repeated.
fn plain(name: &str) -> &str {
    let is_plain = name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_plain { name } else { "unknown parameter" }
}

/// More parameters than any version has.
const TOO_MANY: usize = 100;

/// A digest of each parameter as it was sent, without wait_ms and the secret.
fn digests(sent: &Map<String, Value>) -> Vec<ParamDigest> {
    let mut digests: Vec<ParamDigest> = sent
        .iter()
        .take(TOO_MANY)
        .filter(|(name, value)| {
            !value.is_null() && !matches!(name.as_str(), "wait_ms" | "reservation_token" | "request_id")
        })
        .map(|(name, value)| (plain(name).into(), digest(value)))
        .collect();
    digests.sort();
    digests
}
