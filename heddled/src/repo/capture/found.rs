//! What a capture has written that the repository did not have: the new trees, and the new content with its paths.

use std::collections::BTreeSet;

use gix::ObjectId;

use crate::repo::error::Error;

/// New content, and one path that has it.
#[derive(Clone, Debug)]
pub(super) struct NewBlob {
    pub(super) path: Vec<u8>,
    pub(super) id: ObjectId,
    pub(super) size: u64,
}

/// The new objects that a tree leads to.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Each after those that it leads to.
    pub(super) trees: Vec<ObjectId>,
    pub(super) blobs: Vec<NewBlob>,
    /// The submodules and embedded repositories that new trees name.
    pub(super) repositories: Vec<(Vec<u8>, ObjectId)>,
}

impl Found {
    /// Finds the objects below a tree that are among those written; below one that is not, everything is old.
    pub(super) fn below(
        library: &gix::Repository,
        root: ObjectId,
        written: &BTreeSet<ObjectId>,
    ) -> Result<Self, Error> {
        let mut found = Self::default();
        found.tree(library, root, &mut Vec::new(), &mut written.clone())?;
        Ok(found)
    }

    fn tree(
        &mut self,
        library: &gix::Repository,
        id: ObjectId,
        path: &mut Vec<u8>,
        left: &mut BTreeSet<ObjectId>,
    ) -> Result<(), Error> {
        if !left.remove(&id) {
            return Ok(());
        }
        let failed = |error| Error::library("read the tree", error);
        let tree = library.find_tree(id).map_err(failed)?;
        for entry in tree.iter() {
            let entry = entry.map_err(|error| Error::library("read the tree", error))?;
            let before = path.len();
            path.extend_from_slice(entry.filename());
            if entry.mode().is_tree() {
                path.push(b'/');
                self.tree(library, entry.object_id(), path, left)?;
            } else if entry.mode().is_commit() {
                self.repositories.push((path.clone(), entry.object_id()));
            } else if left.remove(&entry.object_id()) {
                let header = library.find_header(entry.object_id());
                let size = header.map_err(|error| Error::library("read the file's object", error))?.size();
                self.blobs.push(NewBlob { path: path.clone(), id: entry.object_id(), size });
            }
            path.truncate(before);
        }
        self.trees.push(id);
        Ok(())
    }
}
