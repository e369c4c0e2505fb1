//! What `heddlectl run` is made of: the first process of a container, the gate that CMD waits behind, the signals, the watch over the reservation.

pub(crate) mod first;
pub(crate) mod gate;
pub(crate) mod release;
pub(crate) mod signals;
pub(crate) mod supervise;
pub(crate) mod watch;
