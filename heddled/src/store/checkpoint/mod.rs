//! The database behind the journal: records, operation blocks, and the thread that brings them up to date.

pub(super) mod base;
pub(super) mod blocks;
pub(super) mod tables;
pub(super) mod task;
