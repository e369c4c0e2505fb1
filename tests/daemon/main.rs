//! The weak spots, each by its own test: callers, holders and daemons that die, stop, come twice or repeat themselves.

#[cfg(test)]
mod callers;
#[cfg(test)]
mod captures;
#[cfg(test)]
mod cleaning;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod events;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod holders;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod lives;
#[cfg(test)]
mod lost_state;
#[cfg(test)]
mod mounts;
#[cfg(test)]
mod names;
#[cfg(test)]
mod places;
#[cfg(test)]
mod plain_git;
#[cfg(test)]
mod ready;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod repeats;
#[cfg(test)]
mod sick_repository;
#[cfg(test)]
mod store;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod times;
#[cfg(test)]
mod waits;
#[cfg(test)]
mod worktrees;
