//! HTTP and WebSocket on the socket that speaks lines: everything that holds for lines holds for both.

#[cfg(test)]
mod events;
#[cfg(test)]
mod http;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod lost;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod random;
#[cfg(test)]
mod raw;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod websocket;
