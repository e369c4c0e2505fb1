//! Which paths differ between two trees, and which of them have a file's content now.

use gix::ObjectId;

use crate::repo::error::Error;
use crate::repo::opened::shown_bytes;
use crate::repo::refs::convert;
use crate::repo::trees;

/// The most paths that are kept; all are counted.
const MOST: usize = 100;

/// The paths that differ.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// The first of them, as the wire shows them.
    pub(super) paths: Vec<String>,
    /// How many there are.
    pub(super) count: u64,
    /// Those that are plain files in the new tree.
    pub(super) files: Vec<Vec<u8>>,
    /// The objects that only the new tree leads to, as far as their paths tell.
    pub(super) added: Vec<proto_schema::ObjectId>,
}

impl Changed {
    /// Compares two trees.
    pub(super) fn between(library: &gix::Repository, old: ObjectId, new: ObjectId) -> Result<Self, Error> {
        let mut changed = Self { added: vec![convert(&new)?], ..Self::default() };
        trees::changes(library, Some(old), Some(new), &mut |path, old, new| {
            if let Some((_, id)) = new.filter(|new| !new.0.is_commit()) {
                changed.added.push(convert(&id)?);
            }
            if new.is_some_and(|new| new.0.is_blob()) {
                changed.files.push(path.to_owned());
            }
            if trees::is_path(old, new) {
                changed.count += 1;
                if changed.paths.len() < MOST {
                    changed.paths.push(shown_bytes(path).to_string());
                }
            }
            Ok(())
        })?;
        Ok(changed)
    }
}
