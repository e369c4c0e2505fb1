//! Black-box tests of `heddlectl`: the real binary against a small scripted daemon, in an environment of its own.

#![expect(clippy::expect_used, reason = "a test says what it expects")]

mod fake;
mod output;
mod run;
mod sessions;
mod start;
mod support;
