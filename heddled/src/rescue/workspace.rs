//! What every rescue of a registry works with.

use std::path::{Path, PathBuf};

use super::error::RescueError;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::paths::Environment;

/// Where a rescue works: the configuration, the environment, the clock.
pub(super) struct Workspace<'a> {
    pub(super) config: &'a Config,
    pub(super) environment: &'a Environment,
    pub(super) current_dir: &'a Path,
    pub(super) clock: SystemClock,
}

impl Workspace<'_> {
    /// The absolute form of a path from the command line.
    pub(super) fn absolute(&self, path: &Path) -> PathBuf {
        self.current_dir.join(path)
    }

    /// The wall time.
    pub(super) fn now(&self) -> proto_schema::Timestamp {
        self.clock.wall()
    }

    /// Makes a private directory for copies; dropping it removes it.
    pub(super) fn scratch(&self) -> Result<tempfile::TempDir, RescueError> {
        use std::os::unix::fs::PermissionsExt;

        let above = self.environment.get("TMPDIR").map(Path::new).filter(|path| path.is_absolute());
        let above = above.unwrap_or(Path::new("/tmp"));
        tempfile::Builder::new()
            .prefix("heddled-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(above)
            .map_err(|source| RescueError::Scratch { path: above.to_owned(), source })
    }
}
