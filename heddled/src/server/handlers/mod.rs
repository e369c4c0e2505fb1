//! What each method does: the wire's parameters in, the coordinator asked, the wire's result out.

pub(super) mod agent;
mod capture;
pub(super) mod daemon;
pub(super) mod events;
pub(super) mod oplog;
mod ready;
pub(super) mod repo;
mod reserve;
pub(super) mod thread;
