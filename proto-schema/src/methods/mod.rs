//! Parameters and results, one file per namespace.

pub(crate) mod agent;
pub(crate) mod capture;
pub(crate) mod daemon;
pub(crate) mod events;
pub(crate) mod oplog;
pub(crate) mod ready;
pub(crate) mod repo;
pub(crate) mod thread;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A result that says nothing but that the call succeeded: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}
