//! `thread.*`.

use std::sync::Arc;

use proto_schema::{
    CleanParams, CleanResult, CleanedWorktree, KeptWorktree, ThreadListParams, ThreadListResult, ThreadParams,
    ThreadResult, ThreadUpdateParams,
};

use crate::repo::shown;
use crate::server::advice::{About, explain, stays, thread_name};
use crate::server::context::Context;
use crate::server::dispatch::Call;
use crate::server::error::{WireError, invalid_params};
use crate::server::shown::{hashed, named};
use crate::server::{params, wire};

/// `thread.list`.
pub(in crate::server) async fn list(
    context: Arc<Context>,
    _: Arc<Call>,
    params: ThreadListParams,
) -> Result<ThreadListResult, WireError> {
    let after = params.cursor.as_deref().map(str::parse).transpose();
    let after = after.map_err(|_| invalid_params("cursor", "the next_cursor of a page"))?;
    let (repo, limit) = (params::absolute("repo", &params.repo)?, params::limit(params.limit)?);
    let about = About::repo(&params.repo);
    let listed = context.coordinator.threads(repo, params.state, after, limit).await;
    let (views, revision, more) = listed.map_err(|failure| explain(&context, &failure, &about))?;
    let last = views.last().map(|view| view.record.thread.shared());
    Ok(ThreadListResult {
        threads: views.iter().map(|view| wire::thread(&context, view)).collect(),
        revision,
        next_cursor: last.filter(|_| more),
    })
}

/// `thread.show`.
pub(in crate::server) async fn show(
    context: Arc<Context>,
    _: Arc<Call>,
    params: ThreadParams,
) -> Result<ThreadResult, WireError> {
    let repo = params::absolute("repo", &params.repo)?;
    let about = About { thread: Some(params.thread.to_string()), ..About::repo(&params.repo) };
    let view = context.coordinator.thread(repo, thread_name(&params.thread, &about)?).await;
    let view = view.map_err(|failure| explain(&context, &failure, &about))?;
    Ok(ThreadResult { thread: wire::thread(&context, &view) })
}

/// `thread.update`.
pub(in crate::server) async fn update(
    context: Arc<Context>,
    _: Arc<Call>,
    params: ThreadUpdateParams,
) -> Result<ThreadResult, WireError> {
    let (session, token) = (named(&context, params.session_id)?, hashed(params.reservation_token));
    let view = context.coordinator.update(session, token, params.expected, params.new).await;
    let about = About { anchor: Some(params.new.to_string()), ..About::session(session) };
    let view = view.map_err(|failure| explain(&context, &failure, &about))?;
    Ok(ThreadResult { thread: wire::thread(&context, &view) })
}

/// `thread.clean`.
pub(in crate::server) async fn clean(
    context: Arc<Context>,
    _: Arc<Call>,
    params: CleanParams,
) -> Result<CleanResult, WireError> {
    let repo = params::absolute("repo", &params.repo)?;
    let cleaned = context.coordinator.clean(repo, params.dry_run.unwrap_or(false)).await;
    let cleaned = cleaned.map_err(|failure| explain(&context, &failure, &About::repo(&params.repo)))?;
    let removed = cleaned.removed.into_iter();
    let kept = cleaned.kept.into_iter();
    Ok(CleanResult {
        removed: removed
            .map(|removed| CleanedWorktree { thread: removed.thread, worktree: shown(&removed.path) })
            .collect(),
        kept: kept
            .map(|(kept, why)| {
                let reason = stays(&kept, &why).into();
                KeptWorktree { thread: kept.thread, worktree: shown(&kept.path), reason }
            })
            .collect(),
    })
}
