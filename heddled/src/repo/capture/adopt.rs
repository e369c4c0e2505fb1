//! Letting what was looked at into the repository: Git's objects, and those that the `lfs` filter stored.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::found::Found;
use crate::repo::error::Error;
use crate::repo::files::{folder_beneath, open_plain, sync, sync_directory};
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
    let from = work.path(&format!("objects/{folder}/{file}"));
    let objects = work.common.join("objects");
    let placed = Folder::beneath(&objects, Path::new(folder)).and_then(|folder| folder.place(&from, file));
    placed.map(drop).map_err(|source| Error::io(OPERATION, &objects.join(folder).join(file), source))
}

/// Moves the objects of `lfs` into the repository and makes them durable.
pub(super) fn large(work: &Work<'_>, ids: &[String]) -> Result<(), Error> {
    for id in ids {
        let name = ["lfs", "objects", &id[..2], &id[2..4]].join("/");
        let (from, target) = (work.path(&name).join(id), work.common.join(&name).join(id));
        let placed = || {
            // A filter that is called lfs and is none stores nothing.
            if !from.exists() || !Folder::beneath(work.common, Path::new(&name))?.place(&from, id)? {
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

/// A folder of objects, kept open. The way to it from where it begins leads through no link, which an agent may have put
/// there: what is stored must not land elsewhere.
struct Folder(OwnedFd);

impl Folder {
    /// Opens it, and makes what is missing.
    fn beneath(top: &Path, way: &Path) -> io::Result<Self> {
        folder_beneath(top, way, true)?.map(Self).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Moves a file to where its name says what is in it; false when it is there already.
    fn place(&self, from: &Path, name: &str) -> io::Result<bool> {
        if statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            return Ok(false);
        }
        match renameat(CWD, from, &self.0, name) {
            Err(Errno::XDEV) => {
                // Begins as Git's names for incomplete objects do, so that its clean-up finds it. The rest is random: neither
                // another capture of the same content nor what a kill left behind is in the way.
                let half = format!("tmp_obj_{:016x}", getrandom::u64().map_err(io::Error::other)?);
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let written = openat(&self.0, &*half, flags, Mode::from_raw_mode(0o444)).map(File::from)?;
                let placed = File::open(from)
                    .and_then(|mut from| io::copy(&mut from, &mut &written))
                    // Over one that another capture has placed meanwhile: it has the same content.
                    .and_then(|_| Ok(renameat(&self.0, &*half, &self.0, name)?));
                if placed.is_err() {
                    unlinkat(&self.0, &*half, AtFlags::empty()).unwrap_or_default();
                }
                placed?;
                Ok(true)
            }
            other => Ok(other.map(|()| true)?),
        }
    }
}
