//! The listening socket from launchd (macOS). See [`super::activation`] for what is asked of it.
//!
//! It has been type-checked and never been run: no test machine has launchd.

use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::os::fd::RawFd;
use std::ptr;

use nix::errno::Errno;
use nix::libc::{free, size_t};

use super::activation::{ActivationError, Handed, own};
use crate::paths::Environment;

/// The socket's name in the property list.
const NAME: &CStr = c"Listeners";

#[expect(unsafe_code, reason = "launchd has no other interface for this than its C function")]
unsafe extern "C" {
    /// See launch(3): gives an array of descriptors, which the caller frees, and how many.
    fn launch_activate_socket(name: *const c_char, descriptors: *mut *mut c_int, count: *mut size_t) -> c_int;
}

/// Takes what launchd hands over, if launchd started this process. To be called first in `main`.
///
/// # Errors
///
/// [`ActivationError::Launchd`] or [`ActivationError::NotOpen`].
pub fn handed_over(_environment: &Environment) -> Result<Handed, ActivationError> {
    let raw = match activate() {
        Ok(raw) => raw,
        // Not started by launchd, or by a property list without a socket.
        Err(Errno::ESRCH | Errno::ENOENT) => return Ok(Handed::default()),
        Err(error) => {
            return Err(ActivationError::Launchd { name: "Listeners", source: io::Error::from(error) });
        }
    };
    raw.into_iter().map(|raw| own(raw).ok_or(ActivationError::NotOpen(raw))).collect::<Result<_, _>>().map(Handed)
}

#[expect(unsafe_code, reason = "a C function fills in a pointer and a length")]
fn activate() -> Result<Vec<RawFd>, Errno> {
    let (mut descriptors, mut count) = (ptr::null_mut(), 0);
    // SAFETY: the name is a C string that lives for ever, and both places to write to outlive the call.
    let code = unsafe { launch_activate_socket(NAME.as_ptr(), &raw mut descriptors, &raw mut count) };
    if code != 0 {
        return Err(Errno::from_raw(code));
    }
    if descriptors.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: on success it is an array of that many numbers, made by malloc, and ours from now on.
    let taken = unsafe { std::slice::from_raw_parts(descriptors, count) }.to_vec();
    // SAFETY: as above; nothing refers to it any more.
    unsafe { free(descriptors.cast()) };
    Ok(taken)
}
