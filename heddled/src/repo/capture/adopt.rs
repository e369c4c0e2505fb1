//! Letting what was looked at into the repository: Git's objects, and those that the `lfs` filter stored.

use std::io;
use std::path::Path;

use super::found::Found;
use crate::repo::error::Error;
use crate::repo::files::{open_plain, sync, sync_directory};
use crate::repo::workplace::Work;

const OPERATION: &str = "store the objects";

/// Moves the new objects of a tree into the repository, each after those that it leads to. They are made durable with
/// the commit.
pub(super) fn objects(work: &Work<'_>, found: &Found) -> Result<(), Error> {
    let blobs = found.blobs.iter().map(|blob| blob.id);
    blobs.chain(found.trees.iter().copied()).try_for_each(|id| object(work, id))
}

/// Moves one object into the repository.
pub(super) fn object(work: &Work<'_>, id: gix::ObjectId) -> Result<(), Error> {
    let hex = id.to_string();
    let (folder, file) = hex.split_at(2);
    let name = format!("objects/{folder}/{file}");
    let target = work.common.join(&name);
    place(&work.path(&name), &target).map(drop).map_err(|source| Error::io(OPERATION, &target, source))
}

/// Moves the objects of `lfs` into the repository and makes them durable.
pub(super) fn large(work: &Work<'_>, ids: &[String]) -> Result<(), Error> {
    for id in ids {
        let name = format!("lfs/objects/{}/{}/{id}", &id[..2], &id[2..4]);
        let (from, target) = (work.path(&name), work.common.join(&name));
        let placed = || {
            // A filter that is called lfs and is none stores nothing.
            if !from.exists() || !place(&from, &target)? {
                return Ok(());
            }
            sync(&open_plain(&target)?)?;
            let folders = target.ancestors().skip(1).take_while(|folder| folder.starts_with(work.common));
            folders.take(5).try_for_each(sync_directory)
        };
        placed().map_err(|source| Error::io(OPERATION, &target, source))?;
    }
    Ok(())
}

/// Moves a file to where its name says what is in it; false when it is there already.
fn place(from: &Path, to: &Path) -> io::Result<bool> {
    if std::fs::symlink_metadata(to).is_ok() {
        return Ok(false);
    }
    let renamed = match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            to.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::rename(from, to)
        }
        other => other,
    };
    match renamed {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            // As Git calls what is not completed, so that its clean-up finds it.
            let name = from.file_name().unwrap_or_default().to_string_lossy();
            let half = to.with_file_name(format!("tmp_obj_{name}"));
            std::fs::copy(from, &half).and_then(|_| std::fs::rename(&half, to)).map(|()| true)
        }
        other => other.map(|()| true),
    }
}
