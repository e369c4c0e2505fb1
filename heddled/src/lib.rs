//! The daemon that decides which coding agent holds which thread of a Git repository.
//!
//! The way through the code: `server` (socket, calls) -> `coordinator` (the one writer) -> `registry` (the rules, pure) ->
//! `store` (durability). Beside them `repo` (Git), `liveness` (who lives), `lifecycle` (lock, socket, signals);
//! `daemon` puts them together. See ARCHITECTURE.md.

pub mod cli;
pub mod clock;
pub mod config;
pub mod coordinator;
pub mod daemon;
pub mod lifecycle;
pub mod liveness;
pub mod metrics;
pub mod observe;
pub mod paths;
pub mod priority;
pub mod registry;
mod reload;
pub mod repo;
pub mod rescue;
pub mod server;
pub mod store;
