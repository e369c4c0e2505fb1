//! Which paths differ between two trees, and which of them have a file's content now.

use gix::ObjectId;
use gix::objs::tree::EntryMode;

use crate::repo::error::Error;
use crate::repo::opened::shown;
use crate::repo::refs::convert;

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

type Entry = (Vec<u8>, EntryMode, ObjectId);

impl Changed {
    /// Compares two trees; none counts as empty.
    pub(super) fn between(library: &gix::Repository, old: ObjectId, new: ObjectId) -> Result<Self, Error> {
        let mut changed = Self { added: vec![convert(&new)?], ..Self::default() };
        changed.trees(library, Some(old), Some(new), &mut Vec::new())?;
        Ok(changed)
    }

    fn trees(
        &mut self,
        library: &gix::Repository,
        old: Option<ObjectId>,
        new: Option<ObjectId>,
        path: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let (old, new) = (entries(library, old)?, entries(library, new)?);
        let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
        loop {
            // Both are in the order of names here: a file and a folder of one name meet.
            let (before, after) = match (old.peek(), new.peek()) {
                (None, None) => return Ok(()),
                (Some(before), Some(after)) if before.0 == after.0 => (old.next(), new.next()),
                (Some(before), Some(after)) if before.0 < after.0 => (old.next(), None),
                (Some(_), None) => (old.next(), None),
                (_, Some(_)) => (None, new.next()),
            };
            if before.map(|entry| (entry.1, entry.2)) != after.map(|entry| (entry.1, entry.2)) {
                self.entry(library, before, after, path)?;
            }
        }
    }

    fn entry(
        &mut self,
        library: &gix::Repository,
        old: Option<&Entry>,
        new: Option<&Entry>,
        path: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let length = path.len();
        path.extend_from_slice(old.or(new).map_or(&[][..], |entry| &entry.0));
        if let Some(entry) = new.filter(|entry| !entry.1.is_commit()) {
            self.added.push(convert(&entry.2)?);
        }
        let is_tree = |entry: &&Entry| entry.1.is_tree();
        if old.is_some_and(|entry| !entry.1.is_tree()) || new.is_some_and(|entry| !entry.1.is_tree()) {
            self.take(path);
        }
        if new.is_some_and(|entry| entry.1.is_blob()) {
            self.files.push(path.clone());
        }
        let (old, new) = (old.filter(is_tree), new.filter(is_tree));
        if old.is_some() || new.is_some() {
            path.push(b'/');
            self.trees(library, old.map(|entry| entry.2), new.map(|entry| entry.2), path)?;
        }
        path.truncate(length);
        Ok(())
    }

    fn take(&mut self, path: &[u8]) {
        use std::os::unix::ffi::OsStrExt as _;
        self.count += 1;
        if self.paths.len() < MOST {
            self.paths.push(shown(std::path::Path::new(std::ffi::OsStr::from_bytes(path))).to_string());
        }
    }
}

fn entries(library: &gix::Repository, tree: Option<ObjectId>) -> Result<Vec<Entry>, Error> {
    let Some(tree) = tree else { return Ok(Vec::new()) };
    let tree = library.find_tree(tree).map_err(|error| Error::library("read the tree", error))?;
    let mut entries = Vec::new();
    for entry in tree.iter() {
        let entry = entry.map_err(|error| Error::library("read the tree", error))?;
        entries.push((entry.filename().to_vec(), entry.mode(), entry.object_id()));
    }
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(entries)
}
