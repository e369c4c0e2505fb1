//! Who is measured: each starts its server and knows what to say to it.

pub(crate) mod calls;
pub(crate) mod echo;
pub(crate) mod heddled;
pub(crate) mod redis;
