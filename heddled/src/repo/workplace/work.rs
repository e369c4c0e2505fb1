//! The private Git directories, one for each capture or look under way, in a directory of the daemon's own.
//!
//! Git works in such a Git directory and not in the repository's: its `config` is the [`Snapshot`], its index a copy, and
//! what it writes stays in its own `objects` until it was looked at. It is removed when the work is done.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use gix::index::State;
use nix::fcntl::OFlag;
use parking_lot::Mutex;
use proto_schema::{ObjectId, Timestamp};

use super::beneath::Beneath;
use super::listings::Listings;
use super::run::{Bounds, run};
use super::snapshot::Snapshot;
use super::stored::{self, Stored};
use crate::repo::error::Error;
use crate::repo::files::{absent_as_none, is_special, open_plain};
use crate::repo::opened::Opened;
use crate::repo::program::{Program, Setting};
use crate::repo::worktrees::{self, Worktree};

const OPERATION: &str = "make a private Git directory";

/// The most bytes of a file of ignore rules or attributes, which Git holds to a limit, too.
const RULES: u64 = 100 * 1024 * 1024;

/// Where the private Git directories are, and what is remembered for all of them.
pub(in crate::repo) struct Workplaces {
    directory: Option<PathBuf>,
    /// Whether the directory is there, without what a daemon left that was killed.
    is_made: Mutex<bool>,
    next: AtomicU64,
    listings: Listings,
    /// Where the machine's file of attributes is, once Git was asked.
    system_attributes: OnceLock<Option<PathBuf>>,
}

impl Workplaces {
    pub(in crate::repo) fn new(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            is_made: Mutex::new(false),
            next: AtomicU64::new(0),
            listings: Listings::new(),
            system_attributes: OnceLock::new(),
        }
    }

    /// The settings that apply in a worktree, or in a repository; `list` asks Git.
    pub(in crate::repo) fn settings(
        &self,
        directories: (&Path, &Path),
        program: &Program,
        now: Timestamp,
        list: impl FnOnce() -> Result<Vec<Setting>, Error>,
    ) -> Result<Arc<Vec<Setting>>, Error> {
        self.listings.of(directories, program.environment(), now, list)
    }

    /// A new, empty place.
    pub(in crate::repo) fn make(&self) -> Result<Workplace, Error> {
        let Some(directory) = &self.directory else {
            return Err(Error::malformed(OPERATION, Path::new(""), "no place for it was named"));
        };
        let failed = |source| Error::io(OPERATION, directory, source);
        self.make_directory(directory).map_err(failed)?;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{}-{number}", std::process::id()));
            match private().create(&path) {
                Ok(()) => return Ok(Workplace { path }),
                // Left by a killed daemon with the same process id, as in a container, and it could not be removed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Makes the directory of them all, once: who comes second waits, or its place would go with what was left.
    fn make_directory(&self, directory: &Path) -> io::Result<()> {
        let mut is_made = self.is_made.lock();
        if !*is_made {
            private().recursive(true).create(directory)?;
            // What a daemon left that was killed. The directory is this daemon's alone, as the state is.
            let left = std::fs::read_dir(directory)?;
            left.flatten().for_each(|entry| drop(std::fs::remove_dir_all(entry.path())));
            *is_made = true;
        }
        Ok(())
    }
}

pub(in crate::repo) fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// One place; removed when it is dropped.
pub(in crate::repo) struct Workplace {
    path: PathBuf,
}

impl Workplace {
    /// A path in it.
    pub(in crate::repo) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes it a Git directory with this configuration, and with the objects of a repository to read from: what Git
    /// writes stays here. Nothing else of the repository's is there but its attributes.
    pub(in crate::repo) fn lay_out(&self, common: &Path, config: &str, head: Option<ObjectId>) -> io::Result<()> {
        for folder in ["objects", "objects/info", "refs", "info"] {
            private().create(self.path(folder))?;
        }
        let head = head.map_or_else(|| "ref: refs/heads/none".to_owned(), |head| head.to_string());
        std::fs::write(self.path("HEAD"), [&head, "\n"].concat())?;
        std::fs::write(self.path("config"), config)?;
        let objects = quoted(common.join("objects").as_os_str().as_bytes());
        std::fs::write(self.path("objects/info/alternates"), [&objects[..], b"\n"].concat())?;
        self.copy_rules(common, "attributes")
    }

    fn copy_rules(&self, from: &Path, name: &str) -> io::Result<()> {
        let name = format!("info/{name}");
        let rules = from.join(&name);
        // As for Git, what is no file has no rules.
        let is_special = std::fs::symlink_metadata(&rules).is_ok_and(|data| is_special(data.file_type()));
        if !is_special && let Some(file) = absent_as_none(open_plain(&rules))? {
            io::copy(&mut file.take(RULES), &mut File::create(self.path(&name))?)?;
        }
        Ok(())
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What stays behind is removed by the next daemon.
        drop(std::fs::remove_dir_all(&self.path));
    }
}

/// All that Git is run with.
pub(in crate::repo) struct Work<'a> {
    pub(in crate::repo) program: &'a Program,
    /// The common Git directory.
    pub(in crate::repo) common: &'a Path,
    /// The worktree's own Git directory, from the repository's records.
    pub(in crate::repo) private: &'a Path,
    pub(in crate::repo) hash: gix::hash::Kind,
    pub(in crate::repo) worktree: Beneath,
    now: Timestamp,
    limits: Limits<'a>,
    place: Workplace,
    places: &'a Workplaces,
}

