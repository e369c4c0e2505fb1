//! What an index lists that needs care, read in one go.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use gix::index::entry::{Flags, Mode, Stage};

use crate::repo::capture::CaptureRefused;
use crate::repo::error::Error;

/// What the private copy of the index lists.
#[derive(Debug, Default)]
pub(in crate::repo) struct Listed {
    conflicts: BTreeSet<PathBuf>,
    /// The submodules and embedded repositories.
    pub(in crate::repo) repositories: Vec<Vec<u8>>,
    /// Those of them that a sparse checkout does not leave out.
    pub(in crate::repo) present: Vec<Vec<u8>>,
    /// The files of attributes.
    pub(in crate::repo) attributes: BTreeSet<Vec<u8>>,
}

impl Listed {
    pub(in crate::repo) fn of(index: &gix::index::File) -> Self {
        let mut listed = Self::default();
        for entry in index.entries() {
            let path = entry.path(index);
            if entry.stage() != Stage::Unconflicted {
                listed.conflicts.insert(OsString::from_vec(path.to_vec()).into());
            }
            if entry.mode == Mode::COMMIT {
                listed.repositories.push(path.to_vec());
                if !entry.flags.contains(Flags::SKIP_WORKTREE) {
                    listed.present.push(path.to_vec());
                }
            }
            if path.ends_with(b".gitattributes") {
                listed.attributes.insert(path.to_vec());
            }
        }
        listed
    }

    /// Refuses an index with conflicts: to add the files would mark them as resolved.
    pub(in crate::repo) fn refuse_conflicts(&self) -> Result<(), Error> {
        if self.conflicts.is_empty() {
            return Ok(());
        }
        Err(CaptureRefused::IndexConflicted { paths: self.conflicts.iter().cloned().collect() }.into())
    }
}
