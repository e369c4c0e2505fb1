//! Why something could not be done to a repository.
//!
//! Every expected outcome has its own variant, with the facts the wire needs; [`Error::Unavailable`] is all the rest and
//! says which operation failed and why.

use std::io;
use std::path::{Path, PathBuf};

use proto_schema::{ObjectId, RepositoryProblem, ThreadName};

use super::capture::CaptureRefused;

/// What went wrong with a repository.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No repository that may be used lies at the path.
    #[error("no usable repository at {}: {problem:?}", path.display())]
    NotFound {
        /// The path as it was asked for.
        path: PathBuf,
        /// Why there is none.
        problem: RepositoryProblem,
    },
    /// The revision names no commit of the repository.
    #[error("'{anchor}' names no commit")]
    AnchorNotFound {
        /// The revision as it was asked for.
        anchor: String,
    },
    /// HEAD was needed, and it points at a branch without commits.
    #[error("HEAD has no commit yet")]
    NoHead,
    /// Git cannot hold the name beside an existing branch: `a/b` beside `a`.
    #[error("the branch '{existing}' stands in the way")]
    NameConflict {
        /// The branch that exists.
        existing: ThreadName,
    },
    /// The branch is a symbolic ref, which is no thread.
    #[error("the branch is a symbolic ref")]
    SymbolicThread,
    /// The way to the branch's ref leads through a symbolic link: the same file is a branch under another name.
    #[error("{} is a symbolic link", folder.display())]
    LinkedThread {
        /// The link.
        folder: PathBuf,
    },
    /// The name is fit for a branch that exists, and not for one that is to be made.
    #[error("a new branch cannot have this name: {problem}")]
    NewName {
        /// What is wrong with it, as a clause.
        problem: &'static str,
        /// A name that can be used.
        suggestion: String,
    },
    /// The ref is not where the compare-and-swap expected it; nothing was changed.
    #[error("the ref is at {actual:?}, not at {expected:?}")]
    Conflict {
        /// Where it was expected; `None` for absent.
        expected: Option<ObjectId>,
        /// Where it is; `None` for absent.
        actual: Option<ObjectId>,
    },
    /// Another registry owns the repository.
    #[error("the registry at {} owns the repository", state_dir.display())]
    Owned {
        /// The state directory of the registry that owns it.
        state_dir: PathBuf,
    },
    /// Another registry owns the repository, and its daemon has other mounts: whether it runs cannot be told.
    #[error("the registry at {} owns the repository, in another container or mount namespace", state_dir.display())]
    OwnerHidden {
        /// The state directory of the registry that owns it, as its daemon sees it.
        state_dir: PathBuf,
        /// The file that says so.
        marker: PathBuf,
    },
    /// Another repository is at the place of the one that was meant.
    #[error("another repository is at {} than the one that this session was granted in", git_dir.display())]
    Replaced {
        /// The Git directory.
        git_dir: PathBuf,
    },
    /// The path is none of the repository's own worktree records.
    #[error("{} is no worktree of the repository", path.display())]
    WorktreeNotFound {
        /// The path as it was asked for.
        path: PathBuf,
    },
    /// A worktree may not be made there.
    #[error("a worktree may not be made at {}", path.display())]
    PathNotAllowed {
        /// The path as it was asked for.
        path: PathBuf,
        /// The directories below which it would be allowed.
        roots: Vec<PathBuf>,
    },
    /// The folder in which a worktree would be made cannot be written to.
    #[error("{}: {cause}", folder.display())]
    ReadOnly {
        /// Where the worktree would be.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The repository is a partial clone that lacks files of the commit. They are not fetched by the daemon.
    #[error("the repository lacks files that the worktree at {} would have", path.display())]
    LacksObjects {
        /// Where the worktree would be.
        path: PathBuf,
        /// Where the thread's branch would be made; none where there is one.
        new_branch_at: Option<ObjectId>,
    },
    /// A directory is not empty, or no directory, where a worktree should be made.
    #[error("something is at {} that is not the thread's worktree", path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
    },
    /// Git has a record of the thread's worktree, and there is none at its place.
    #[error("the thread's worktree at {} is gone", path.display())]
    WorktreeGone {
        /// Where it was.
        path: PathBuf,
        /// The repository: its main worktree, or its Git directory.
        repo: PathBuf,
    },
    /// The thread is checked out where no linked worktree can be made of it.
    #[error("the thread is checked out at {}", worktree.display())]
    CheckedOut {
        /// The worktree that has it.
        worktree: PathBuf,
    },
    /// The worktree cannot be captured as it is; nothing was changed.
    #[error("the worktree cannot be captured: {0}")]
    Capture(#[from] CaptureRefused),
    /// A repository whose agents are at work has this one's mark, and is not at its place: this may be a copy of it.
    #[error("this may be a copy of the repository at {}, where agents are at work", recorded.display())]
    MayBeCopy {
        /// Where the repository was last seen: its common Git directory.
        recorded: PathBuf,
    },
    /// The repository could not be read or written.
    #[error("could not {operation}: {cause}")]
    Unavailable {
        /// What was tried, as a verb phrase: "read the ref".
        operation: &'static str,
        /// Why it failed.
        #[source]
        cause: Cause,
    },
}

