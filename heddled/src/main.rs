//! `heddled`: the daemon's entry point.

fn main() {}
