//! The process that holds a session, named so that nothing else can be taken for it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A process, told apart from every other that ever had or will have its pid.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct HolderProcess {
    /// Its pid in the daemon's pid namespace.
    pub pid: i32,
    /// When it started, in the kernel's own unit (on Linux clock ticks since boot: field 22 of `/proc/<pid>/stat`).
    pub start_time: u64,
    /// The boot in which it was seen.
    pub boot_id: Arc<str>,
    /// The inode of its pid namespace; 0 where there are none.
    pub pid_namespace: u64,
    /// The number of that namespace, which no other has in the same boot; 0 where the system has none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub namespace_id: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_none(namespace_id: &u64) -> bool {
    *namespace_id == 0
}
