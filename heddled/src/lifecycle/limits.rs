//! How many files the daemon may have open: every connection, watched process and repository needs some.
//!
//! It may not fail the start: too few is a warning, and each user of descriptors has a limit of its own.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The soft limit of open files before and after it was raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenFiles {
    /// As it was inherited.
    pub before: u64,
    /// As it is now.
    pub now: u64,
}

/// What macOS takes at most, whatever its hard limit says (`OPEN_MAX`).
const OPEN_MAX: u64 = 10_240;

/// Raises the soft limit of open files to the hard one.
///
/// # Errors
///
/// If the limit can be neither read nor raised; it is then as it was.
pub fn raise_open_files() -> Result<OpenFiles, nix::Error> {
    let (before, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if before < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).or_else(|error| {
            let less = hard.min(OPEN_MAX);
            if less > before { setrlimit(Resource::RLIMIT_NOFILE, less, hard) } else { Err(error) }
        })?;
    }
    let (now, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(OpenFiles { before, now })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let raised = raise_open_files().unwrap();
        assert!(raised.now >= raised.before);
        assert!(raised.now == hard || raised.now == OPEN_MAX, "{raised:?} of {hard}");
        assert_eq!(raise_open_files().unwrap(), OpenFiles { before: raised.now, now: raised.now }, "once is enough");
    }
}
