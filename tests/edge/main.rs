//! The daemon's edge against the real system: processes that die, sockets that outlive them, signals, namespaces.

#[cfg(test)]
mod daemon;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod namespaces;
#[cfg(test)]
mod support;
