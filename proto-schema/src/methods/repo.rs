//! `repo.*`: which registry a repository belongs to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PathText, Reason};

/// Parameters of `repo.adopt`: take a repository over from a registry whose daemon is not running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptParams {
    /// An absolute path inside a worktree, or a Git directory.
    pub repo: PathText,
    /// Why; recorded. Not blank.
    pub reason: Reason,
}