/// What bounds the work: whoever asks for it says so.
#[derive(Clone, Copy)]
pub(in crate::repo) struct Limits<'a> {
    /// The content filters that may run beside `lfs`.
    pub(in crate::repo) allowed_filters: &'a [String],
    /// Set to true, it ends the work within a moment.
    pub(in crate::repo) cancelled: &'a AtomicBool,
}

/// What a private Git directory is made for.
#[derive(Clone, Copy)]
pub(in crate::repo) enum Purpose {
    /// To add what the worktree has; what HEAD is does not matter.
    Capture,
    /// To compare the worktree with a commit, or with nothing. Git fails where it would need a filter that may not run.
    Look {
        /// What HEAD leads to.
        head: Option<ObjectId>,
    },
}

impl<'a> Work<'a> {
    /// A place to work in on a worktree, as [`registered`] found it.
    pub(in crate::repo) fn new(
        places: &'a Workplaces,
        program: &'a Program,
        repository: &'a Opened,
        (record, worktree): (&'a Worktree, Beneath),
        limits: Limits<'a>,
    ) -> Result<Self, Error> {
        Ok(Self {
            program,
            common: &repository.git_dir,
            private: &record.private,
            hash: repository.format.hash,
            worktree,
            now: (repository.now)(),
            limits,
            place: places.make()?,
            places,
        })
    }

    /// A path in the private Git directory.
    pub(in crate::repo) fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    /// Makes the private Git directory from what the repository has now.
    pub(in crate::repo) fn lay_out(&self, purpose: Purpose) -> Result<Snapshot, Error> {
        let (private, common) = (self.private, self.common);
        let list = || {
            let mut command = self.program.list(private, &self.search_path());
            command.env("GIT_COMMON_DIR", common);
            Ok(Setting::parse(&self.run(command, "config")?))
        };
        let list = self.places.settings((private, common), self.program, self.now, list)?;
        let mut snapshot = Snapshot::new(&list, self.hash, self.limits.allowed_filters);
        let head = match purpose {
            Purpose::Capture => None,
            Purpose::Look { head } => {
                snapshot.stop_at_refused_filters();
                head
            }
        };
        self.fill(&mut snapshot, head).map_err(|source| Error::io(OPERATION, &self.place.path, source))?;
        if self.stored()?.is_some_and(|stored| stored.is_split) {
            // Written anew it is in one piece, as the snapshot says.
            let mut whole = self.git();
            whole.args(["update-index", "--force-write-index"]);
            self.run(whole, "update-index")?;
        }
        Ok(snapshot)
    }

    fn fill(&self, snapshot: &mut Snapshot, head: Option<ObjectId>) -> io::Result<()> {
        for (key, file) in snapshot.take_rules() {
            let copy = self.path(&key);
            let home = self.program.environment().home.as_deref();
            copy_rules(&place_of(&file, self.worktree.path(), home), &copy)?;
            snapshot.set(&key, copy.to_string_lossy().into_owned());
        }
        self.place.lay_out(self.common, &snapshot.text(), head)?;
        self.place.copy_rules(self.common, "exclude")?;
        self.place.copy_rules(self.private, "sparse-checkout")?;
        self.copy_index()
    }

    fn copy_index(&self) -> io::Result<()> {
        let mut left = stored::MOST_BYTES as u64;
        copy(&self.private.join("index"), &self.path("index"), &mut left)?;
        for entry in std::fs::read_dir(self.private)? {
            let name = entry?.file_name();
            // What a split index leads to.
            if name.as_bytes().starts_with(b"sharedindex.") {
                copy(&self.private.join(&name), &self.place.path.join(&name), &mut left)?;
            }
        }
        Ok(())
    }

    /// Git in the worktree, with nothing of the repository's but its objects.
    pub(in crate::repo) fn git(&self) -> Command {
        let mut command = self.program.command(&self.place.path, &self.search_path());
        command.env("GIT_WORK_TREE", ".").current_dir(self.worktree.current_dir());
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command
    }

    /// `PATH` without what leads into the worktree, where an agent may put a program called `git-lfs`.
    fn search_path(&self) -> OsString {
        search_path(self.program, |real| real.starts_with(self.worktree.path()))
    }

    /// Set to true, the work is to end.
    pub(in crate::repo) fn cancelled(&self) -> &'a AtomicBool {
        self.limits.cancelled
    }

