//! Reading refs: the loose file first, then `packed-refs`, which is read again whenever it has changed.
//!
//! The order matters: Git packs a ref before it removes the loose file, so a ref that is missing as a file is in a
//! `packed-refs` that is looked at afterwards. A ref that cannot be read is an error and never "absent", for a thread
//! could be created over it. Nothing is ever followed: who wants a symbolic ref's target asks for it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gix::refs::packed;
use parking_lot::Mutex;
use proto_schema::{ObjectId, ThreadName};

use super::error::{Cause, Error};
use super::files::{absent_as_none, open_plain, refuse_special};
use super::format::Format;
use super::git::WallClock;
use super::known::KnownRefs;
use super::names;
use super::stamp::{Directory, Stamp};
use crate::registry::Folding;

const OPERATION: &str = "read the ref";

/// The most symbolic refs in a row that are followed, as in Git.
const MAX_DEPTH: usize = 5;

/// What a ref says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// An object.
    Object(ObjectId),
    /// Another ref, by its full name.
    Symbolic(String),
}

/// Where a branch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) state: ObjectId,
    /// Whether that is known to survive a power cut.
    pub(super) durable: bool,
}

type Packed = Option<Arc<packed::Buffer>>;

/// `packed-refs` as last read.
struct KnownPacked {
    version: Option<Stamp>,
    content: Packed,
    durable: bool,
}

/// The refs of one repository.
pub(super) struct Refs {
    common: Arc<Path>,
    directory: Arc<Directory>,
    hash: gix::hash::Kind,
    now: WallClock,
    /// What the file system does not tell apart in the names of refs.
    pub(super) folding: Folding,
    pub(super) known: KnownRefs,
    packed: Mutex<Option<KnownPacked>>,
}

impl Refs {
    pub(super) fn new((common, directory): (Arc<Path>, Arc<Directory>), format: &Format, now: WallClock) -> Self {
        let folding = names::folding(&common, format);
        let known = KnownRefs::new();
        Self { common, directory, hash: format.hash, now, folding, known, packed: Mutex::new(None) }
    }

    /// Whether something in the Git directory is a symbolic link.
    pub(super) fn is_link(&self, name: &str) -> Result<bool, Error> {
        let found = self.directory.is_link(name);
        found.map_err(|source| Error::io(OPERATION, &self.loose_path(name), source))
    }

    /// The thread of the branch that a loose file is; `None` when no thread can have its name.
    pub(super) fn thread_at(&self, file: &Path) -> Option<ThreadName> {
        ThreadName::of_ref(file.strip_prefix(&*self.common).ok()?.to_str()?)
    }

    /// A packed branch that the file system takes for this thread, in another spelling.
    pub(super) fn packed_confused_with(&self, thread: &ThreadName) -> Result<Option<ThreadName>, Error> {
        let Some(packed) = self.packed()? else { return Ok(None) };
        let branches = packed.iter_prefixed("refs/heads/".into()).map_err(|error| Error::library(OPERATION, error))?;
        let mut found = None;
        for branch in branches {
            let branch = branch.map_err(|error| Error::library(OPERATION, error))?;
            let other = std::str::from_utf8(branch.name.as_bstr()).ok().and_then(ThreadName::of_ref);
            match other {
                // It is there in just this spelling.
                Some(other) if other == *thread => return Ok(None),
                Some(other) if self.folding.confuses(&other, thread) => found = Some(other),
                Some(_) | None => {}
            }
        }
        Ok(found)
    }

    /// The file that a shared ref has when it is not packed.
    pub(super) fn loose_path(&self, name: &str) -> PathBuf {
        self.common.join(name)
    }

    /// The version of that file; `None` when there is none.
    pub(super) fn loose_stamp(&self, name: &str) -> Result<Option<Stamp>, Error> {
        let stamp = self.directory.stamp(name, false);
        stamp.map_err(|source| Error::io(OPERATION, &self.loose_path(name), source))
    }

    /// The thread's tip; `None` when there is no such branch.
    ///
    /// # Errors
    /// [`Error::LinkedThread`], [`Error::SymbolicThread`].
    pub(super) fn tip(&self, thread: &ThreadName) -> Result<Option<Tip>, Error> {
        names::refuse_link(self, thread)?;
        match self.look(&thread.ref_name())? {
            None => Ok(None),
            Some((Target::Object(state), durable)) => Ok(Some(Tip { state, durable })),
            Some((Target::Symbolic(_), _)) => Err(Error::SymbolicThread),
        }
    }

