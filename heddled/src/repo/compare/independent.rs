//! Whether two sides change different things, so that a merge of them is clean whatever Git's rules for renames are.
//!
//! With one merge base, a merge is clean when at every path at most one side differs from the base, or both are the same.
//! That would be all, were it not for renames: Git takes a file that a side deleted and one that it added for the same. The
//! rules here leave no room for them, by what `merge-ort` does with a rename:
//!
//! - It merges what the other side has at the old path. If that is not as in the base, both sides differ there, for the one
//!   that renamed it has nothing there: not independent.
//! - It puts the result at the new path. If the other side has something there, both sides differ there: not independent,
//!   unless both added the same; that counts as a clash, too.
//! - Both sides may have renamed a file: then both have deleted it, which counts as a clash.
//! - When a side has nothing left of a folder, files that the other side adds below it may follow the renames out of it. Then
//!   one side has no such folder, the other has changed it: not independent.
//!
//! So a folder is looked into only where both sides changed it and both still have it; what one side did elsewhere, renames
//! included, cannot meet anything of the other's. A file in the place of a folder is a change of both as soon as the other
//! side touches the folder, or the file.
//!
//! It errs to one side alone: what is not independent may still merge cleanly, and Git is asked.
//!
//! Folders are taken from a list and not by recursion, and the same three only once: whoever writes a repository's objects
//! may nest them without an end, and name one in many places.

use std::collections::HashSet;

use gix::ObjectId;

use crate::repo::error::Error;
use crate::repo::trees::{self, What};

/// Whether a merge of two trees with this one base is clean because they changed different things.
pub(in crate::repo) fn are_independent(
    library: &gix::Repository,
    base: Option<ObjectId>,
    one: ObjectId,
    other: ObjectId,
) -> Result<bool, Error> {
    let mut folders = vec![(base, one, other)];
    let mut seen = HashSet::new();
    while let Some(folder) = folders.pop() {
        if seen.insert(folder) && !is_independent(library, folder, &mut folders)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A folder in the base, if it is there, and on both sides.
type Folder = (Option<ObjectId>, ObjectId, ObjectId);

/// Whether a folder is so as far as can be told without those in it that both have changed, which are added to the list.
fn is_independent(
    library: &gix::Repository,
    (base, one, other): Folder,
    folders: &mut Vec<Folder>,
) -> Result<bool, Error> {
    let base = trees::read(library, base)?;
    let (one, other) = (trees::read(library, Some(one))?, trees::read(library, Some(other))?);
    let [base, one, other] =
        [trees::entries(library, &base)?, trees::entries(library, &one)?, trees::entries(library, &other)?];
    let mut left = [base.iter().peekable(), one.iter().peekable(), other.iter().peekable()];
    while let Some(name) = left.iter_mut().filter_map(|side| side.peek().map(|entry| entry.filename)).min() {
        let [base, one, other] =
            left.each_mut().map(|side| side.next_if(|entry| entry.filename == name).map(trees::what));
        if base == one || base == other {
            continue;
        }
        match (trees::folder(base), trees::folder(one), trees::folder(other)) {
            // Both have added this folder or changed it.
            (below, Some(one), Some(other)) if below.is_some() || base.is_none() => folders.push((below, one, other)),
            _ if one == other && is_file(base) && is_file(one) => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn is_file(what: Option<What>) -> bool {
    what.is_some_and(|what| !what.0.is_tree())
}
