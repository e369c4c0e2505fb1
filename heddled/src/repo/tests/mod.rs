//! The repository layer against real repositories, with the `git` program as the oracle.

mod capture;
mod durable;
mod fixture;
mod locate;
mod marker;
mod measure;
mod sight;
mod swap;
mod worktree;
