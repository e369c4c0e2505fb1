//! `oplog.*`.

use std::sync::Arc;

use proto_schema::{OplogListParams, OplogListResult};

use crate::server::advice::{About, explain, thread_name};
use crate::server::context::Context;
use crate::server::dispatch::Call;
use crate::server::error::WireError;
use crate::server::{params, wire};

/// `oplog.list`.
pub(in crate::server) async fn list(
    context: Arc<Context>,
    _: Arc<Call>,
    params: OplogListParams,
) -> Result<OplogListResult, WireError> {
    let repo = params.repo.as_ref().map(|repo| params::absolute("repo", repo)).transpose()?;
    let about = params.repo.as_ref().map(About::repo).unwrap_or_default();
    let thread = params.thread.as_deref().map(|name| thread_name(name, &about)).transpose()?;
    let limit = params::limit(params.limit)?;
    let read = context.coordinator.operations(repo, thread, params.session_id, params.after, limit).await;
    let (page, snapshot) = read.map_err(|failure| explain(&context, &failure, &about))?;
    Ok(OplogListResult {
        operations: page.operations.iter().map(|record| wire::operation(&snapshot.registry, record)).collect(),
        revision: page.newest_seen,
        oldest: page.oldest,
    })
}
