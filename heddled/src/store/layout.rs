//! Where everything lies in the state directory, and the two small files that speak of the rest: `format` and `checkpoint`.
//!
//! `format` is there when the first start was completed; before that only `format.new` is. `checkpoint` says what the
//! database must at least have, and how its files looked when nothing was being written to them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::checkpoint::tables::Meta;
use super::disk;
use super::{Damage, Error, Tree, codec};
use crate::registry::Registry;

/// The format of the state that is written here, and the newest one that is read.
pub(super) const FORMAT: u32 = 1;

const MARK_KEY: &[u8] = b"checkpoint";

/// The paths within a state directory.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) state: PathBuf,
    pub(super) format: PathBuf,
    pub(super) unfinished: PathBuf,
    pub(super) journal: PathBuf,
    pub(super) database: PathBuf,
    pub(super) copy: PathBuf,
    pub(super) mark: PathBuf,
}

impl Layout {
    pub(super) fn new(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
            format: state.join("format"),
            unfinished: state.join("format.new"),
            journal: state.join("journal"),
            database: state.join("db"),
            copy: state.join("db.check"),
            mark: state.join("checkpoint"),
        }
    }

    pub(super) fn damaged(&self, path: &Path, why: Damage) -> Error {
        Error::Damaged { state: self.state.clone(), path: path.to_owned(), why: Box::new(why) }
    }

    /// The format that the state says it has; none where there is no state yet.
    pub(super) fn format(&self) -> Result<Option<u32>, Error> {
        let text = match fs::read_to_string(&self.format) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(self.damaged(&self.format, Damage::FormatUnreadable));
            }
            Err(error) => return Err(Error::io("read", &self.format)(error)),
        };
        let number = text.trim_end().strip_prefix("heddled state, format ").and_then(|number| number.parse().ok());
        match number {
            Some(found) if found > FORMAT => {
                Err(Error::NewerFormat { path: self.format.clone(), found, known: FORMAT })
            }
            Some(found) if found > 0 => Ok(Some(found)),
            _ => Err(self.damaged(&self.format, Damage::FormatUnreadable)),
        }
    }

    /// Writes down that a first start has begun.
    pub(super) fn begin(&self) -> Result<(), Error> {
        let text = format!("heddled state, format {FORMAT}\n");
        disk::replace(&self.unfinished, text.as_bytes()).map_err(Error::io("write", &self.unfinished))
    }

    /// Writes down that the first start is completed: from here on nothing may be missing.
    pub(super) fn finish(&self) -> Result<(), Error> {
        fs::rename(&self.unfinished, &self.format)
            .and_then(|()| disk::sync_parent(&self.format))
            .map_err(Error::io("write", &self.format))
    }
}

/// One file of the database as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FilePrint {
    name: String,
    length: u64,
    crc: u32,
}

/// What the last completed checkpoint had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// What the database said of itself.
    pub(super) meta: Meta,
    pub(super) sessions: u64,
    pub(super) threads: u64,
    pub(super) repos: u64,
    /// The database's files at rest; empty while more is expected to be written.
    pub(super) files: Vec<FilePrint>,
}

impl Mark {
    pub(super) fn new(meta: &Meta, registry: &Registry, files: Vec<FilePrint>) -> Self {
        let (sessions, threads, repos) = registry.sizes();
        Self { meta: *meta, sessions: sessions as u64, threads: threads as u64, repos: repos as u64, files }
    }

    pub(super) fn read(layout: &Layout) -> Result<Self, Error> {
        match fs::read(&layout.mark) {
            Ok(bytes) => codec::decode(Tree::Meta, MARK_KEY, &bytes).map_err(|why| layout.damaged(&layout.mark, why)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(layout.damaged(&layout.mark, Damage::Missing)),
            Err(error) => Err(Error::io("read", &layout.mark)(error)),
        }
    }

    pub(super) fn write(&self, layout: &Layout) -> Result<(), Error> {
        let bytes = codec::encode(Tree::Meta, MARK_KEY, self)?;
        disk::replace(&layout.mark, &bytes).map_err(Error::io("write", &layout.mark))
    }
}

/// What the database's files are now.
pub(super) fn fingerprint(directory: &Path) -> Result<Vec<FilePrint>, Error> {
    let mut prints = Vec::new();
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let entry = entry.map_err(Error::io("list", directory))?;
        if !entry.file_type().map_err(Error::io("look at", &entry.path()))?.is_file() {
            continue;
        }
        let (length, crc) = digest(&entry.path()).map_err(Error::io("read", &entry.path()))?;
        prints.push(FilePrint { name: entry.file_name().to_string_lossy().into_owned(), length, crc });
    }
    prints.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(prints)
}

fn digest(path: &Path) -> io::Result<(u64, u32)> {
    use std::io::Read;

    let mut file = fs::File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((length, hasher.finalize()));
        }
        length += count as u64;
        hasher.update(&buffer[..count]);
    }
}
