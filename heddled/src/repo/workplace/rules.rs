//! The files of rules that Git reads in a worktree, wherever it comes by: `.gitignore` and `.gitattributes`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::filters::folders;
use super::work::Work;
use crate::repo::error::Error;
use crate::repo::files::is_special;

/// Refuses, by its name, a file of rules that is a FIFO or a device: Git opens it and waits for ever. Looks in the folders of what
/// the index lists; in others Git is ended when it takes too long.
pub(in crate::repo) fn refuse_special(work: &Work<'_>, index: &gix::index::File) -> Result<(), Error> {
    let top: &[u8] = b"";
    let mut folders = folders(index.entries().iter().map(|entry| entry.path(index).as_ref()));
    folders.insert(top);
    for folder in folders {
        let folder = work.worktree.path().join(Path::new(OsStr::from_bytes(folder)));
        for name in [".gitignore", ".gitattributes"] {
            let file = folder.join(name);
            if std::fs::symlink_metadata(&file).is_ok_and(|data| is_special(data.file_type())) {
                let problem = "it is a FIFO or a device, and no regular file";
                return Err(Error::malformed("read the worktree's rules", &file, problem));
            }
        }
    }
    Ok(())
}