/// Why a repository could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A lock file stayed in place for the whole time that was waited.
    #[error("the lock file {} exists", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long ago it was made, in milliseconds; none when it was gone by then.
        age_ms: Option<u64>,
    },
    /// The file system has not answered, and may never do: it hangs, or a device or a FIFO is in the place of a file.
    #[error("{} has not answered within {after_s} s", path.display())]
    NoAnswer {
        /// The Git directory, or the mount point of what was asked for.
        path: PathBuf,
        /// How long it was waited for, in seconds.
        after_s: u64,
    },
    /// Another process is changing the same.
    #[error("another process is changing {}", path.display())]
    Busy {
        /// The file or directory concerned.
        path: PathBuf,
    },
    /// A file does not have the content that it must have.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file or directory concerned.
        path: PathBuf,
        /// What is wrong with it, as a clause.
        problem: &'static str,
    },
    /// This registry granted tokens of a later era here than it knows of: it was restored from a backup.
    #[error("fencing tokens of era {era} were granted there before this registry was restored")]
    LaterEra {
        /// The era.
        era: u64,
        /// Whether it did so from another state directory: it was restored there, and granted threads since.
        elsewhere: bool,
    },
    /// The mark of the repository is none that can be believed.
    #[error("{}: {problem}", path.display())]
    UntrustedMark {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, as a clause.
        problem: &'static str,
    },
    /// An object that a ref names is missing or is no commit.
    #[error("{id} is missing or is no commit")]
    NoCommit {
        /// The object.
        id: ObjectId,
    },
    /// An object that the index names is not in the repository.
    #[error("{id} is missing")]
    Missing {
        /// The object.
        id: ObjectId,
    },
    /// A branch whose name no thread can have stands in the way.
    #[error("the branch {name:?} stands in the way")]
    Branch {
        /// The full ref name.
        name: PathBuf,
    },
    /// The Git library failed.
    #[error("{0}")]
    Library(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The `git` program failed.
    #[error("git {command} failed: {stderr}")]
    Program {
        /// The subcommand.
        command: &'static str,
        /// What it wrote to stderr, shortened.
        stderr: String,
    },
}

impl Error {
    pub(super) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Unavailable { operation, cause: Cause::Io { path: path.to_owned(), source } }
    }

    pub(super) fn malformed(operation: &'static str, path: &Path, problem: &'static str) -> Self {
        Self::Unavailable { operation, cause: Cause::Malformed { path: path.to_owned(), problem } }
    }

    pub(super) fn untrusted_mark(operation: &'static str, path: &Path, problem: &'static str) -> Self {
        Self::Unavailable { operation, cause: Cause::UntrustedMark { path: path.to_owned(), problem } }
    }

    pub(super) fn library(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { operation, cause: Cause::Library(source.into()) }
    }

    /// The same, where the branch is to be made, too: what it says is to be done makes it.
    #[must_use]
    pub fn for_new_branch(mut self, at: ObjectId) -> Self {
        if let Self::LacksObjects { new_branch_at, .. } = &mut self {
            *new_branch_at = Some(at);
        }
        self
    }

    pub(super) fn not_found(path: &Path, problem: RepositoryProblem) -> Self {
        Self::NotFound { path: path.to_owned(), problem }
    }
}
