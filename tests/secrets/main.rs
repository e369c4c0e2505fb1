//! No reservation token leaves the daemon but to the one it was granted to: not in its log, not in its files.

#[cfg(test)]
mod leaks;
#[cfg(test)]
mod printed;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
