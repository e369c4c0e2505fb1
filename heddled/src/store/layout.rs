//! Where everything lies in the state directory, and the file `format`, which speaks of the rest.
//!
//! It is there when the first start was completed; before that only `format.new` is. Its first line has the number, the
//! second, which older states lack, the version that wrote it: so that a refusal can name it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk;
use super::{Damage, Error};

/// The format of the state that is written here, and the newest one that is read.
pub(super) const FORMAT: u32 = 1;

/// The paths within a state directory.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) state: PathBuf,
    pub(super) format: PathBuf,
    pub(super) unfinished: PathBuf,
    pub(super) journal: PathBuf,
    /// A number that no granted fencing token has reached.
    pub(super) ceiling: PathBuf,
    pub(super) database: PathBuf,
    pub(super) base: PathBuf,
    pub(super) new_base: PathBuf,
    pub(super) old_base: PathBuf,
    /// A state that a restore is making.
    pub(super) restore: PathBuf,
    /// A state that a restore has made, and that is being put in place.
    pub(super) restored: PathBuf,
}

/// How the first line of the file `format` begins.
const FIRST: &str = "heddled state, format ";
/// How the second one does.
const SECOND: &str = "written by heddled ";

impl Layout {
    pub(super) fn new(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
            format: state.join("format"),
            unfinished: state.join("format.new"),
            journal: state.join("journal"),
            ceiling: state.join("fencing"),
            database: state.join("db"),
            base: state.join("base"),
            new_base: state.join("base.new"),
            old_base: state.join("base.old"),
            restore: state.join("restore.new"),
            restored: state.join("restore.ready"),
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
        let mut lines = text.lines();
        let number = lines.next().and_then(|line| line.strip_prefix(FIRST)).and_then(|number| number.parse().ok());
        match number {
            Some(found) if found > FORMAT => {
                let by = lines.next().and_then(|line| line.strip_prefix(SECOND)).map(shown);
                Err(Error::NewerFormat { path: self.format.clone(), found, known: FORMAT, by })
            }
            Some(found) if found > 0 => Ok(Some(found)),
            _ => Err(self.damaged(&self.format, Damage::FormatUnreadable)),
        }
    }

    /// What is to be said of a state that does not say which format it has.
    pub(super) fn missing(&self) -> Result<Error, Error> {
        for path in [&self.journal, &self.base, &self.old_base] {
            if path.try_exists().map_err(Error::io("look at", path))? {
                return Ok(self.damaged(path, Damage::WithoutFormat));
            }
        }
        Ok(Error::Absent { path: self.state.clone() })
    }

    /// Writes down that a first start has begun.
    pub(super) fn begin(&self) -> Result<(), Error> {
        let text = format!("{FIRST}{FORMAT}\n{SECOND}{}\n", env!("CARGO_PKG_VERSION"));
        disk::replace(&self.unfinished, text.as_bytes()).map_err(Error::io("write", &self.unfinished))
    }

    /// Writes down that the first start is completed: from here on nothing may be missing.
    pub(super) fn finish(&self) -> Result<(), Error> {
        fs::rename(&self.unfinished, &self.format)
            .and_then(|()| disk::sync_parent(&self.format))
            .map_err(Error::io("write", &self.format))
    }
}

/// A version that somebody else wrote, fit to be shown.
fn shown(version: &str) -> String {
    version.chars().filter(|character| character.is_ascii_graphic()).take(40).collect()
}
