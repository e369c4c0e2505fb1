//! What whoever installs it gets beside the two programs: what they say of their version, what shells complete, manual
//! pages, the reference of the command line, the guides. Each is tried with the program that it is for.
//!
//! A machine that lacks such a program is told that the test skipped; `.ci/run` installs them.

#[cfg(test)]
mod completions;
#[cfg(test)]
mod debian;
#[cfg(test)]
mod guides;
#[cfg(test)]
mod install;
#[cfg(test)]
#[path = "../support/ledger.rs"]
mod ledger;
#[cfg(test)]
mod manual;
#[cfg(test)]
#[path = "../support/process.rs"]
mod process;
#[cfg(test)]
mod reference;
#[cfg(test)]
#[path = "../ctl/support.rs"]
#[allow(dead_code, reason = "each suite takes what it needs")]
mod support;
#[cfg(test)]
mod version;

/// Whether a program is there; else it is said that the test which needs it has skipped.
#[cfg(test)]
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !is_there {
        eprintln!("skipped: {program} is not installed");
    }
    is_there
}
