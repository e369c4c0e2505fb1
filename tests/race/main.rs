//! Many want one thread: exactly one gets it (R1), whoever they are.

#[cfg(test)]
mod contest;
#[cfg(test)]
mod holder_death;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
