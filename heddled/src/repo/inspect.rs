//! What a repository says of itself and of its branches, read without changing anything.

use std::path::PathBuf;
use std::sync::Arc;

use gix::remote::Direction;
use proto_schema::{ObjectId, ThreadName};

use super::cache::Place;
use super::capture::{GitOperation, under_way};
use super::compare::apart;
use super::error::Error;
use super::opened::Opened;
use super::refs::Target;
use super::stamp::Stamp;
use super::{Owner, marker};

/// A thread to look at.
#[derive(Clone, Debug)]
pub struct ThreadToInspect {
    /// The thread.
    pub thread: ThreadName,
    /// The state that its holder recorded last; none where nobody holds it, and then only its lock is looked at.
    pub recorded: Option<ObjectId>,
}

/// How a repository is, seen from one path in it.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Which registry decides about it; none before the first reserve, an error where its mark cannot be read.
    pub owner: Result<Option<Owner>, Arc<Error>>,
    /// What HEAD of the worktree says, and of a repository without one its own.
    pub head: Head,
    /// What the worktree is in the middle of.
    pub operation: Option<GitOperation>,
    /// What the branch of HEAD follows, as far as the repository's own configuration says so.
    pub upstream: Option<Upstream>,
    /// Of the threads that were asked about, what is not as it should be.
    pub threads: Vec<ThreadFound>,
}

/// What a HEAD says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// It is attached to a branch.
    Branch {
        /// Without `refs/heads/`.
        name: String,
        /// Its tip; none where nothing was committed yet.
        tip: Option<ObjectId>,
    },
    /// It is at a commit itself.
    Detached(ObjectId),
    /// It says nothing that Git would understand.
    Missing,
}

/// What a branch follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The upstream's ref as Git shows it: `origin/main`.
    pub name: String,
    /// How many commits the branch has that the upstream lacks, and the other way round; none when there is no such ref.
    pub apart: Option<(u64, u64)>,
}

/// A thread that is not as its holder recorded it, or whose ref is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadFound {
    /// The thread.
    pub thread: ThreadName,
    /// The state that its holder recorded last.
    pub recorded: Option<ObjectId>,
    /// What happened to its branch.
    pub branch: BranchFound,
    /// The lock file of its ref, and how long ago it was made, in milliseconds.
    pub lock: Option<(PathBuf, u64)>,
}

/// Where a branch is, compared with what its holder recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchFound {
    /// At what was recorded, or further on: an agent may commit by itself.
    Kept,
    /// At a commit that does not have what was recorded.
    Moved,
    /// There is none any more.
    Gone,
}

/// Looks at a repository.
pub(super) fn inspect(place: &Place, threads: &[ThreadToInspect]) -> Result<Inspection, Error> {
    let repository = &place.repository;
    let head = head(place)?;
    let upstream = match &head {
        Head::Branch { name, tip } if place.worktree().is_some() => upstream(repository, name, *tip)?,
        Head::Branch { .. } | Head::Detached(_) | Head::Missing => None,
    };
    let operation = if place.worktree().is_some() { under_way(&place.private)? } else { None };
    let mut found = Vec::new();
    for thread in threads {
        let look = look(repository, thread)?;
        if look.branch != BranchFound::Kept || look.lock.is_some() {
            found.push(look);
        }
    }
    let owner = marker::owner(&repository.git_dir).map_err(Arc::new);
    Ok(Inspection { owner, head, operation, upstream, threads: found })
}

fn head(place: &Place) -> Result<Head, Error> {
    let repository = &place.repository;
    let found = match place.head()?.target.clone() {
        None => Head::Missing,
        Some(Target::Object(state)) => Head::Detached(state),
        Some(Target::Symbolic(name)) => {
            let tip = repository.refs.follow(Some(Target::Symbolic(name.clone())))?;
            Head::Branch { name: name.strip_prefix("refs/heads/").unwrap_or(&name).to_owned(), tip }
        }
    };
    // A commit that is named and is not there is an error here, and not a branch without commits.
    match &found {
        Head::Branch { tip: Some(state), .. } | Head::Detached(state) => repository.objects.root(*state).map(drop)?,
        Head::Branch { tip: None, .. } | Head::Missing => {}
    }
    Ok(found)
}

fn upstream(repository: &Opened, branch: &str, tip: Option<ObjectId>) -> Result<Option<Upstream>, Error> {
    let library = repository.objects.library();
    let Ok(name) = gix::refs::FullName::try_from(format!("refs/heads/{branch}")) else { return Ok(None) };
    let name = name.as_ref();
    let remote = library.branch_remote_name(name.shorten(), Direction::Fetch);
    let is_local = remote.is_some_and(|remote| remote.as_bstr() == ".");
    let followed = if is_local {
        library.branch_remote_ref_name(name, Direction::Fetch)
    } else {
        library.branch_remote_tracking_ref_name(name, Direction::Fetch)
    };
    // What is configured and cannot be understood is none for Git, too.
    let Some(Ok(followed)) = followed else { return Ok(None) };
    let full = followed.as_bstr().to_string();
    let state = repository.refs.follow(Some(Target::Symbolic(full.clone())))?;
    let apart = match (tip, state) {
        (Some(tip), Some(state)) => Some(apart(&library, tip, state)?),
        (None, _) | (_, None) => None,
    };
    let shown = ["refs/remotes/", "refs/heads/"].iter().find_map(|prefix| full.strip_prefix(prefix));
    Ok(Some(Upstream { name: shown.unwrap_or(&full).to_owned(), apart }))
}

fn look(repository: &Opened, asked: &ThreadToInspect) -> Result<ThreadFound, Error> {
    let name = asked.thread.ref_name();
    let branch = match asked.recorded {
        None => BranchFound::Kept,
        Some(recorded) => match repository.refs.follow(Some(Target::Symbolic(name.clone())))? {
            None => BranchFound::Gone,
            Some(tip) if tip == recorded => BranchFound::Kept,
            Some(tip) if apart(&repository.objects.library(), recorded, tip)?.0 == 0 => BranchFound::Kept,
            Some(_) => BranchFound::Moved,
        },
    };
    let mut path = repository.refs.loose_path(&name).into_os_string();
    path.push(".lock");
    let path = PathBuf::from(path);
    let lock = Stamp::at_link(&path).map_err(|source| Error::io("look at the ref's lock", &path, source))?;
    let lock = lock.map(|stamp| (path, stamp.age_ms((repository.now)())));
    Ok(ThreadFound { thread: asked.thread.clone(), recorded: asked.recorded, branch, lock })
}
