//! Reading commits. A commit's tree never changes, so it is remembered.
//!
//! Objects that Git's `replace` refs would put in another's place are read as they are: a root is the tree that the
//! commit names. Nothing is fetched that a partial clone lacks.

use std::fs::DirEntry;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use lru::LruCache;
use parking_lot::Mutex;
use proto_schema::ObjectId;

use super::error::{Cause, Error};
use super::files::{absent_as_none, is_special, refuse_special};
use super::refs::convert;

const OPEN: &str = "open the repository";

/// The most commits of one repository that are remembered.
const COMMITS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// What is remembered of a commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commit {
    pub(super) root: ObjectId,
    /// Whether it, and all that it leads to, is known to survive a power cut.
    pub(super) durable: bool,
}

/// The objects of one repository.
pub(super) struct Objects {
    common: Arc<Path>,
    library: ArcSwap<gix::ThreadSafeRepository>,
    commits: Mutex<LruCache<ObjectId, Commit>>,
}

/// The files of a Git directory that the library opens, some of them later.
const OPENED: [&str; 11] = [
    "HEAD",
    "commondir",
    "config",
    "config.worktree",
    "gitdir",
    "packed-refs",
    "shallow",
    "objects/info/alternates",
    "objects/info/commit-graph",
    "objects/info/commit-graphs/commit-graph-chain",
    "objects/pack/multi-pack-index",
];

/// Fails where the library would wait for whoever writes into a FIFO. What is put there later keeps a thread waiting.
fn refuse_special_files(git_dir: &Path) -> Result<(), Error> {
    let packs = git_dir.join("objects/pack");
    let entries = absent_as_none(std::fs::read_dir(&packs)).map_err(|source| Error::io(OPEN, &packs, source))?;
    let special = |entry: &DirEntry| entry.file_type().is_ok_and(is_special);
    let special = entries.into_iter().flatten().flatten().filter(special).map(|entry| entry.path());
    for path in OPENED.iter().map(|name| git_dir.join(name)).chain(special) {
        refuse_special(&path).map_err(|source| Error::io(OPEN, &path, source))?;
    }
    Ok(())
}

/// Opens a Git directory by the library, which then reads no environment and no configuration but the repository's.
pub(super) fn open(git_dir: &Path) -> Result<gix::ThreadSafeRepository, Error> {
    refuse_special_files(git_dir)?;
    gix::open::Options::isolated()
        .with(gix::sec::Trust::Full)
        .open_path_as_is(true)
        .config_overrides(["core.useReplaceRefs=false"])
        .open(git_dir)
        .map_err(|error| Error::library(OPEN, error))
}

/// An id as the library has it.
pub(super) fn id(id: ObjectId) -> Result<gix::ObjectId, Error> {
    gix::ObjectId::try_from(id.as_bytes()).map_err(|error| Error::library("read an object id", error))
}

impl Objects {
    pub(super) fn new(common: Arc<Path>) -> Result<Self, Error> {
        let library = ArcSwap::from_pointee(open(&common)?);
        Ok(Self { common, library, commits: Mutex::new(LruCache::new(COMMITS)) })
    }

    /// The tree of a commit; fails with [`Cause::NoCommit`] when there is no such commit.
    pub(super) fn root(&self, commit: ObjectId) -> Result<ObjectId, Error> {
        self.commit(commit).map(|commit| commit.root)
    }

    /// A commit that was read before.
    pub(super) fn remembered(&self, commit: ObjectId) -> Option<Commit> {
        self.commits.lock().get(&commit).copied()
    }

    /// A commit; fails as [`Objects::root`] does.
    pub(super) fn commit(&self, commit: ObjectId) -> Result<Commit, Error> {
        if let Some(known) = self.remembered(commit) {
            return Ok(known);
        }
        let text = commit.to_string();
        let loose = self.common.join("objects").join(&text[..2]).join(&text[2..]);
        refuse_special(&loose).map_err(|source| Error::io("read the commit", &loose, source))?;
        let tree = match tree_of(&self.library.load(), commit) {
            Ok(Some(tree)) => tree,
            Ok(None) | Err(_) => {
                // The library's view of the packs may be stuck: it is asked once more from a fresh start.
                let fresh = open(&self.common)?;
                let missing =
                    Error::Unavailable { operation: "read the commit", cause: Cause::NoCommit { id: commit } };
                let tree = tree_of(&fresh, commit)?.ok_or(missing)?;
                self.library.store(Arc::new(fresh));
                tree
            }
        };
        let found = Commit { root: tree, durable: false };
        self.commits.lock().put(commit, found);
        Ok(found)
    }

    /// Takes down that a commit and all that it leads to is durable.
    pub(super) fn set_durable(&self, commit: ObjectId) {
        if let Some(known) = self.commits.lock().get_mut(&commit) {
            known.durable = true;
        }
    }

    /// The repository as the library sees it.
    pub(super) fn library(&self) -> gix::Repository {
        self.library.load().to_thread_local()
    }

    /// The commit that a revision names, seen from a worktree's Git directory.
    pub(super) fn resolve(&self, private: &Path, revision: &str) -> Result<ObjectId, Error> {
        if let Ok(id) = revision.parse::<ObjectId>() {
            // A full id means that object, as for Git; a tag's is peeled below.
            match self.root(id) {
                Ok(_) => return Ok(id),
                Err(Error::Unavailable { cause: Cause::NoCommit { .. }, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let failed = |error: gix::Error| {
            // What cannot be read is not absent.
            if is_unreadable(&error) {
                Error::library("resolve the anchor", error)
            } else {
                Error::AnchorNotFound { anchor: revision.to_owned() }
            }
        };
        // A linked worktree has a HEAD of its own, and refs of its own.
        let repository =
            if private == &*self.common { (**self.library.load()).clone() } else { open(private)? }.to_thread_local();
        let object = repository.rev_parse_single(revision).map_err(failed)?;
        let commit = object.object().and_then(|object| object.peel_to_kind(gix::objs::Kind::Commit));
        convert(&commit.map_err(failed)?.id)
    }
}

/// Whether something that was looked at could not be read, or is not what it must be.
fn is_unreadable(error: &gix::Error) -> bool {
    let is_absence = |error: &io::Error| {
        matches!(
            error.kind(),
            // A revision may be no name of a file, or lead through one.
            io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::InvalidFilename
        )
    };
    let mut failures = error.iter_errors().filter_map(|error| error.downcast_ref::<io::Error>());
    error.classify().is_corrupted() || failures.any(|error| !is_absence(error))
}

fn tree_of(library: &gix::ThreadSafeRepository, commit: ObjectId) -> Result<Option<ObjectId>, Error> {
    let repository = library.to_thread_local();
    let id = id(commit)?;
    if id.kind() != repository.object_hash() {
        return Ok(None);
    }
    // What cannot be read is not absent.
    let found = repository.try_find_object(id).map_err(|error| Error::library("read the commit", error))?;
    let Some(object) = found else { return Ok(None) };
    let Ok(commit) = object.try_into_commit() else { return Ok(None) };
    let tree = commit.tree_id().map_err(|error| Error::library("read the commit", error))?;
    convert(&tree).map(Some)
}
