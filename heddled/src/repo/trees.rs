//! Trees, entry by entry: what one has, and in which paths two differ.
//!
//! Entries are in the order of names, so that a file and a folder of one name meet; Git's own order has a folder's name end
//! with a slash. What is the same on both sides is not looked into. Whoever writes a repository's objects may nest folders
//! in it as deep as it likes, and name one folder in many places: beyond [`DEEPEST`] and [`MOST`] nobody follows.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use gix::ObjectId;
use gix::objs::TreeRefIter;
use gix::objs::tree::{EntryMode, EntryRef};

use super::error::Error;

const OPERATION: &str = "read the tree";

/// How deep folders may nest, in trees and in an index: what is walked by recursion must not run out of stack, which would
/// end the daemon.
pub(super) const DEEPEST: usize = 400;

/// In how many paths two trees may differ. A folder that is in itself ten times, and that in another ten times, soon has
/// more of them than anybody can wait for or keep.
const MOST: u32 = if cfg!(test) { 100_000 } else { 4_000_000 };

/// A mode and an object: what an entry is, whatever its name.
pub(super) type What = (EntryMode, ObjectId);

/// What an entry is.
pub(super) fn what(entry: &EntryRef<'_>) -> What {
    (entry.mode, entry.oid.to_owned())
}

/// The folder that an entry is, if it is one.
pub(super) fn folder(what: Option<What>) -> Option<ObjectId> {
    what.filter(|what| what.0.is_tree()).map(|what| what.1)
}

/// Reads a tree; no tree is an empty one.
pub(super) fn read(library: &gix::Repository, tree: Option<ObjectId>) -> Result<Vec<u8>, Error> {
    let Some(tree) = tree else { return Ok(Vec::new()) };
    let mut tree = library.find_tree(tree).map_err(|error| Error::library(OPERATION, error))?;
    Ok(tree.take_data())
}

/// The entries of a tree that was read, by name.
pub(super) fn entries<'a>(library: &gix::Repository, tree: &'a [u8]) -> Result<Vec<EntryRef<'a>>, Error> {
    let entries = TreeRefIter::from_bytes(tree, library.object_hash());
    let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(|error| Error::library(OPERATION, error))?;
    entries.sort_by(|one, other| one.filename.cmp(other.filename));
    Ok(entries)
}

/// Calls `visit` with each path at which two trees differ, and with what is there in the one and in the other: files, links,
/// submodules, and folders, which come before what is in them.
pub(super) fn changes(
    library: &gix::Repository,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
    visit: &mut Visit<'_>,
) -> Result<(), Error> {
    let mut left = MOST;
    let mut counted = |path: &[u8], old: Option<What>, new: Option<What>| {
        left =
            left.checked_sub(1).ok_or_else(|| Error::malformed(OPERATION, Path::new(""), "too many paths differ"))?;
        visit(path, old, new)
    };
    below(library, old, new, &mut Vec::new(), &mut counted)
}

/// Fails for a folder that nests too deep, by its path with a slash at the end.
fn refuse_deeper(folder: &[u8]) -> Result<(), Error> {
    if folder.iter().filter(|byte| **byte == b'/').count() > DEEPEST {
        return Err(Error::malformed(OPERATION, Path::new(OsStr::from_bytes(folder)), "its folders nest too deep"));
    }
    Ok(())
}

/// What is called with a path and with what is there, before and after.
pub(super) type Visit<'a> = dyn FnMut(&[u8], Option<What>, Option<What>) -> Result<(), Error> + 'a;

fn below(
    library: &gix::Repository,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
    path: &mut Vec<u8>,
    visit: &mut Visit<'_>,
) -> Result<(), Error> {
    let (old, new) = (read(library, old)?, read(library, new)?);
    let (old, new) = (entries(library, &old)?, entries(library, &new)?);
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    while let Some(name) = old.peek().into_iter().chain(new.peek()).map(|entry| entry.filename).min() {
        let before = old.next_if(|entry| entry.filename == name).map(what);
        let after = new.next_if(|entry| entry.filename == name).map(what);
        if before == after {
            continue;
        }
        let length = path.len();
        path.extend_from_slice(name);
        visit(path, before, after)?;
        if folder(before).or(folder(after)).is_some() {
            path.push(b'/');
            refuse_deeper(path)?;
            below(library, folder(before), folder(after), path, visit)?;
        }
        path.truncate(length);
    }
    Ok(())
}

/// Whether a path is one of a file, link or submodule, in one of the trees at least: a folder alone is no path that changed.
pub(super) fn is_path(old: Option<What>, new: Option<What>) -> bool {
    [old, new].into_iter().flatten().any(|what| !what.0.is_tree())
}
