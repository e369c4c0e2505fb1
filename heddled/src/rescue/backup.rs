//! `heddled backup`: an image of the state in one file, which is read back before it gets its name.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::RescueError;
use super::workspace::Workspace;
use crate::store::{self, BackupHead, Examined, Image};

/// A backup that was made.
pub(super) struct Made {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) head: BackupHead,
    pub(super) examined: Examined,
}

pub(super) fn run(workspace: &Workspace<'_>, file: &Path, force: bool) -> Result<Made, RescueError> {
    let path = workspace.absolute(file);
    if !force && fs::symlink_metadata(&path).is_ok() {
        return Err(RescueError::Exists { path });
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    if is_within(directory, &workspace.config.state_dir) {
        return Err(RescueError::Inside { path });
    }
    let failed = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| RescueError::Io { operation, path, source }
    };
    let image = Image::take(&workspace.config.state_dir)?;
    let head = BackupHead::new(&image, workspace.now());
    // Under a name of its own until it is whole, on the disk, and was read back.
    let written = tempfile::Builder::new()
        .prefix(".heddle-backup-")
        .suffix(".partial")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)
        .map_err(failed("make a file in", directory))?;
    store::pack(image, &head, written.path(), written.as_file())?;
    written.as_file().sync_all().map_err(failed("sync", written.path()))?;
    let bytes = written.as_file().metadata().map_err(failed("look at", written.path()))?.len();
    let scratch = workspace.scratch()?;
    let head = store::unpack(written.path(), scratch.path())?;
    let examined = store::examine(scratch.path())?;
    let named = if force { written.persist(&path) } else { written.persist_noclobber(&path) };
    named.map_err(|error| {
        let is_there = error.error.kind() == std::io::ErrorKind::AlreadyExists;
        if is_there {
            RescueError::Exists { path: path.clone() }
        } else {
            failed("name the backup", &path)(error.error)
        }
    })?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("sync", directory))?;
    Ok(Made { path, bytes, head, examined })
}

/// Whether a directory is the state directory or below it, however it is named.
fn is_within(directory: &Path, state_dir: &Path) -> bool {
    let (directory, state_dir) = (fs::canonicalize(directory), fs::canonicalize(state_dir));
    directory.ok().zip(state_dir.ok()).is_some_and(|(directory, state_dir)| directory.starts_with(state_dir))
}
