//! `heddled backup`, `verify` and `restore` as processes of their own, beside a real daemon.

#[cfg(test)]
mod disk_full;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod live;
#[cfg(test)]
mod newer;
#[cfg(test)]
mod restore;
#[cfg(test)]
mod run;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
