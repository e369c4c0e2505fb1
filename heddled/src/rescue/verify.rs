//! `heddled verify`: whether a state or a backup is what was written, and whether what it says is true.
//!
//! A state that a daemon uses is looked at in an image of it; nothing is written but copies in a directory of their own.

use std::path::{Path, PathBuf};

use super::error::RescueError;
use super::error::problem;
use super::workspace::Workspace;
use crate::store::{self, BackupHead, Examined, Image};

/// What was found.
pub(super) struct Verified {
    pub(super) path: PathBuf,
    /// Who made it when, where it is a backup.
    pub(super) head: Option<BackupHead>,
    pub(super) is_backup: bool,
    /// What is in it; or why that cannot be told.
    pub(super) found: Result<Examined, String>,
}

pub(super) fn run(workspace: &Workspace<'_>, path: Option<&Path>) -> Result<Verified, RescueError> {
    let named = path.map(|path| workspace.absolute(path));
    let is_backup = named.as_ref().is_some_and(|path| !path.is_dir());
    let path = named.unwrap_or_else(|| workspace.config.state_dir.clone());
    let scratch = workspace.scratch()?;
    let mut head = None;
    let unpacked = if is_backup {
        store::unpack(&path, scratch.path()).map(|found| head = Some(found))
    } else {
        Image::take(&path).and_then(|image| image.unpack(scratch.path()))
    };
    let found = match unpacked.and_then(|()| store::examine(scratch.path())) {
        Ok(examined) => Ok(examined),
        Err(store::Error::Damaged { path: part, why, state }) => {
            // The copy that was examined is not what anybody has to mend.
            let part = part.strip_prefix(scratch.path()).map_or_else(|_| part.clone(), |inner| path.join(inner));
            Err(problem(&store::Error::Damaged { path: part, why, state }))
        }
        Err(error @ (store::Error::Backup { .. } | store::Error::NewerFormat { .. })) => Err(problem(&error)),
        Err(error) => return Err(error.into()),
    };
    Ok(Verified { path, head, is_backup, found })
}
