//! The client libraries of `packaging/clients`, against the real daemon and, where its answers must be chosen, against a
//! fake one. Each test runs for both languages: a *puppet*, a small program that uses the client as anybody would, does what
//! the test tells it and says what came of it.
//!
//! What a machine lacks (Node, the type checkers) is said, and its tests pass; `packaging/clients/prepare` installs it, and
//! with `HEDDLE_REQUIRE_CLIENT_TESTS=1` nothing may be lacking.

#[cfg(test)]
mod connection_holds;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod lives;
#[cfg(test)]
mod outcomes;
#[cfg(test)]
mod packages;
#[cfg(test)]
mod puppet;
#[cfg(test)]
mod sockets;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod tools;
