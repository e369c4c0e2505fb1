//! The wire contract: framing, batches, ids, order, limits, and every answer against its generated schema.

#[cfg(test)]
mod batches;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod events;
#[cfg(test)]
mod framing;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod order;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod successes;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
