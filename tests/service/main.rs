//! The daemon under a service manager: what it is handed, what it says, and what becomes of its callers when it is replaced.

#[cfg(test)]
mod activator;
#[cfg(test)]
mod handover;
#[cfg(test)]
mod load;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod units;
#[cfg(test)]
mod words;
