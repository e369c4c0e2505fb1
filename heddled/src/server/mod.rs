//! The edge: the Unix socket, lines, HTTP and WebSocket, calls, answers and errors. It knows the coordinator and the wire's
//! types, and neither store nor Git nor processes.

mod advice;
mod budget;
mod connection;
mod context;
mod dispatch;
mod error;
mod events;
mod framing;
mod handlers;
mod http;
mod incoming;
mod input;
mod limits;
mod lingering;
mod listener;
mod order;
mod params;
mod peer;
mod protocol;
mod request;
mod rpc;
mod service;
mod shown;
mod telling;
mod terms;
mod verification;
mod websocket;
mod wire;

pub use context::{Identity, StopRequest};
pub use framing::{Frame, Framer};
pub use limits::Limits;
pub use listener::serve;
pub use peer::Peer;
pub use service::{Service, Stopping, service};
pub use terms::{InForce, Terms};
