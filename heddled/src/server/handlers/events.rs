//! `events.*`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use proto_schema::{SubscribeParams, SubscriptionId, UnsubscribeParams};

use crate::coordinator::Interest;
use crate::server::advice::{About, explain, thread_name};
use crate::server::context::Context;
use crate::server::dispatch::Call;
use crate::server::error::{WireError, invalid_params, limit};
use crate::server::events::Subscription;
use crate::server::params;
use crate::server::protocol::Via;

/// `events.subscribe`.
pub(in crate::server) async fn subscribe(
    context: Arc<Context>,
    call: Arc<Call>,
    params: SubscribeParams,
) -> Result<SubscriptionId, WireError> {
    if call.caller.via == Via::Http {
        return Err(invalid_params(".", "a connection that stays, over the socket's own lines or WebSocket"));
    }
    let repo = params.repo.as_ref().map(|repo| params::absolute("repo", repo)).transpose()?;
    let about = params.repo.as_ref().map(About::repo).unwrap_or_default();
    let thread = params.thread.as_deref().map(|name| thread_name(name, &about)).transpose()?;
    let limits = context.terms.now().limits;
    let max = limits.subscriptions;
    let counted = context.subscriptions.one_more(max).ok_or_else(|| limit("subscriptions", max, max))?;
    let interest = Interest { repo, thread, session: params.session_id };
    let follower = context.coordinator.follow(interest, params.after).await;
    let follower = follower.map_err(|failure| explain(&context, &failure, &about))?;
    let number = context.subscribed.fetch_add(1, Ordering::Relaxed) + 1;
    let most_behind = limits.events_behind;
    *call.subscribed.lock() = Some(Box::new(Subscription { number, follower, most_behind, counted }));
    Ok(SubscriptionId::new(number))
}

/// `events.unsubscribe`.
pub(in crate::server) async fn unsubscribe(
    _: Arc<Context>,
    call: Arc<Call>,
    params: UnsubscribeParams,
) -> Result<bool, WireError> {
    Ok(call.caller.subscriptions.end(&params.subscription))
}
