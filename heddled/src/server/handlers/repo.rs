//! `repo.*`.

use std::sync::Arc;

use proto_schema::{AdoptParams, Empty, RepoParams, Verification};
use tracing::info;

use crate::server::advice::{About, explain};
use crate::server::context::Context;
use crate::server::dispatch::Call;
use crate::server::error::{WireError, invalid_params};
use crate::server::{params, verification};

/// `repo.adopt`.
pub(in crate::server) async fn adopt(
    context: Arc<Context>,
    call: Arc<Call>,
    params: AdoptParams,
) -> Result<Empty, WireError> {
    if params.reason.as_str().trim().is_empty() {
        return Err(invalid_params("reason", "why the repository is taken over, in a few words"));
    }
    let path = params::absolute("repo", &params.repo)?;
    let adopted = context.coordinator.adopt(path).await;
    adopted.map_err(|failure| explain(&context, &failure, &About::repo(&params.repo)))?;
    info!(repo = %params.repo, reason = %params.reason, by = ?call.caller.peer.actor(), "a repository was adopted");
    Ok(Empty {})
}

/// `repo.verify`.
pub(in crate::server) async fn verify(
    context: Arc<Context>,
    _: Arc<Call>,
    params: RepoParams,
) -> Result<Verification, WireError> {
    let path = params::absolute("repo", &params.repo)?;
    let found = context.coordinator.verify(path).await;
    let found = found.map_err(|failure| explain(&context, &failure, &About::repo(&params.repo)))?;
    Ok(verification::tell(&found))
}