    /// A shared ref, loose or packed, and whether it is known to be durable.
    pub(super) fn look(&self, name: &str) -> Result<Option<(Target, bool)>, Error> {
        if let Some(stamp) = self.loose_stamp(name)? {
            if let Some(known) = self.known.get(name, stamp) {
                return Ok(Some(known));
            }
            // Both the version and the time are older than what is read next: a change in between is noticed later.
            let now = (self.now)();
            if let Some(target) = self.read_loose(&self.loose_path(name))? {
                let durable = self.known.put(name, stamp, &target, stamp.is_settled(now));
                return Ok(Some((target, durable)));
            }
        }
        let found = self.read_packed(name)?.map(Target::Object);
        let durable = || self.packed.lock().as_ref().is_some_and(|packed| packed.durable);
        Ok(found.map(|target| (target, durable())))
    }

    /// A shared ref that was read before, and whether it is known to be durable; `None` when anything has to be read.
    pub(super) fn remembered(&self, name: &str) -> Option<(Target, bool)> {
        if let Some(stamp) = self.directory.stamp(name, false).ok()? {
            return self.known.get(name, stamp);
        }
        let version = self.directory.stamp("packed-refs", true).ok()?;
        let (content, durable) = {
            let packed = self.packed.lock();
            let known = packed.as_ref().filter(|known| known.version == version)?;
            (Arc::clone(known.content.as_ref()?), known.durable)
        };
        let found = content.try_find(name).ok()??;
        Some((Target::Object(convert(found.target().as_ref()).ok()?), durable))
    }

    /// What a worktree's HEAD says; `None` when the worktree has none any more.
    pub(super) fn attached(&self, private: &Path) -> Result<Option<Target>, Error> {
        self.read_loose(&private.join("HEAD"))
    }

    /// The commit that HEAD leads to; `None` when its branch has none yet.
    pub(super) fn follow(&self, head: Option<Target>) -> Result<Option<ObjectId>, Error> {
        let mut target = head;
        for _ in 0..MAX_DEPTH {
            match target {
                None => return Ok(None),
                Some(Target::Object(id)) => return Ok(Some(id)),
                Some(Target::Symbolic(name)) => target = self.look(&name)?.map(|(target, _)| target),
            }
        }
        Err(Error::malformed(OPERATION, &self.common.join("HEAD"), "too many symbolic refs follow each other"))
    }

