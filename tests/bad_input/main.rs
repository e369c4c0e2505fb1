//! Input that nobody should send: a typed error or a closed connection each, and a daemon that goes on.

#[cfg(test)]
mod lines;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod values;
