//! The repository layer against real repositories, with the `git` program as the oracle.

mod capture;
mod compare;
mod durable;
mod fixture;
mod inspect;
mod locate;
mod marker;
mod measure;
mod removal;
mod sight;
mod status;
mod swap;
mod worktree;