    /// Runs a command of Git and gives what it says.
    pub(in crate::repo) fn run(&self, command: Command, name: &'static str) -> Result<Vec<u8>, Error> {
        run(command, name, &self.path("stderr"), Bounds::new(self.limits.cancelled))
    }

    /// Runs a command of Git that reads a list of things, and gives what it says.
    pub(in crate::repo) fn run_with(
        &self,
        mut command: Command,
        name: &'static str,
        input: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let path = self.path("stdin");
        let written = std::fs::write(&path, input).and_then(|()| File::open(&path));
        command.stdin(Stdio::from(written.map_err(|source| Error::io(OPERATION, &path, source))?));
        self.run(command, name)
    }

    /// The machine's file of attributes, which depends on how Git was built.
    pub(super) fn system_attributes(&self) -> Option<PathBuf> {
        let ask = || {
            let mut command = self.git();
            command.args(["var", "GIT_ATTR_SYSTEM"]);
            let said = self.run(command, "var").ok()?;
            Some(PathBuf::from(OsStr::from_bytes(said.trim_ascii_end())))
        };
        self.places.system_attributes.get_or_init(ask).clone()
    }

    /// The private copy of the index as it is now.
    pub(in crate::repo) fn index(&self) -> Result<gix::index::File, Error> {
        let state = match self.stored()? {
            Some(stored) => stored.state(self.hash)?,
            None => State::new(self.hash),
        };
        Ok(gix::index::File::from_state(state, self.path("index")))
    }

    fn stored(&self) -> Result<Option<Stored>, Error> {
        Stored::read(&self.path("index"), &self.private.join("index"), self.hash)
    }

    /// The ids of the objects that Git wrote here.
    pub(in crate::repo) fn written(&self) -> Result<BTreeSet<gix::ObjectId>, Error> {
        let objects = self.path("objects");
        let list = || -> io::Result<BTreeSet<gix::ObjectId>> {
            let mut found = BTreeSet::new();
            for folder in std::fs::read_dir(&objects)? {
                let folder = folder?;
                let first = folder.file_name();
                if first.len() != 2 {
                    continue;
                }
                for file in std::fs::read_dir(folder.path())? {
                    let hex = [first.as_bytes(), file?.file_name().as_bytes()].concat();
                    // Else it is a file that was not completed.
                    found.extend(gix::ObjectId::from_hex(&hex).ok());
                }
            }
            Ok(found)
        };
        list().map_err(|source| Error::io(OPERATION, &objects, source))
    }
}

/// The repository's own worktree at the path, kept open.
pub(in crate::repo) fn registered(repository: &Opened, path: &Path) -> Result<(Worktree, Beneath), Error> {
    let unknown = || Error::WorktreeNotFound { path: path.to_owned() };
    let record = worktrees::all(repository)?.into_iter().find(|worktree| worktree.path == path);
    let record = record.ok_or_else(unknown)?;
    let worktree = Beneath::open(&record.path).map_err(|_| unknown())?;
    // The main worktree is held to it, too: `core.worktree` may name any folder.
    match worktree.leads_to(&record.private) {
        Ok(true) => Ok((record, worktree)),
        Ok(false) | Err(_) => Err(unknown()),
    }
}

