//! The repositories that are kept open, within a bound, and the paths that are known to lead to them.
//!
//! An entry is used only while every file that it was made from is as it was. The tables' locks are held to look up and
//! to put back, never while a file is read; two who find an entry missing both make it, and the later one stays.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use proto_schema::{RepositoryProblem, ThreadName};

use super::discover::{Found, discover};
use super::error::Error;
use super::git::WallClock;
use super::opened::{Opened, key_of};
use super::refs::Target;
use super::settings::UserSettings;
use super::stamp::Stamp;
use super::synced::Synced;
use super::{Located, MarkSeen, RepoKey};

/// The most repositories that are kept open: each has descriptors and mappings of its packs.
const REPOSITORIES: NonZeroUsize = NonZeroUsize::new(128).unwrap();

/// The most paths that are remembered: many worktrees and folders lead to one repository.
const PLACES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// One path and what it leads to.
pub(super) struct Place {
    located: Located,
    /// The Git directory of the worktree that the path lies in.
    pub(super) private: PathBuf,
    pub(super) repository: Arc<Opened>,
    /// Whether the path and the repository lie on a disk of this machine.
    pub(super) is_local: bool,
    /// HEAD as last read, and the version that it was.
    head: Mutex<Option<(Stamp, Arc<Head>)>>,
    depends: Vec<(PathBuf, Option<Stamp>)>,
    /// What `safe.directory` had to name for this repository of another user.
    needs_safe: Option<PathBuf>,
}

/// What a worktree's HEAD says.
#[derive(Default)]
pub(super) struct Head {
    /// `None` when the worktree has none any more.
    pub(super) target: Option<Target>,
    /// The branch that it is attached to, when its name can be a thread's.
    pub(super) thread: Option<ThreadName>,
}

pub(super) struct Cache {
    now: WallClock,
    synced: Arc<Synced>,
    places: Mutex<LruCache<PathBuf, Arc<Place>>>,
    repositories: Mutex<LruCache<RepoKey, Arc<Opened>>>,
}

impl Cache {
    pub(super) fn new(now: WallClock) -> Self {
        let places = Mutex::new(LruCache::new(PLACES));
        let repositories = Mutex::new(LruCache::new(REPOSITORIES));
        Self { now, synced: Arc::new(Synced::new()), places, repositories }
    }

    /// The place that was remembered for a path, unchecked.
    pub(super) fn remembered(&self, path: &Path) -> Option<Arc<Place>> {
        self.places.lock().get(path).map(Arc::clone)
    }

    /// What a path leads to now.
    pub(super) fn place(&self, path: &Path, user: &UserSettings, home: Option<&Path>) -> Result<Arc<Place>, Error> {
        if let Some(place) = self.remembered(path)
            && place.holds(user, home)
        {
            return Ok(place);
        }
        let found = discover(path)?;
        let needs_safe = untrusted(&found);
        if let Some(directory) = &needs_safe
            && !user.current().is_safe(directory, home)
        {
            return Err(Error::not_found(path, RepositoryProblem::NotTrusted));
        }
        let repository = self.opened(path, &found)?;
        // The repository was opened with its `config`, and looks at it by a shorter way.
        let config = repository.git_dir.join("config");
        let place = Arc::new(Place {
            is_local: is_local(path) && is_local(&repository.git_dir),
            located: repository.locate(&found),
            head: Mutex::new(None),
            private: found.private,
            repository,
            depends: found.depends.into_iter().filter(|(file, _)| *file != config).collect(),
            needs_safe,
        });
        if found.cacheable {
            self.places.lock().put(path.to_owned(), Arc::clone(&place));
        }
        Ok(place)
    }

    fn opened(&self, path: &Path, found: &Found) -> Result<Arc<Opened>, Error> {
        let config = found.common.join("config");
        let config = found.depends.iter().find(|(file, _)| *file == config).and_then(|(_, version)| *version);
        let version = (found.common_stamp, config);
        let known = self.repositories.lock().get(&key_of(found)).map(Arc::clone);
        if let Some(known) = known
            && known.version == version
            && *known.git_dir == *found.common
        {
            return Ok(known);
        }
        let synced = Arc::clone(&self.synced);
        let opened = Arc::new(Opened::open(path, found, config, Arc::clone(&self.now), synced)?);
        self.repositories.lock().put(opened.key, Arc::clone(&opened));
        Ok(opened)
    }
}

