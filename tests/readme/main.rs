//! What README.md promises is tried: its Python example runs against a real daemon, and each command it names exists.

#[cfg(test)]
mod example;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
