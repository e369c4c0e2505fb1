//! Every released format of the state and of backups opens, and has everything that was in it.
//!
//! `fixtures/<version>/` has, as that version wrote it: `state.tar.gz`, a state directory whose daemon was killed; `backup`,
//! a backup of it; `expected.jsonl`, every record in it, one a line. Each release adds one:
//! `cargo test -p heddled --test formats -- --ignored write_the_fixture_of_this_version`. What is there is never changed.

#[cfg(test)]
mod contents;
#[cfg(test)]
mod generate;
#[cfg(test)]
mod released;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
