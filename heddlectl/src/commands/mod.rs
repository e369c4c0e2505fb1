//! The commands, one file each: what it takes, the call it makes, what it prints.

pub(crate) mod capture;
pub(crate) mod completions;
pub(crate) mod daemon;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod evict;
pub(crate) mod heartbeat;
pub(crate) mod list;
pub(crate) mod log;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod ready;
pub(crate) mod release;
pub(crate) mod repo;
pub(crate) mod rescue;
pub(crate) mod reserve;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod service;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod thread;
pub(crate) mod validate;
pub(crate) mod watch;
