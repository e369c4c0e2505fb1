//! Preparing a capture, from the checks to the commit that no ref leads to yet.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use proto_schema::{ObjectId, Timestamp};

use super::changed::Changed;
use super::found::Found;
use super::lock::{self, Held, IndexLock};
use super::proof::Proof;
use super::{Capture, CaptureRequest, PreparedCapture, add, adopt, commit, head, proof, tree, within};
use crate::repo::error::{Cause, Error};
use crate::repo::files::open_plain;
use crate::repo::opened::Opened;
use crate::repo::program::Program;
use crate::repo::refs::convert;
use crate::repo::workplace::{Limits, Listed, Purpose, Snapshot, Work, Workplaces, filters, registered, rules};
use crate::repo::worktrees;
use crate::repo::{Signature, durable, objects, reflog};

/// How often a worktree is read anew in which files change while they are read.
const TRIES: usize = 3;

/// The captures of all repositories.
#[derive(Default)]
pub(in crate::repo) struct Captures {
    held: Held,
}

impl Captures {
    /// Prepares a capture.
    pub(in crate::repo) fn prepare(
        &self,
        repository: &Opened,
        (places, program): (&Workplaces, &Program),
        request: &CaptureRequest<'_>,
        now: Timestamp,
    ) -> Result<Capture, Error> {
        let (record, worktree) = registered(repository, request.worktree)?;
        // Before the lock, so that what is refused waits for nobody; and once more with it.
        head::parent(repository, &record.private, request)?;
        let mut lock = IndexLock::take(&record.private, &self.held, request.cancelled)?;
        let limits = Limits { allowed_filters: request.allowed_filters, cancelled: request.cancelled };
        let work = Work::new(places, program, repository, (&record, worktree), limits)?;
        let snapshot = work.lay_out(Purpose::Capture)?;
        let index = work.index()?;
        let listed = Listed::of(&index)?;
        rules::refuse_special(&work, &index)?;
        listed.refuse_conflicts()?;
        head::refuse_elsewhere(repository, &record.private, request)?;
        let parent = head::parent(repository, &record.private, request)?;
        let before = repository.objects.root(parent)?;
        let Captured { root, found, changed } = capture(&work, &snapshot, listed, before)?;
        if root == before {
            return nothing(&work, lock, parent, root);
        }
        adopt::objects(&work, &found)?;
        let library = repository.objects.library();
        let new = commit::write(&work, request, &library, &snapshot, (root, parent), now)?;
        durable::addition(repository, new, parent, &changed.added)?;
        lock.write(&work.path("index")).map_err(|source| Error::io("write the index", &record.private, source))?;
        lock.keep();
        Ok(Capture::Prepared {
            prepared: PreparedCapture { worktree_git_dir: record.private.clone(), parent, new },
            root,
            changed_paths: changed.paths,
            changed_count: changed.count,
        })
    }

    /// Takes the lock of a worktree's index: while it is held, neither Git nor a capture changes the index or HEAD.
    pub(in crate::repo) fn lock_index(&self, private: &Path, cancelled: &AtomicBool) -> Result<IndexLock, Error> {
        IndexLock::take(private, &self.held, cancelled)
    }

    /// Completes a capture whose ref was moved.
    pub(in crate::repo) fn finish(
        &self,
        repository: &Opened,
        prepared: &PreparedCapture,
        signature: &Signature,
        log: &str,
    ) -> Result<(), Error> {
        let private = &prepared.worktree_git_dir;
        if head::logged(private)? != Some(prepared.new) {
            let change = (Some(prepared.parent), prepared.new);
            let entry = reflog::append_to(repository, private, "HEAD", change, signature, log)?;
            entry.map_or(Ok(()), |entry| entry.sync(repository))?;
        }
        self.end(prepared, lock::finish)
    }

    /// Takes back a capture whose ref was not moved.
    pub(in crate::repo) fn undo(&self, prepared: &PreparedCapture) -> Result<(), Error> {
        self.end(prepared, lock::undo)
    }

    /// Takes back what was left in the repository's worktrees.
    pub(in crate::repo) fn clear(&self, repository: &Opened) -> Result<(), Error> {
        for worktree in worktrees::all(repository)? {
            let private = &worktree.private;
            lock::undo(private).map_err(|source| Error::io("end the capture", private, source))?;
        }
        Ok(())
    }

    fn end(&self, prepared: &PreparedCapture, end: fn(&Path) -> io::Result<()>) -> Result<(), Error> {
        let private = &prepared.worktree_git_dir;
        let ended = end(private).map_err(|source| Error::io("end the capture", private, source));
        self.held.lock().remove(private);
        ended
    }
}

/// What the worktree has, stored where the capture is prepared.
struct Captured {
    root: ObjectId,
    found: Found,
    changed: Changed,
}

/// Writes the tree of what the worktree has, until what was stored is what is there; lets in what `lfs` stored.
fn capture(work: &Work<'_>, snapshot: &Snapshot, mut listed: Listed, before: ObjectId) -> Result<Captured, Error> {
    let known = listed.repositories.clone();
    let mut other = Vec::new();
    for _ in 0..TRIES {
        add::add(work, &listed)?;
        let library = objects::open(&work.path(""))?.to_thread_local();
        let index = work.index()?;
        let root = tree::write(&library, &index)?;
        let changed = Changed::between(&library, objects::id(before)?, root)?;
        complete(&library, &changed)?;
        let drivers = filters::drivers(work, snapshot, &listed, &changed.files)?;
        let found = Found::below(&library, root, &work.written()?)?;
        let unproved = found.repositories.iter().filter(|(path, id)| known.get(path) != Some(id));
        let proof = match within::other(work, unproved)? {
            Some(path) => Proof::Other(path),
            None => proof::prove(work, &found.blobs, &drivers)?,
        };
        match proof {
            Proof::Same(large) => {
                adopt::large(work, &large)?;
                return Ok(Captured { root: convert(&root)?, found, changed });
            }
            Proof::Other(path) => other = path,
        }
        // An embedded repository may have been added.
        listed = Listed::of(&index)?;
    }
    let path = work.worktree.path().join(OsStr::from_bytes(&other));
    Err(Error::malformed("capture the worktree", &path, "it changes while it is read, or leads out of the worktree"))
}

/// An index may name what was never stored, or is gone.
fn complete(library: &gix::Repository, changed: &Changed) -> Result<(), Error> {
    for id in &changed.added {
        if !library.has_object(objects::id(*id)?) {
            let cause = Cause::Missing { id: *id };
            return Err(Error::Unavailable { operation: "capture the worktree", cause });
        }
    }
    Ok(())
}

/// There is nothing to commit. The index may still have staged what the worktree has no more.
fn nothing(work: &Work<'_>, mut lock: IndexLock, state: ObjectId, root: ObjectId) -> Result<Capture, Error> {
    let mut replace = || -> io::Result<()> {
        let index = work.path("index");
        let (mut old, new) = (Vec::new(), std::fs::read(&index)?);
        let read = open_plain(&work.private.join("index")).and_then(|mut file| file.read_to_end(&mut old));
        if read.is_err() || old != new {
            lock.write(&index)?;
            lock::finish(work.private)?;
        }
        Ok(())
    };
    replace().map_err(|source| Error::io("write the index", work.private, source))?;
    Ok(Capture::Nothing { state, root })
}
