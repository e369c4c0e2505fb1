//! `heddled` killed at any instant and started again: every acknowledged change is there, nothing is half there (R5).

#[cfg(test)]
mod kills;
#[cfg(test)]
mod load;
#[cfg(test)]
mod model;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
