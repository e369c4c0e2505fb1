//! Whether another pid namespace is gone, with every process that was in it (Linux).
//!
//! A namespace has a number that no other gets before the next boot, and newer kernels open one by it. They refuse that
//! in the words "there is none" where they only do not permit it, so an absent namespace counts as gone only if this
//! process may open one that is certainly there and is not its own: the first one of the machine.

use std::ffi::{CStr, c_int, c_uint};
use std::fs::File;
use std::os::fd::FromRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::libc;

/// The file handle of a namespace as the kernel has it.
#[repr(C)]
struct Handle {
    bytes: c_uint,
    kind: c_int,
    id: u64,
    namespace: u32,
    inode: u32,
}

const BYTES: c_uint = 16;
const KIND: c_int = 0xf1;
/// Says in which file system the handle is (`FD_NSFS_ROOT`).
const NAMESPACES: c_int = -10003;
const PID: u32 = 0x2000_0000;
/// The inode of the machine's first pid namespace.
const FIRST: u32 = 0xefff_fffc;
/// The numbers that the machine's first namespaces may have: 1 to 8, or, on the first kernels that have them, from 4096 on.
const FIRST_IDS: [std::ops::Range<u64>; 2] = [1..9, 4096..4352];

/// The number of this process's own pid namespace; none where the system has no such numbers.
pub(super) fn own_id() -> Option<u64> {
    const OWN: &CStr = c"/proc/self/ns/pid";
    let mut handle = Handle { bytes: BYTES, kind: 0, id: 0, namespace: 0, inode: 0 };
    let mut mount: c_int = 0;
    #[expect(unsafe_code, reason = "there is no other interface to this than a C function that fills in a struct")]
    // SAFETY: the path is a C string, and the handle has as much room as it says; both outlive the call.
    let code = unsafe {
        libc::name_to_handle_at(
            libc::AT_FDCWD,
            OWN.as_ptr(),
            (&raw mut handle).cast(),
            &raw mut mount,
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    (code == 0 && handle.bytes == BYTES && handle.kind == KIND && handle.namespace == PID).then_some(handle.id)
}

/// Whether the namespace of that number and inode is certainly gone.
pub(super) fn is_gone(id: u64, inode: u64) -> bool {
    let Ok(inode) = u32::try_from(inode) else { return false };
    let is_first = || std::fs::metadata("/proc/self/ns/pid").is_ok_and(|own| own.ino() == u64::from(FIRST));
    id != 0 && open(id, inode) == Err(Errno::ESTALE) && !is_first() && may_open_others()
}

/// Whether this process may open the machine's first pid namespace, which is not its own.
fn may_open_others() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| FIRST_IDS.into_iter().flatten().any(|id| open(id, FIRST).is_ok()))
}

fn open(id: u64, inode: u32) -> Result<(), Errno> {
    let mut handle = Handle { bytes: BYTES, kind: KIND, id, namespace: PID, inode };
    #[expect(unsafe_code, reason = "there is no other interface to this than a C function that reads a struct")]
    // SAFETY: the handle is as long as it says and outlives the call.
    let opened =
        unsafe { libc::open_by_handle_at(NAMESPACES, (&raw mut handle).cast(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if opened < 0 {
        return Err(Errno::last());
    }
    #[expect(unsafe_code, reason = "the descriptor comes from a C function")]
    // SAFETY: the descriptor is open, and nothing else has it.
    drop(unsafe { File::from_raw_fd(opened) });
    Ok(())
}