/// `PATH` without the places in a worktree, named or linked to, where an agent may put a program called like a filter or a
/// merge driver.
pub(in crate::repo) fn search_path(program: &Program, is_within: impl Fn(&Path) -> bool) -> OsString {
    let places = std::env::split_paths(&program.environment().path);
    let is_elsewhere = |place: &PathBuf| {
        let real = std::fs::canonicalize(place);
        place.is_absolute() && real.is_ok_and(|real| !is_within(&real))
    };
    let places = places.filter(is_elsewhere);
    // It cannot fail: what was split has no separators.
    std::env::join_paths(places).unwrap_or_default()
}

/// Copies a file with its time: what Git concludes from the index's time stays right. At most so many bytes are left.
fn copy(from: &Path, to: &Path, left: &mut u64) -> io::Result<()> {
    let Some(file) = absent_as_none(open_plain(from))? else { return Ok(()) };
    let data = file.metadata()?;
    *left = left.checked_sub(data.len()).ok_or(io::ErrorKind::FileTooLarge)?;
    let mut copy = File::create(to)?;
    io::copy(&mut file.take(data.len()), &mut copy)?;
    copy.set_modified(data.modified()?)
}

/// Copies a file of rules that the repository names or has: a FIFO or a device in its place would never end.
pub(in crate::repo) fn copy_rules(from: &Path, to: &Path) -> io::Result<()> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(from);
    let Some(file) = absent_as_none(opened)?.filter(|file| file.metadata().is_ok_and(|data| data.is_file())) else {
        return Ok(());
    };
    io::copy(&mut file.take(RULES), &mut File::create(to)?).map(drop)
}

/// Where a path of the configuration leads.
fn place_of(path: &str, worktree: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => worktree.join(path),
    }
}

/// A path as Git reads it in a line: as it is, or quoted where it would end the line or begin a quote.
pub(in crate::repo) fn quoted(path: &[u8]) -> Vec<u8> {
    if !path.starts_with(b"\"") && !path.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return path.to_vec();
    }
    let mut quoted = vec![b'"'];
    for byte in path {
        // Written out in octal, every byte means itself.
        quoted.extend_from_slice(format!("\\{byte:03o}").as_bytes());
    }
    quoted.push(b'"');
    quoted
}

/// Writes a file in a folder that may not be there yet.
pub(in crate::repo) fn write_below(top: &Path, path: &[u8], content: &mut dyn io::Read) -> io::Result<PathBuf> {
    let path = top.join(OsStr::from_bytes(path));
    if let Some(parent) = path.parent() {
        private().recursive(true).create(parent)?;
    }
    let mut file = File::create(&path)?;
    io::copy(content, &mut file)?;
    file.flush()?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// In a container the daemon may have the process id of the one before it.
    #[test]
    fn what_cannot_be_removed_under_the_next_name_is_passed_over() {
        let scene = tempfile::tempdir().unwrap();
        let places = Workplaces::new(Some(scene.path().to_owned()));
        drop(places.make().unwrap());
        let left = scene.path().join(format!("{}-1", std::process::id()));
        std::fs::create_dir(&left).unwrap();
        let made = places.make().unwrap();
        assert!(made.path != left && made.path.is_dir());
    }

    /// What a killed daemon left goes when the first place is made, and no place goes that is made beside it.
    #[test]
    fn the_first_places_are_made_side_by_side() {
        for _ in 0..400 {
            let scene = tempfile::tempdir().unwrap();
            let directory = scene.path().join("captures");
            std::fs::create_dir_all(directory.join("1-0/objects")).unwrap();
            let (places, start) = (Workplaces::new(Some(directory.clone())), Barrier::new(4));
            let make = || {
                start.wait();
                places.make().unwrap()
            };
            let made: Vec<Workplace> = std::thread::scope(|scope| {
                let makers: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
                makers.into_iter().map(|maker| maker.join().unwrap()).collect()
            });
            assert!(made.iter().all(|place| place.path.is_dir()));
            assert_eq!(std::fs::read_dir(&directory).unwrap().count(), made.len(), "nothing else is left");
        }
    }
}
