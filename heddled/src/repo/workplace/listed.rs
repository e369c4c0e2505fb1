//! What an index lists that needs care, read in one go.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use gix::index::entry::{Flags, Mode, Stage};

use crate::repo::capture::CaptureRefused;
use crate::repo::error::Error;
use crate::repo::trees::DEEPEST;

/// What the private copy of the index lists.
#[derive(Debug, Default)]
pub(in crate::repo) struct Listed {
    conflicts: BTreeSet<PathBuf>,
    /// The submodules and embedded repositories, and the states that the index has of them.
    pub(in crate::repo) repositories: BTreeMap<Vec<u8>, gix::ObjectId>,
    /// Those of them that a sparse checkout does not leave out.
    pub(in crate::repo) present: Vec<Vec<u8>>,
    /// The files of attributes.
    pub(in crate::repo) attributes: BTreeSet<Vec<u8>>,
}

impl Listed {
    /// Reads it; fails where a path leads out of the worktree, or into a Git directory: Git itself would follow it.
    pub(in crate::repo) fn of(index: &gix::index::File) -> Result<Self, Error> {
        let mut listed = Self::default();
        for entry in index.entries() {
            let path = entry.path(index);
            check(path)?;
            if entry.stage() != Stage::Unconflicted {
                listed.conflicts.insert(OsString::from_vec(path.to_vec()).into());
            }
            if entry.mode == Mode::COMMIT {
                listed.repositories.insert(path.to_vec(), entry.id);
                if !entry.flags.contains(Flags::SKIP_WORKTREE) {
                    listed.present.push(path.to_vec());
                }
            }
            if path.ends_with(b".gitattributes") {
                listed.attributes.insert(path.to_vec());
            }
        }
        Ok(listed)
    }

    /// Refuses an index with conflicts: to add the files would mark them as resolved.
    pub(in crate::repo) fn refuse_conflicts(&self) -> Result<(), Error> {
        if self.conflicts.is_empty() {
            return Ok(());
        }
        Err(CaptureRefused::IndexConflicted { paths: self.conflicts.iter().cloned().collect() }.into())
    }
}

/// A path that Git would not have let into an index.
fn check(path: &[u8]) -> Result<(), Error> {
    let malformed = |problem| {
        let path = PathBuf::from(OsString::from_vec(path.to_vec()));
        Err(Error::malformed("read the index", &path, problem))
    };
    // A folder that a sparse index keeps as one entry ends with its slash.
    let mut depth = 0;
    for part in path.strip_suffix(b"/").unwrap_or(path).split(|byte| *byte == b'/') {
        depth += 1;
        if matches!(part, b"" | b"." | b"..") || part.eq_ignore_ascii_case(b".git") {
            return malformed("a path leads out of the worktree");
        }
    }
    if depth > DEEPEST { malformed("its folders nest too deep") } else { Ok(()) }
}
