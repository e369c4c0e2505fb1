//! The power is cut while clients change things, and what was acknowledged must be there afterwards: the state directory
//! and the Git repository lie on a small ext4 of their own, whose kernel driver is told to let nothing more through.
//!
//! Needs root, a loop device and `mkfs.ext4`. Where it cannot run it says so and passes; with `HEDDLE_REQUIRE_POWER_TEST=1`
//! it fails instead. What it does not show: a drive that loses what it has confirmed.

#[cfg(test)]
#[cfg(target_os = "linux")]
mod check;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod client;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod daemon;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod disk;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod git;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod model;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod rounds;
