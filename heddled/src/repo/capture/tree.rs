//! The tree of an index, as `git write-tree` makes it: folders of which the index knows the tree are not looked into.
//!
//! In process, because a process would read and write the whole index once more.

use gix::ObjectId;
use gix::index::entry::{Flags, Mode, Stage};
use gix::index::extension::Tree as Known;
use gix::index::{Entry, File};
use gix::objs::tree::{Entry as TreeEntry, EntryKind};

use crate::repo::error::Error;

const OPERATION: &str = "write the tree";

/// Writes the trees that the index leads to and that are not there yet; gives the root.
pub(super) fn write(library: &gix::Repository, index: &File) -> Result<ObjectId, Error> {
    Trees { library, index }.folder(index.entries(), 0, index.tree())
}

struct Trees<'a> {
    library: &'a gix::Repository,
    index: &'a File,
}

impl Trees<'_> {
    /// The tree of a folder, given its entries and how much of their paths leads to it.
    fn folder(&self, mut entries: &[Entry], above: usize, known: Option<&Known>) -> Result<ObjectId, Error> {
        if let Some(known) = known
            && known.num_entries.and_then(|number| usize::try_from(number).ok()) == Some(entries.len())
        {
            return Ok(known.id);
        }
        let mut tree = gix::objs::Tree::empty();
        while let Some(first) = entries.first() {
            let name = &first.path(self.index)[above..];
            let end = name.iter().position(|byte| *byte == b'/');
            let (length, entry) = match end {
                // A folder that a sparse index keeps as one entry.
                Some(end) if end + 1 == name.len() => (1, self.entry(first, &name[..end], EntryKind::Tree)),
                Some(end) => {
                    let below = &first.path(self.index)[..=above + end];
                    let length = entries.partition_point(|entry| entry.path(self.index).starts_with(below));
                    let known = known.and_then(|known| known.children.iter().find(|child| *child.name == name[..end]));
                    let oid = self.folder(&entries[..length], above + end + 1, known)?;
                    let entry = TreeEntry { mode: EntryKind::Tree.into(), filename: name[..end].into(), oid };
                    (length, (!is_empty(self.library, oid)).then_some(entry))
                }
                None => (1, self.entry(first, name, kind(first.mode)?)),
            };
            tree.entries.extend(entry);
            entries = &entries[length..];
        }
        let written = self.library.write_object(&tree).map_err(|error| Error::library(OPERATION, error))?;
        Ok(written.detach())
    }

    fn entry(&self, entry: &Entry, name: &[u8], kind: EntryKind) -> Option<TreeEntry> {
        let counts = entry.stage() == Stage::Unconflicted && !entry.flags.contains(Flags::INTENT_TO_ADD);
        counts.then(|| TreeEntry { mode: kind.into(), filename: name.into(), oid: entry.id })
    }
}

/// Whether a tree has nothing in it: Git keeps no such folder.
fn is_empty(library: &gix::Repository, tree: ObjectId) -> bool {
    tree == ObjectId::empty_tree(library.object_hash())
}

fn kind(mode: Mode) -> Result<EntryKind, Error> {
    match mode {
        Mode::FILE => Ok(EntryKind::Blob),
        Mode::FILE_EXECUTABLE => Ok(EntryKind::BlobExecutable),
        Mode::SYMLINK => Ok(EntryKind::Link),
        Mode::COMMIT => Ok(EntryKind::Commit),
        _ => Err(Error::malformed(OPERATION, std::path::Path::new("index"), "an entry has an unknown mode")),
    }
}
