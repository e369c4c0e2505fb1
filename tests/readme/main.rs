//! Tries what README.md and the guide of harnesses promise: the Python example runs against a real daemon, and each command exists.

#[cfg(test)]
mod example;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
