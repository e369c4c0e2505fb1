//! `repo.*`: which registry a repository belongs to, and how it is.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ActiveOperation, PathText, Reason};

/// Parameters of `repo.adopt`: take a repository over from a registry whose daemon is not running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptParams {
    /// An absolute path inside a worktree, or a Git directory.
    pub repo: PathText,
    /// Why; recorded. Not blank.
    pub reason: Reason,
}

/// Parameters of `repo.verify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepoParams {
    /// An absolute path inside a worktree, or a Git directory.
    pub repo: PathText,
}

/// How a repository is, in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerificationStatus {
    /// Every check is clean.
    Clean,
    /// Some check is not, and the repository can be worked in: `recommended_action` says what to do.
    Attention,
    /// Something is wrong with the repository itself.
    Broken,
}

/// How a branch stands to its upstream, as last fetched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RemoteDrift {
    /// The upstream's ref, as Git shows it: `origin/main`.
    pub upstream: Arc<str>,
    /// How many commits the branch has that its upstream lacks; null when the upstream is gone.
    pub ahead: Option<u64>,
    /// How many commits the upstream has that the branch lacks; null when the upstream is gone.
    pub behind: Option<u64>,
}

/// One check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VerificationCheck {
    /// Its stable name: `repository`, `registry`, `head`, `worktree`, `operation`, `upstream`, `sessions`, `threads`.
    pub name: Arc<str>,
    /// Whether it found nothing.
    pub clean: bool,
    /// What it found, in a sentence.
    pub summary: Arc<str>,
}

/// Result of `repo.verify`, and `verification` of `agent.list`: the health of a repository, seen from one worktree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// Whether every check is clean.
    pub verified: bool,
    /// The same in a word.
    pub status: VerificationStatus,
    /// The branch that HEAD is attached to; null when it is detached, or in a Git directory.
    pub git_branch: Option<Arc<str>>,
    /// Whether the worktree has changes that are not committed; null where there is no worktree or it could not be told.
    pub worktree_dirty: Option<bool>,
    /// What the worktree is in the middle of.
    pub active_operation: Option<ActiveOperation>,
    /// How the branch stands to its upstream; null without one.
    pub remote_drift: Option<RemoteDrift>,
    /// Every check, in a fixed order.
    pub checks: Vec<VerificationCheck>,
    /// All of it, in a sentence.
    pub summary: Arc<str>,
    /// The command to run next, quoted for a shell; null when nothing needs to be done.
    pub recommended_action: Option<Arc<str>>,
    /// All commands that help, the recommended one first.
    pub recovery_commands: Vec<Arc<str>>,
}
