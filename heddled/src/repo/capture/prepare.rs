//! Preparing a capture, from the checks to the commit that no ref leads to yet.

use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use proto_schema::{ObjectId, Timestamp};

use super::beneath::Beneath;
use super::found::Found;
use super::listed::Listed;
use super::lock::{self, Held, IndexLock};
use super::paths::Changed;
use super::snapshot::Snapshot;
use super::workplace::{Work, Workplaces};
use super::{Capture, CaptureRequest, PreparedCapture, add, adopt, commit, filters, head, proof, tree};
use crate::repo::error::{Cause, Error};
use crate::repo::opened::Opened;
use crate::repo::program::Program;
use crate::repo::refs::convert;
use crate::repo::worktrees::{self, Worktree};
use crate::repo::{Signature, durable, objects, reflog};

/// How often a worktree is read anew in which files change while they are read.
const TRIES: usize = 3;

/// The captures of all repositories.
pub(in crate::repo) struct Captures {
    workplaces: Workplaces,
    held: Held,
    system_attributes: OnceLock<Option<PathBuf>>,
}

impl Captures {
    /// None yet; `directory` is where they are prepared.
    pub(in crate::repo) fn new(directory: Option<PathBuf>) -> Self {
        Self { workplaces: Workplaces::new(directory), held: Held::default(), system_attributes: OnceLock::new() }
    }

    /// Prepares a capture.
    pub(in crate::repo) fn prepare(
        &self,
        repository: &Opened,
        program: &Program,
        request: &CaptureRequest<'_>,
        now: Timestamp,
    ) -> Result<Capture, Error> {
        let (record, worktree) = registered(repository, request)?;
        // Before the lock, so that what is refused waits for nobody; and once more with it.
        head::parent(repository, &record.private, request)?;
        let mut lock = IndexLock::take(&record.private, &self.held, request.cancelled)?;
        let work = Work {
            request,
            program,
            common: &repository.git_dir,
            private: &record.private,
            hash: repository.format.hash,
            worktree,
            place: self.workplaces.make()?,
            system_attributes: &self.system_attributes,
        };
        let snapshot = work.lay_out()?;
        let listed = Listed::of(&work.index()?);
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
        let new = commit::write(&work, &library, &snapshot, (root, parent), now)?;
        durable::addition(repository, new, parent, &changed.added)?;
        lock.write(&work.path("index")).map_err(|source| Error::io("write the index", &record.private, source))?;
        lock.keep();
        Ok(Capture::Prepared {
            prepared: PreparedCapture { worktree_git_dir: record.private, parent, new },
            root,
            changed_paths: changed.paths,
            changed_count: changed.count,
        })
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
            let path = private.join("logs/HEAD");
            let entry = reflog::append_to(repository, path, Some(prepared.parent), prepared.new, signature, log)?;
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

    fn end(&self, prepared: &PreparedCapture, end: fn(&std::path::Path) -> io::Result<()>) -> Result<(), Error> {
        let private = &prepared.worktree_git_dir;
        let ended = end(private).map_err(|source| Error::io("end the capture", private, source));
        self.held.lock().remove(private);
        ended
    }
}

/// The repository's own worktree at the path, kept open.
fn registered(repository: &Opened, request: &CaptureRequest<'_>) -> Result<(Worktree, Beneath), Error> {
    let unknown = || Error::WorktreeNotFound { path: request.worktree.to_owned() };
    let record = worktrees::all(repository)?.into_iter().find(|worktree| worktree.path == request.worktree);
    let record = record.ok_or_else(unknown)?;
    let worktree = Beneath::open(&record.path).map_err(|_| unknown())?;
    // The main worktree is held to it, too: `core.worktree` may name any folder.
    match worktree.leads_to(&record.private) {
        Ok(true) => Ok((record, worktree)),
        Ok(false) | Err(_) => Err(unknown()),
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
    for _ in 0..TRIES {
        add::add(work, &listed)?;
        let library = objects::open(&work.path(""))?.to_thread_local();
        let index = work.index()?;
        let root = tree::write(&library, &index)?;
        let changed = Changed::between(&library, id(before)?, root)?;
        complete(&library, &changed)?;
        let drivers = filters::drivers(work, snapshot, &listed, &changed.files)?;
        let found = Found::below(&library, root, &work.written()?)?;
        if let Some(large) = proof::prove(work, &found.blobs, &drivers)? {
            adopt::large(work, &large)?;
            return Ok(Captured { root: convert(&root)?, found, changed });
        }
        // An embedded repository may have been added.
        listed = Listed::of(&index);
    }
    Err(Error::malformed("capture the worktree", work.worktree.path(), "its files change while they are read"))
}

/// An index may name what was never stored, or is gone.
fn complete(library: &gix::Repository, changed: &Changed) -> Result<(), Error> {
    for id in &changed.added {
        if !library.has_object(self::id(*id)?) {
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
        let (old, new) = (std::fs::read(work.private.join("index")), std::fs::read(&index)?);
        if old.ok() != Some(new) {
            lock.write(&index)?;
            lock::finish(work.private)?;
        }
        Ok(())
    };
    replace().map_err(|source| Error::io("write the index", work.private, source))?;
    Ok(Capture::Nothing { state, root })
}

fn id(id: ObjectId) -> Result<gix::ObjectId, Error> {
    gix::ObjectId::try_from(id.as_bytes()).map_err(|error| Error::library("read an object id", error))
}
