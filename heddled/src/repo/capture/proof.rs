//! The proof that what Git stored is what the worktree has.
//!
//! Git reads files by their paths, and an agent can put a symbolic link in the place of a folder between two of its
//! steps: then it has stored what lies elsewhere. So every new content is compared with what is read without leaving the
//! worktree; where a conversion or a filter lies between, Git converts a copy of that once more.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};

use gix::ObjectId;
use sha2::{Digest as _, Sha256};

use super::found::NewBlob;
use crate::repo::error::Error;
use crate::repo::workplace::Content;
use crate::repo::workplace::filters::copy_attributes;
use crate::repo::workplace::{Work, quoted, write_below};

const OPERATION: &str = "compare what was captured";

/// Compares all new content. Gives the objects of `lfs` that the worktree's files led to; `None` when a file has another
/// content by now, or was never there.
pub(super) fn prove(
    work: &Work<'_>,
    blobs: &[NewBlob],
    drivers: &BTreeMap<Vec<u8>, String>,
) -> Result<Option<Vec<String>>, Error> {
    let failed = |source| Error::io(OPERATION, work.worktree.path(), source);
    let copies = work.path("copies");
    let (mut converted, mut large) = (Vec::new(), Vec::new());
    for blob in blobs {
        match work.worktree.content(&blob.path).map_err(failed)? {
            None => return Ok(None),
            Some(Content::Link(target)) => {
                let is_same = hash(work.hash, blob.size, &mut &target[..]).map_err(failed)? == Some(blob.id);
                if !is_same {
                    return Ok(None);
                }
            }
            Some(Content::File(mut file)) => {
                // What was appended meanwhile is left for the next capture.
                if hash(work.hash, blob.size, &mut file).map_err(failed)? == Some(blob.id) {
                    continue;
                }
                let copied = file.rewind().and_then(|()| write_below(&copies, &blob.path, &mut file));
                let copy = copied.map_err(failed)?;
                if drivers.get(&blob.path).is_some_and(|driver| driver == "lfs") {
                    large.push(sha256(&copy).map_err(failed)?);
                }
                converted.push(blob);
            }
        }
    }
    let is_same = converted.is_empty() || again(work, &converted)?;
    Ok(is_same.then_some(large))
}

/// Whether Git makes the same of the copies.
fn again(work: &Work<'_>, blobs: &[&NewBlob]) -> Result<bool, Error> {
    let copies = work.path("copies");
    let paths: Vec<&[u8]> = blobs.iter().map(|blob| &blob.path[..]).collect();
    copy_attributes(work, &paths, &copies).map_err(|source| Error::io(OPERATION, &copies, source))?;
    let mut command = work.git();
    command.current_dir(&copies).args(["hash-object", "--stdin-paths"]);
    let lines: Vec<Vec<u8>> = paths.iter().map(|path| quoted(path)).collect();
    let said = work.run_with(command, "hash-object", &lines.join(&b'\n'))?;
    let ids = said.split(|byte| *byte == b'\n').map(|line| ObjectId::from_hex(line).ok());
    Ok(ids.zip(blobs).filter(|(id, blob)| *id == Some(blob.id)).count() == blobs.len())
}

/// The id of a blob that has the first `size` bytes of what is read; `None` when there are fewer.
fn hash(kind: gix::hash::Kind, size: u64, from: &mut dyn io::Read) -> io::Result<Option<ObjectId>> {
    let mut hasher = gix::hash::hasher(kind);
    hasher.update(format!("blob {size}\0").as_bytes());
    let mut buffer = vec![0; 64 * 1024];
    let (mut from, mut left) = (from.take(size), size);
    while left > 0 {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(None);
        }
        hasher.update(&buffer[..read]);
        left -= read as u64;
    }
    // It fails only for content made to break SHA-1, which Git refuses, too.
    Ok(hasher.try_finalize().ok())
}

fn sha256(path: &std::path::Path) -> io::Result<String> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(data_encoding::HEXLOWER.encode(&hasher.finalize()))
}
