//! The proof that what Git stored is what the worktree has.
//!
//! Git reads files by their paths, and an agent can put a symbolic link in the place of a folder between two of its
//! steps: then it has stored what lies elsewhere. So every new content is compared with what is read without leaving the
//! worktree; where a conversion or a filter lies between, Git converts a copy of that once more.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::ObjectId;
use sha2::{Digest as _, Sha256};

use super::CaptureRefused;
use super::found::NewBlob;
use crate::repo::error::Error;
use crate::repo::workplace::filters::copy_attributes;
use crate::repo::workplace::{Content, SPARE, Work, is_full, quoted, write_below};

const OPERATION: &str = "compare what was captured";

/// What a comparison came to.
pub(super) enum Proof {
    /// All is there as it was stored. The objects of `lfs` that the files led to.
    Same(Vec<String>),
    /// What is at this path has another content by now, or was never there.
    Other(Vec<u8>),
}

/// Compares all new content.
pub(super) fn prove(work: &Work<'_>, blobs: &[NewBlob], drivers: &BTreeMap<Vec<u8>, String>) -> Result<Proof, Error> {
    let cancelled = work.cancelled();
    let failed = |source| {
        let is_cancelled = cancelled.load(Ordering::Acquire);
        if is_cancelled { CaptureRefused::Cancelled.into() } else { Error::io(OPERATION, work.worktree.path(), source) }
    };
    let other = |blob: &NewBlob| Ok(Proof::Other(blob.path.clone()));
    let copies = work.path("copies");
    let (mut converted, mut large) = (Vec::new(), Vec::new());
    for blob in blobs {
        match work.worktree.content(&blob.path).map_err(failed)? {
            None => return other(blob),
            Some(Content::Link(target)) => {
                if hash(work.hash, blob.size, &mut &target[..]).map_err(failed)? != Some(blob.id) {
                    return other(blob);
                }
            }
            Some(Content::File(mut file)) => {
                // What was appended meanwhile is left for the next capture.
                let found = hash(work.hash, blob.size, &mut Watched { from: &file, cancelled });
                if found.map_err(failed)? == Some(blob.id) {
                    continue;
                }
                file.rewind().map_err(failed)?;
                if is_full(&work.path(""), blob.size.max(file.metadata().map_err(failed)?.len()).saturating_add(SPARE))
                {
                    return Err(failed(io::ErrorKind::StorageFull.into()));
                }
                let copied = write_below(&copies, &blob.path, &mut Watched { from: &file, cancelled });
                let copy = copied.map_err(failed)?;
                if drivers.get(&blob.path).is_some_and(|driver| driver == "lfs") {
                    large.push(sha256(&copy, cancelled).map_err(failed)?);
                }
                converted.push(blob);
            }
        }
    }
    if converted.is_empty() {
        return Ok(Proof::Same(large));
    }
    let ids = again(work, &converted)?;
    let differs = |blob: &&NewBlob, id: &Option<ObjectId>| *id != Some(blob.id);
    let Some((blob, id)) = converted.into_iter().zip(ids).find(|(blob, id)| differs(blob, id)) else {
        return Ok(Proof::Same(large));
    };
    match drivers.get(&blob.path) {
        // Of the same content: there is no other time at which it would be right.
        Some(filter) if again(work, &[blob])? != [id] => {
            let path = OsStr::from_bytes(&blob.path).into();
            Err(CaptureRefused::FilterUnsteady { filter: filter.clone(), path }.into())
        }
        _ => other(blob),
    }
}

/// What Git makes of the copies; nothing where it could not tell.
fn again(work: &Work<'_>, blobs: &[&NewBlob]) -> Result<Vec<Option<ObjectId>>, Error> {
    let copies = work.path("copies");
    let paths: Vec<&[u8]> = blobs.iter().map(|blob| &blob.path[..]).collect();
    copy_attributes(work, &paths, &copies).map_err(|source| Error::io(OPERATION, &copies, source))?;
    let mut command = work.git();
    command.current_dir(&copies).args(["hash-object", "--stdin-paths"]);
    let lines: Vec<Vec<u8>> = paths.iter().map(|path| quoted(path)).collect();
    let said = work.run_with(command, "hash-object", &lines.join(&b'\n'))?;
    let lines = said.split(|byte| *byte == b'\n').map(|line| ObjectId::from_hex(line).ok());
    Ok(lines.chain(std::iter::repeat(None)).take(blobs.len()).collect())
}

/// What is read until the capture is cancelled: a file may be larger than anybody waits for.
struct Watched<'a> {
    from: &'a File,
    cancelled: &'a AtomicBool,
}

impl io::Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancelled.load(Ordering::Acquire) {
            return Err(io::Error::other("cancelled"));
        }
        self.from.read(buffer)
    }
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

fn sha256(path: &Path, cancelled: &AtomicBool) -> io::Result<String> {
    let (file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut from = Watched { from: &file, cancelled };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(data_encoding::HEXLOWER.encode(&hasher.finalize()))
}
