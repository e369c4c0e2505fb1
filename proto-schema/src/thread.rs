//! A thread's record: what is known of a line of work beside its branch.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ObjectId, Reservation, Task, ThreadName, Timestamp};

/// Where a thread is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThreadState {
    /// Nobody holds it; its last session changed nothing, or left it without making it ready.
    Draft,
    /// It has been reserved and not been made ready since.
    Active,
    /// Checked, and ready for integration.
    Ready,
    /// Checked, and something stands in the way.
    Blocked,
    /// Its work has reached the target.
    Merged,
    /// Its last session was abandoned after changing it.
    Abandoned,
    /// It became a target itself.
    Promoted,
}

impl ThreadState {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Active => "active",
            Self::Ready => "ready",
            Self::Blocked => "blocked",
            Self::Merged => "merged",
            Self::Abandoned => "abandoned",
            Self::Promoted => "promoted",
        }
    }
}

/// Where the work on a thread is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThreadMode {
    /// In a linked worktree of its own.
    Worktree,
    /// In a worktree that was there before.
    InPlace,
}

/// What kinds of files a thread touches, for those who integrate it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImpactCategory {
    /// Lock files and manifests.
    DependencyGraph,
    /// CI, Docker, build scripts.
    BuildRuntimeConfig,
    /// Files that a program writes.
    GeneratedOutputs,
    /// Many directories.
    RepoWideRefactor,
    /// What others call.
    PublicApiSurface,
}

impl ImpactCategory {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DependencyGraph => "dependency_graph",
            Self::BuildRuntimeConfig => "build_runtime_config",
            Self::GeneratedOutputs => "generated_outputs",
            Self::RepoWideRefactor => "repo_wide_refactor",
            Self::PublicApiSurface => "public_api_surface",
        }
    }
}

/// How a thread stands to its target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// It has all of the target's commits.
    Current,
    /// The target has moved on.
    Stale,
    /// Not compared yet.
    Unknown,
}

/// What the agent reported of its checks.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerificationSummary {
    /// Tests that passed.
    pub tests_passed: Option<u64>,
    /// Tests that failed.
    pub tests_failed: Option<u64>,
    /// Coverage in percent, 0 to 100.
    pub coverage_pct: Option<f64>,
    /// Warnings of linters.
    pub lint_warnings: Option<u64>,
}

/// A band of confidence: low under 0.5, high from 0.8.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// Under 0.5.
    Low,
    /// From 0.5.
    Medium,
    /// From 0.8.
    High,
}

/// How sure the agent is of its work.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConfidenceSummary {
    /// 0 to 1.
    pub value: f64,
    /// The band of that value.
    pub band: Band,
}

/// What the integration policy said of the thread.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct IntegrationPolicyResult {
    /// Its verdict.
    pub status: Arc<str>,
    /// Why.
    pub reason: Option<Arc<str>>,
}

/// A thread: the branch `refs/heads/<thread>` and what the registry knows of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Thread {
    /// Names the record: `thread-` and a number.
    pub id: Arc<str>,
    /// The repository, as in a Reservation.
    pub repo: Arc<str>,
    /// The thread's name.
    pub thread: ThreadName,
    /// The thread that this one is meant for.
    pub target_thread: Option<ThreadName>,
    /// The thread that this one was started from by a parent session.
    pub parent_thread: Option<ThreadName>,
    /// Where the work is done.
    pub mode: ThreadMode,
    /// Where the thread is on its way.
    pub state: ThreadState,
    /// The state at which the thread was first reserved.
    pub base_state: ObjectId,
    /// The tree of that state.
    pub base_root: ObjectId,
    /// The branch's tip as read from Git for this answer; null when there is no such branch (any more).
    pub current_state: Option<ObjectId>,
    /// The target's commit that brought its work in.
    pub merged_state: Option<ObjectId>,
    /// What it is for.
    pub task: Option<Task>,
    /// The worktree where the work is done, where known.
    pub execution_path: Option<Arc<str>>,
    /// How many commits it has that its target lacks; of one without a target, those since its base. Null where it could
    /// not be told.
    pub ahead: Option<u64>,
    /// How many commits its target has that it lacks; null where there is no target or it could not be told.
    pub behind: Option<u64>,
    /// What it changes: the first 100 paths.
    pub changed_paths: Vec<Arc<str>>,
    /// How many paths it changes in all.
    pub changed_count: u64,
    /// The kinds of files it touches.
    pub impact_categories: Vec<ImpactCategory>,
    /// How it stands to its target.
    pub freshness: Freshness,
    /// What the agent reported of its checks.
    pub verification_summary: Option<VerificationSummary>,
    /// How sure the agent is.
    pub confidence_summary: Option<ConfidenceSummary>,
    /// What the integration policy said.
    pub integration_policy_result: Option<IntegrationPolicyResult>,
    /// The active session that holds the thread, if one does.
    pub holder: Option<Reservation>,
    /// When the record was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}
