//! The registry: who holds what. Pure: no I/O, no clock, no randomness, no async.

mod holder;

pub use holder::HolderProcess;