    fn read_loose(&self, path: &Path) -> Result<Option<Target>, Error> {
        let mut buffer = [0; 1024];
        let read = open_plain(path).and_then(|mut file: File| file.read(&mut buffer));
        let read = match read {
            // What Git once made with a symbolic link is a symbolic ref.
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) => return link(path).map(Some),
            // An empty directory may stay behind where a branch `a/b` was.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => return Ok(None),
            other => absent_as_none(other).map_err(|source| Error::io(OPERATION, path, source))?,
        };
        let Some(length) = read else { return Ok(None) };
        let malformed = || Error::malformed(OPERATION, path, "it is not what a ref must be");
        let content = buffer[..length].trim_ascii_end();
        if let Some(name) = content.strip_prefix(b"ref:") {
            let name = std::str::from_utf8(name.trim_ascii()).map_err(|_| malformed())?;
            // A name that leads out of the refs, or is cut off, is not read.
            let is_ref = name.starts_with("refs/") && !name.split('/').any(|part| matches!(part, "" | "." | ".."));
            if !is_ref || length == buffer.len() {
                return Err(malformed());
            }
            return Ok(Some(Target::Symbolic(name.to_owned())));
        }
        let digits = content.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        let id = std::str::from_utf8(digits).ok().and_then(|digits| digits.to_ascii_lowercase().parse().ok());
        let id: ObjectId = id.ok_or_else(malformed)?;
        if id.as_bytes().len() != self.hash.len_in_bytes() || id.as_bytes().iter().all(|byte| *byte == 0) {
            return Err(malformed());
        }
        Ok(Some(Target::Object(id)))
    }

    fn read_packed(&self, name: &str) -> Result<Option<ObjectId>, Error> {
        let Some(packed) = self.packed()? else { return Ok(None) };
        let found = packed.try_find(name).map_err(|error| Error::library(OPERATION, error))?;
        found.map(|found| convert(found.target().as_ref())).transpose()
    }

    /// `packed-refs` as it is now. It is held in memory and never mapped: a file that shrinks under a mapping would end
    /// the daemon.
    fn packed(&self) -> Result<Packed, Error> {
        let path = self.common.join("packed-refs");
        let failed = |source| Error::io(OPERATION, &path, source);
        let version = self.directory.stamp("packed-refs", true).map_err(failed)?;
        if let Some(known) = &*self.packed.lock()
            && known.version == version
        {
            return Ok(known.content.clone());
        }
        // The version is older than what is read next: a change in between is noticed by the next caller.
        // The library waits for whoever writes into a FIFO.
        refuse_special(&path).map_err(failed)?;
        let content = match version {
            None => None,
            Some(_) => match packed::Buffer::open(path.clone(), u64::MAX, self.hash) {
                Ok(buffer) => Some(Arc::new(buffer)),
                Err(error) => return Err(Error::library(OPERATION, error)),
            },
        };
        *self.packed.lock() = Some(KnownPacked { version, content: content.clone(), durable: false });
        Ok(content)
    }

    /// The version of `packed-refs` that was read last.
    pub(super) fn packed_version(&self) -> Option<Stamp> {
        self.packed.lock().as_ref().and_then(|packed| packed.version)
    }

    /// Takes down that a version of `packed-refs` is durable.
    pub(super) fn set_packed_durable(&self, version: Stamp) {
        if let Some(packed) = self.packed.lock().as_mut().filter(|packed| packed.version == Some(version)) {
            packed.durable = true;
        }
    }

    /// Fails when a branch exists that Git cannot hold beside this one.
    pub(super) fn refuse_conflict(&self, thread: &ThreadName) -> Result<(), Error> {
        let name = thread.as_str();
        for (at, _) in name.match_indices('/') {
            let parent = format!("refs/heads/{}", &name[..at]);
            // A file in the place of the directory counts, whatever is in it.
            let is_file = std::fs::symlink_metadata(self.loose_path(&parent)).is_ok_and(|data| !data.is_dir());
            if is_file || self.read_packed(&parent)?.is_some() {
                return Err(conflict(Path::new(&parent)));
            }
        }
        let below = format!("{}/", thread.ref_name());
        if let Some(child) = first_file(&self.loose_path(&below)) {
            let child = child.strip_prefix(&*self.common).map(Path::to_owned).unwrap_or(child);
            return Err(conflict(&child));
        }
        let Some(packed) = self.packed()? else { return Ok(()) };
        let mut children =
            packed.iter_prefixed(below.as_str().into()).map_err(|error| Error::library(OPERATION, error))?;
        match children.next() {
            None => Ok(()),
            Some(Ok(child)) => Err(conflict(&gix::path::from_bstr(child.name.as_bstr()).unwrap_or_default())),
            Some(Err(error)) => Err(Error::library(OPERATION, error)),
        }
    }
}

/// The id of the wire for one of the library.
pub(super) fn convert(id: &gix::oid) -> Result<ObjectId, Error> {
    ObjectId::from_bytes(id.as_bytes()).map_err(|error| Error::library("read an object id", error))
}

fn conflict(branch: &Path) -> Error {
    match branch.to_str().and_then(ThreadName::of_ref) {
        Some(existing) => Error::NameConflict { existing },
        None => Error::Unavailable { operation: "create the branch", cause: Cause::Branch { name: branch.to_owned() } },
    }
}

/// The target of a symbolic ref that is a symbolic link.
fn link(path: &Path) -> Result<Target, Error> {
    let target = std::fs::read_link(path).map_err(|source| Error::io(OPERATION, path, source))?;
    match std::str::from_utf8(target.as_os_str().as_bytes()) {
        Ok(name) if name.starts_with("refs/") && !name.contains("..") => Ok(Target::Symbolic(name.to_owned())),
        _ => Err(Error::malformed(OPERATION, path, "it is a symbolic link that leads to no ref")),
    }
}

/// Some file below a directory that is no lock: a loose branch. Empty directories do not count.
pub(super) fn first_file(directory: &Path) -> Option<PathBuf> {
    for entry in std::fs::read_dir(directory).ok()?.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if let Some(found) = first_file(&path) {
                return Some(found);
            }
        } else if path.extension().is_none_or(|extension| extension != "lock") {
            return Some(path);
        }
    }
    None
}
