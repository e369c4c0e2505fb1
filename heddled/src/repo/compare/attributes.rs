//! The attributes under which a merge is tried: those of the target, as its worktree would have them.
//!
//! `git merge-tree` reads `.gitattributes` from the worktree that it runs in, and so decides by what happens to be checked
//! out there. Here they are the target's, which is what the merge is made into, whatever is checked out where.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use gix::ObjectId;

use crate::repo::error::Error;
use crate::repo::trees::{self, folder};
use crate::repo::workplace::write_below;

/// The most bytes of a file of attributes; Git ignores larger ones.
const MOST: u64 = 100 * 1024 * 1024;

const NAME: &[u8] = b".gitattributes";

/// Writes the files of attributes that the target has in the folders in which something changed, for only these can apply.
pub(super) fn write(
    library: &gix::Repository,
    bases: &[Option<ObjectId>],
    target: ObjectId,
    tip: ObjectId,
    top: &Path,
) -> Result<(), Error> {
    let mut folders = BTreeSet::new();
    for base in bases {
        for side in [target, tip] {
            trees::changes(library, *base, Some(side), &mut |path, old, new| {
                if folder(old).or(folder(new)).is_some() {
                    folders.insert(path.to_owned());
                }
                Ok(())
            })?;
        }
    }
    below(library, target, &mut Vec::new(), &folders, top)
}

fn below(
    library: &gix::Repository,
    tree: ObjectId,
    path: &mut Vec<u8>,
    folders: &BTreeSet<Vec<u8>>,
    top: &Path,
) -> Result<(), Error> {
    let data = trees::read(library, Some(tree))?;
    for entry in trees::entries(library, &data)? {
        let length = path.len();
        path.extend_from_slice(entry.filename);
        if entry.mode.is_blob() && entry.filename == NAME {
            file(library, entry.oid, path, top)?;
        } else if entry.mode.is_tree() && folders.contains(&*path) && is_name(entry.filename) {
            path.push(b'/');
            below(library, entry.oid.to_owned(), path, folders, top)?;
        }
        path.truncate(length);
    }
    Ok(())
}

fn file(library: &gix::Repository, id: &gix::oid, path: &[u8], top: &Path) -> Result<(), Error> {
    let failed = |error: gix::Error| Error::library("read the attributes", error);
    if library.find_header(id).map_err(failed)?.size() > MOST {
        return Ok(());
    }
    let content = library.find_blob(id).map_err(failed)?;
    let written = write_below(top, path, &mut &content.data[..]);
    written.map(drop).map_err(|source| Error::io("write the attributes", top, source))
}

/// Whether it names something in a folder. A tree that Git did not make may say `..`.
fn is_name(name: &[u8]) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    let mut parts = Path::new(std::ffi::OsStr::from_bytes(name)).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part.as_bytes() == name)
}