impl Place {
    /// The repository as seen from here, with what its mark says now.
    pub(super) fn located(&self) -> Result<Located, Error> {
        let mark = self.repository.marker.seen(&self.repository.git_dir)?;
        Ok(Located { mark, ..self.located.clone() })
    }

    /// The worktree that the path lies in; `None` for a path in a Git directory.
    pub(super) fn worktree(&self) -> Option<&Path> {
        self.located.worktree.as_deref()
    }

    /// The same, with a mark that is known already.
    pub(super) fn located_with(&self, mark: MarkSeen) -> Located {
        Located { mark, ..self.located.clone() }
    }

    /// What HEAD says, with one stat when it is as it was.
    pub(super) fn head(&self) -> Result<Arc<Head>, Error> {
        let version = self.head_version();
        let version = version.map_err(|source| Error::io("read HEAD", &self.private.join("HEAD"), source))?;
        if let Some(head) = self.known_head(version) {
            return Ok(head);
        }
        // The time is older than what is read next.
        let now = (self.repository.now)();
        let target = self.repository.refs.attached(&self.private)?;
        let thread = match &target {
            Some(Target::Symbolic(name)) => ThreadName::of_ref(name),
            Some(Target::Object(_)) | None => None,
        };
        let head = Arc::new(Head { target, thread });
        // What was written just now may be written again without a difference in its times.
        if let Some(version) = version.filter(|version| version.is_settled(now)) {
            *self.head.lock() = Some((version, Arc::clone(&head)));
        }
        Ok(head)
    }

    /// The same, where nothing has to be read or synced for it.
    pub(super) fn remembered_head(&self) -> Option<Arc<Head>> {
        let repository = &self.repository;
        let is_durable = |version: Option<Stamp>| version.is_some_and(|version| repository.synced.holds(version));
        let version = self.head_version().ok()?;
        let is_main = *self.private == *repository.git_dir;
        let head = self.known_head(version).filter(|_| is_durable(version))?;
        (is_main || is_durable(repository.directory.stamp("HEAD", false).ok()?)).then_some(head)
    }

    fn head_version(&self) -> std::io::Result<Option<Stamp>> {
        if *self.private == *self.repository.git_dir {
            self.repository.directory.stamp("HEAD", false)
        } else {
            Stamp::at_link(&self.private.join("HEAD"))
        }
    }

    fn known_head(&self, version: Option<Stamp>) -> Option<Arc<Head>> {
        let known = self.head.lock();
        known.as_ref().filter(|(known, _)| Some(*known) == version).map(|(_, head)| Arc::clone(head))
    }

    /// Whether the path still leads here, without a question about whom the user trusts.
    pub(super) fn holds_by_itself(&self) -> bool {
        self.needs_safe.is_none() && self.is_unchanged()
    }

    fn holds(&self, user: &UserSettings, home: Option<&Path>) -> bool {
        self.is_unchanged() && self.needs_safe.as_ref().is_none_or(|directory| user.current().is_safe(directory, home))
    }

    fn is_unchanged(&self) -> bool {
        let is_unchanged =
            |(path, stamp): &(PathBuf, Option<Stamp>)| matches!(Stamp::at(path), Ok(now) if now == *stamp);
        self.depends.iter().all(is_unchanged)
            // Last, for only then the directory that is kept open is known to be the one at the path.
            && self.repository.directory.stamp("config", true).is_ok_and(|now| now == self.repository.version.1)
    }
}

/// Whether a path lies on a disk of this machine, where a stat of a file that was looked at before waits for nothing.
#[cfg(target_os = "linux")]
fn is_local(path: &Path) -> bool {
    /// ext2 to ext4, XFS, Btrfs, tmpfs, overlayfs, F2FS, ZFS, bcachefs: the magic numbers of statfs(2).
    const LOCAL: [rustix::fs::FsWord; 8] =
        [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e];
    rustix::fs::statfs(path).is_ok_and(|found| LOCAL.contains(&found.f_type))
}

#[cfg(not(target_os = "linux"))]
fn is_local(_: &Path) -> bool {
    false
}

/// What `safe.directory` must name, when not everything belongs to this user.
fn untrusted(found: &Found) -> Option<PathBuf> {
    let user = nix::unistd::geteuid().as_raw();
    if found.owners.iter().all(|owner| *owner == user) {
        return None;
    }
    // Reached by its Git directory, as this daemon itself does, a repository is trusted as by its worktree.
    let main = || found.common.parent().filter(|_| found.common.ends_with(".git")).map(Path::to_owned);
    Some(found.top.clone().or_else(main).unwrap_or_else(|| found.common.clone()))
}
