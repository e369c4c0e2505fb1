//! Where captures are prepared: a directory of the daemon's own with one Git directory for each capture under way.
//!
//! Git works in such a private Git directory and not in the repository's: its `config` is the [`Snapshot`], its index a
//! copy, and what it writes stays in its own `objects` until it was looked at. It is removed when the capture is prepared.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::CaptureRequest;
use super::beneath::Beneath;
use super::run::run;
use super::snapshot::Snapshot;
use crate::repo::error::Error;
use crate::repo::files::{absent_as_none, open_plain};
use crate::repo::program::{Program, Setting};

const OPERATION: &str = "prepare the capture";

/// The most bytes of a file of ignore rules or attributes, which Git holds to a limit, too.
const RULES: u64 = 100 * 1024 * 1024;

/// Where captures are prepared.
pub(super) struct Workplaces {
    directory: Option<PathBuf>,
    made: OnceLock<()>,
    next: AtomicU64,
}

impl Workplaces {
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, made: OnceLock::new(), next: AtomicU64::new(0) }
    }

    /// A new, empty place.
    pub(super) fn make(&self) -> Result<Workplace, Error> {
        let Some(directory) = &self.directory else {
            return Err(Error::malformed(OPERATION, Path::new(""), "no place for captures was named"));
        };
        let failed = |source| Error::io(OPERATION, directory, source);
        if self.made.get().is_none() {
            private().recursive(true).create(directory).map_err(failed)?;
            // What a daemon left that was killed. The directory is this daemon's alone, as the state is.
            let left = std::fs::read_dir(directory).map_err(failed)?;
            left.flatten().for_each(|entry| drop(std::fs::remove_dir_all(entry.path())));
            self.made.get_or_init(|| ());
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("{}-{number}", std::process::id()));
        private().create(&path).map_err(failed)?;
        Ok(Workplace { path })
    }
}

fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// A place of one capture; removed when it is dropped.
pub(super) struct Workplace {
    path: PathBuf,
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What stays behind is removed by the next daemon.
        drop(std::fs::remove_dir_all(&self.path));
    }
}

/// All that a capture is prepared with.
pub(super) struct Work<'a> {
    pub(super) request: &'a CaptureRequest<'a>,
    pub(super) program: &'a Program,
    /// The common Git directory.
    pub(super) common: &'a Path,
    /// The worktree's own Git directory, from the repository's records.
    pub(super) private: &'a Path,
    pub(super) hash: gix::hash::Kind,
    pub(super) worktree: Beneath,
    pub(super) place: Workplace,
    /// Where the machine's file of attributes is, once Git was asked.
    pub(super) system_attributes: &'a OnceLock<Option<PathBuf>>,
}

impl Work<'_> {
    /// A path in the private Git directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.place.path.join(name)
    }

    /// Makes the private Git directory from what the repository has now.
    pub(super) fn lay_out(&self) -> Result<Snapshot, Error> {
        let mut command = self.program.list(self.private);
        command.env("GIT_COMMON_DIR", self.common).env("PATH", self.search_path());
        let list = Setting::parse(&self.run(command, "config")?);
        let snapshot = Snapshot::new(&list, self.hash, self.request.allowed_filters);
        self.fill(&snapshot).map_err(|source| Error::io(OPERATION, &self.place.path, source))?;
        Ok(snapshot)
    }

    fn fill(&self, snapshot: &Snapshot) -> io::Result<()> {
        for folder in ["objects", "objects/info", "refs", "info"] {
            private().create(self.path(folder))?;
        }
        std::fs::write(self.path("HEAD"), "ref: refs/heads/capture\n")?;
        std::fs::write(self.path("config"), snapshot.text())?;
        let objects = quoted(self.common.join("objects").as_os_str().as_bytes());
        std::fs::write(self.path("objects/info/alternates"), [&objects[..], b"\n"].concat())?;
        for (from, name) in [(self.common, "exclude"), (self.common, "attributes"), (self.private, "sparse-checkout")] {
            let name = format!("info/{name}");
            if let Some(file) = absent_as_none(open_plain(&from.join(&name)))? {
                io::copy(&mut file.take(RULES), &mut File::create(self.path(&name))?)?;
            }
        }
        self.copy_index()
    }

    fn copy_index(&self) -> io::Result<()> {
        copy(&self.private.join("index"), &self.path("index"))?;
        for entry in std::fs::read_dir(self.private)? {
            let name = entry?.file_name();
            // What a split index leads to.
            if name.as_bytes().starts_with(b"sharedindex.") {
                copy(&self.private.join(&name), &self.place.path.join(&name))?;
            }
        }
        Ok(())
    }

    /// Git in the worktree, with nothing of the repository's but its objects.
    pub(super) fn git(&self) -> Command {
        let mut command = self.program.command(&self.place.path);
        command.env("GIT_WORK_TREE", ".").current_dir(self.worktree.current_dir());
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("PATH", self.search_path());
        command
    }

    /// `PATH` without what leads into the worktree, where an agent may put a program called `git-lfs`.
    fn search_path(&self) -> OsString {
        let places = std::env::split_paths(&self.program.environment().path);
        let places = places.filter(|place| place.is_absolute() && !place.starts_with(self.worktree.path()));
        // It cannot fail: what was split has no separators.
        std::env::join_paths(places).unwrap_or_default()
    }

    /// Runs a command of Git and gives what it says.
    pub(super) fn run(&self, command: Command, name: &'static str) -> Result<Vec<u8>, Error> {
        run(command, name, &self.path("stderr"), self.request.cancelled)
    }

    /// Runs a command of Git that reads a list of things, and gives what it says.
    pub(super) fn run_with(&self, mut command: Command, name: &'static str, input: &[u8]) -> Result<Vec<u8>, Error> {
        let path = self.path("stdin");
        let written = std::fs::write(&path, input).and_then(|()| File::open(&path));
        command.stdin(Stdio::from(written.map_err(|source| Error::io(OPERATION, &path, source))?));
        self.run(command, name)
    }

    /// The private copy of the index as it is now.
    pub(super) fn index(&self) -> Result<gix::index::File, Error> {
        let options = gix::index::decode::Options::default();
        // Git itself checks the sum of the file when it reads it.
        let index = gix::index::File::at_or_default(self.path("index"), self.hash, true, options);
        index.map_err(|error| Error::library("read the index", error))
    }

    /// The ids of the objects that Git wrote here.
    pub(super) fn written(&self) -> Result<BTreeSet<gix::ObjectId>, Error> {
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

/// Copies a file with its time: what Git concludes from the index's time stays right.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let Some(mut file) = absent_as_none(open_plain(from))? else { return Ok(()) };
    let mut copy = File::create(to)?;
    io::copy(&mut file, &mut copy)?;
    copy.set_modified(file.metadata()?.modified()?)
}

/// A path as Git reads it in a line: as it is, or quoted where it would end the line or begin a quote.
pub(super) fn quoted(path: &[u8]) -> Vec<u8> {
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
pub(super) fn write_below(top: &Path, path: &[u8], content: &mut dyn io::Read) -> io::Result<PathBuf> {
    let path = top.join(OsStr::from_bytes(path));
    if let Some(parent) = path.parent() {
        private().recursive(true).create(parent)?;
    }
    let mut file = File::create(&path)?;
    io::copy(content, &mut file)?;
    file.flush()?;
    Ok(path)
}
