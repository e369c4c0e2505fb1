//! What a worktree's own Git directory says: the branch that it is on, what it is in the middle of, and which states its
//! HEAD was at last.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use proto_schema::ObjectId;

use super::{CaptureRefused, CaptureRequest, GitOperation};
use crate::repo::error::Error;
use crate::repo::files::{absent_as_none, open_plain, read_small};
use crate::repo::opened::Opened;
use crate::repo::refs::Target;

/// More than an entry of a reflog has.
const ENTRY: u64 = 64 * 1024;

/// Refuses a worktree that is not simply on the thread.
pub(super) fn refuse_elsewhere(repository: &Opened, private: &Path, request: &CaptureRequest<'_>) -> Result<(), Error> {
    if let Some(operation) = under_way(private)? {
        return Err(CaptureRefused::OperationInProgress { operation }.into());
    }
    let current = match repository.refs.attached(private)? {
        Some(Target::Symbolic(name)) if name == request.thread.ref_name() => return Ok(()),
        Some(Target::Symbolic(name)) => Some(name.strip_prefix("refs/heads/").unwrap_or(&name).to_owned()),
        Some(Target::Object(_)) | None => None,
    };
    Err(CaptureRefused::OtherThread { current }.into())
}

/// The thread's tip, if the worktree is based on it.
pub(super) fn parent(repository: &Opened, private: &Path, request: &CaptureRequest<'_>) -> Result<ObjectId, Error> {
    let actual = repository.refs.tip(request.thread)?.map(|tip| tip.state);
    let recorded = request.recorded_state;
    match actual {
        Some(tip) if tip == recorded => Ok(tip),
        Some(tip) if logged(private)? == Some(tip) => Ok(tip),
        // A commit on top of that would silently undo what others put there.
        _ => Err(Error::Conflict { expected: Some(recorded), actual }),
    }
}

/// Where the worktree's HEAD reflog ends; `None` where none is written.
pub(super) fn logged(private: &Path) -> Result<Option<ObjectId>, Error> {
    let path = private.join("logs/HEAD");
    let read = || -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = absent_as_none(open_plain(&path))? else { return Ok(None) };
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(ENTRY)))?;
        let mut end = Vec::new();
        file.take(ENTRY).read_to_end(&mut end)?;
        Ok(Some(end))
    };
    let end = read().map_err(|source| Error::io("read the reflog", &path, source))?.unwrap_or_default();
    let entry = end.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let new = entry.split(|byte| *byte == b' ').nth(1).and_then(|id| std::str::from_utf8(id).ok());
    Ok(new.and_then(|id| id.parse().ok()))
}

/// What the worktree is in the middle of.
pub(in crate::repo) fn under_way(private: &Path) -> Result<Option<GitOperation>, Error> {
    let signs = [
        ("rebase-merge", GitOperation::Rebase),
        ("rebase-apply", GitOperation::Rebase),
        ("MERGE_HEAD", GitOperation::Merge),
        ("CHERRY_PICK_HEAD", GitOperation::CherryPick),
        ("REVERT_HEAD", GitOperation::Revert),
        ("BISECT_LOG", GitOperation::Bisect),
    ];
    for (name, operation) in signs {
        let path = private.join(name);
        let found = absent_as_none(std::fs::symlink_metadata(&path));
        if found.map_err(|source| Error::io("read the worktree's state", &path, source))?.is_some() {
            return Ok(Some(operation));
        }
    }
    // Between the commits of a series only its list of what is left says so.
    let list = private.join("sequencer/todo");
    let left = read_small(&list).map_err(|source| Error::io("read the worktree's state", &list, source))?;
    Ok(left.map(|left| if left.starts_with(b"revert") { GitOperation::Revert } else { GitOperation::CherryPick }))
}
