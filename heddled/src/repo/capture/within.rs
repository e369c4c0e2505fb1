//! The proof that the state of a submodule or an embedded repository is what its own Git directory says.
//!
//! Git follows its `.git` pointer and the links in it wherever they lead, and takes the first digits of what lies there for
//! a commit. So HEAD is read once more without leaving the worktree, or the repository whose Git directory has those of its
//! submodules and worktrees.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;

use gix::ObjectId;

use crate::repo::error::Error;
use crate::repo::files::absent_as_none;
use crate::repo::workplace::{Beneath, Content, Work};

/// The most bytes of a file of HEAD's kind, and of one with many refs.
const MOST: (u64, u64) = (64 * 1024, 64 * 1024 * 1024);

/// How many symbolic refs may lead to one another, as for Git.
const SYMBOLIC: usize = 5;

/// The first of these repositories that is not at the state that was captured, as far as can be told from within.
pub(super) fn other<'a>(
    work: &Work<'_>,
    repositories: impl Iterator<Item = &'a (Vec<u8>, ObjectId)>,
) -> Result<Option<Vec<u8>>, Error> {
    for (path, id) in repositories {
        let head = Within::find(work, path).and_then(|within| within.map_or(Ok(None), |within| within.head()));
        let head = head.map_err(|source| Error::io("read the embedded repository", work.worktree.path(), source))?;
        if head.as_deref() != Some(id.to_string().as_bytes()) {
            return Ok(Some(path.clone()));
        }
    }
    Ok(None)
}

/// The Git directory of a repository within the worktree.
struct Within<'a> {
    /// The common Git directory, where it lies there and not in the worktree.
    common: Option<Beneath>,
    worktree: &'a Beneath,
    own: Vec<u8>,
    /// Where its branches are, which a linked worktree shares with others.
    shared: Vec<u8>,
}

impl<'a> Within<'a> {
    fn find(work: &'a Work<'_>, path: &[u8]) -> io::Result<Option<Self>> {
        let own = below(path, b".git");
        let (common, own) = match work.worktree.content(&own)? {
            None => (None, own),
            Some(Content::Link(_)) => return Ok(None),
            Some(Content::File(file)) => {
                let pointer = read(file, MOST.0)?;
                let Some(target) = pointer.strip_prefix(b"gitdir: ") else { return Ok(None) };
                let folder = work.worktree.path().join(OsStr::from_bytes(path));
                let target = std::fs::canonicalize(folder.join(OsStr::from_bytes(target.trim_ascii_end())));
                let common = std::fs::canonicalize(work.common)?;
                let Some(target) = absent_as_none(target)? else { return Ok(None) };
                let Ok(own) = target.strip_prefix(&common) else { return Ok(None) };
                (Some(Beneath::open(&common)?), own.as_os_str().as_bytes().to_vec())
            }
        };
        let mut within = Self { common, worktree: &work.worktree, shared: own.clone(), own };
        match within.file(&below(&within.own, b"commondir"), MOST.0)?.as_deref().map(<[u8]>::trim_ascii_end) {
            None => {}
            Some(b"../..") => {
                let parent = |path: &[u8]| path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at);
                let above = parent(&within.own);
                within.shared.truncate(parent(&within.own[..above]));
            }
            Some(_) => return Ok(None),
        }
        Ok(Some(within))
    }

    /// The id that HEAD leads to, as it is written there.
    fn head(&self) -> io::Result<Option<Vec<u8>>> {
        let mut name = b"HEAD".to_vec();
        for _ in 0..=SYMBOLIC {
            let folder = if name.starts_with(b"refs/") { &self.shared } else { &self.own };
            let found = match self.file(&below(folder, &name), MOST.0)? {
                Some(found) => Some(found),
                None => self.packed(&name)?,
            };
            let Some(found) = found else { return Ok(None) };
            match found.strip_prefix(b"ref:") {
                Some(target) => name = target.trim_ascii().to_vec(),
                None => return Ok(Some(found.trim_ascii_end().to_vec())),
            }
        }
        Ok(None)
    }

    fn packed(&self, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Some(packed) = self.file(&below(&self.shared, b"packed-refs"), MOST.1)? else { return Ok(None) };
        let mut lines = packed.split(|byte| *byte == b'\n').filter_map(|line| {
            let at = line.iter().position(|byte| *byte == b' ')?;
            (line[at + 1..] == *name).then(|| line[..at].to_vec())
        });
        Ok(lines.next())
    }

    fn file(&self, path: &[u8], most: u64) -> io::Result<Option<Vec<u8>>> {
        match self.common.as_ref().unwrap_or(self.worktree).content(path)? {
            Some(Content::File(file)) => read(file, most).map(Some),
            Some(Content::Link(_)) | None => Ok(None),
        }
    }
}

fn read(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(most).read_to_end(&mut content)?;
    Ok(content)
}

fn below(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}
