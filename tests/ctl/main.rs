//! Black-box tests of `heddlectl`: the real binary against a small scripted daemon, in an environment of its own.

mod fake;
mod output;
mod run;
mod sessions;
mod start;
mod support;
