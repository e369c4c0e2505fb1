//! The daemon that decides which coding agent holds which thread of a Git repository.

pub mod cli;
pub mod clock;
pub mod config;
pub mod lifecycle;
pub mod liveness;
pub mod observe;
pub mod paths;
pub mod registry;
pub mod repo;
