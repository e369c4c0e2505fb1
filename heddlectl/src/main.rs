//! `heddlectl`: the command line of `heddled`.

fn main() {}
