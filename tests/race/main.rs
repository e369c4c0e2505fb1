//! Many want one thread: exactly one gets it (R1), whoever they are; and those who wait get it in their order.

#[cfg(test)]
mod contest;
#[cfg(test)]
mod holder_death;
#[cfg(test)]
mod line;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
