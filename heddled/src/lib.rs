//! The daemon that decides which coding agent holds which thread of a Git repository.

pub mod registry;
pub mod store;
