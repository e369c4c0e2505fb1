//! What can go wrong with the store. Nothing here is repaired by itself; each text says what was left as it was.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Tree;

/// Whether a batch that was not acknowledged may be there when the store is opened again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It may be, or not.
    Unknown,
    /// It is not: nothing of it was written.
    NotApplied,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused an operation on a file.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The database refused an operation.
    #[error("cannot {operation} the checkpoint in {}", path.display())]
    Checkpoint {
        /// What was tried.
        operation: &'static str,
        /// The database.
        path: PathBuf,
        /// What it says.
        source: sled::Error,
    },
    /// A later version of the daemon has written this state.
    #[error(
        "{} is in format {found}, written by heddled {}, and this is heddled {}, which reads up to format {known}. Nothing \
         was changed. Start the heddled that wrote it; or, to go back to what an older one backed up, run: heddlectl daemon \
         restore FILE",
        path.display(),
        by.as_deref().unwrap_or("of a later version"),
        env!("CARGO_PKG_VERSION")
    )]
    NewerFormat {
        /// The file that says so.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format known here.
        known: u32,
        /// The version that wrote it, where it said so.
        by: Option<String>,
    },
    /// There is no state.
    #[error("there is no state in {}: no daemon was ever started with that state directory", path.display())]
    Absent {
        /// The state directory.
        path: PathBuf,
    },
    /// A restore was cut off after the moment from which on it counts.
    #[error("a restore of {} was cut off; starting the daemon completes it: heddlectl daemon start", path.display())]
    Unfinished {
        /// The state directory.
        path: PathBuf,
    },
    /// The state changed each time while it was copied.
    #[error("the state in {} changes faster than it can be copied; try again when fewer calls are made", path.display())]
    Restless {
        /// The state directory.
        path: PathBuf,
    },
    /// A backup file is not what was written.
    #[error("the backup {} cannot be used: {why}", path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: BackupDamage,
    },
    /// The state is not what was acknowledged.
    #[error(
        "the state in {state} is damaged: {}: {why}. Nothing was changed. Restore a backup: heddlectl daemon restore FILE; \
         or, to start anew and forget who holds what, run: mv {state} {state}.damaged",
        path.display(),
        state = state.display()
    )]
    Damaged {
        /// The state directory.
        state: PathBuf,
        /// The damaged part of it.
        path: PathBuf,
        /// What is wrong.
        why: Box<Damage>,
    },
    /// Another process has the state open.
    #[error("{} is in use by another process: only one heddled can use a state directory", path.display())]
    Locked {
        /// The file that it has locked.
        path: PathBuf,
    },
    /// The store has failed, and stays so until it is opened again.
    #[error("the store has failed and takes no changes until the daemon is started again")]
    Failed {
        /// Whether this batch may be there then.
        outcome: Outcome,
        /// What made it fail.
        source: Arc<Self>,
    },
    /// The files of an open store are not where they were.
    #[error(
        "the state directory {} was removed, moved or replaced while the daemon used it: {} is not the file that it has open. \
         Nothing is written there any more. Put the directory back where it was, if it was moved, and start the daemon again: \
         heddlectl daemon stop, then heddlectl daemon start",
        state.display(),
        path.display()
    )]
    Gone {
        /// The state directory.
        state: PathBuf,
        /// The file that is not there, or is another one.
        path: PathBuf,
    },
    /// The database panicked, as it may when the disk is full.
    #[error("the database stopped in the middle of its work, as it may when the disk is full or broken ({why})")]
    Panicked {
        /// What it said.
        why: String,
    },
    /// The batch, or one entry of it, is larger than the store takes.
    #[error("a change of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most.
        limit: usize,
    },
    /// A value has no stored form.
    #[error("a value cannot be encoded")]
    Encode(#[from] rmp_serde::encode::Error),
    /// The operations are not those that the entries stand for.
    #[error("the operations given are not those of the entries given")]
    Operations,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random(#[from] getrandom::Error),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// The text with those of all causes.
    #[must_use]
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, path: path.to_owned(), source }
    }

    pub(super) fn checkpoint(operation: &'static str, path: &Path) -> impl FnOnce(sled::Error) -> Self {
        move |source| Self::Checkpoint { operation, path: path.to_owned(), source }
    }
}

/// What is wrong with a state or a record of it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say what the fields are")]
pub enum Damage {
    #[error("it is missing")]
    Missing,
    #[error("its files are not what was written")]
    Altered,
    #[error("it is there, but the file `format` is not")]
    WithoutFormat,
    #[error("it does not say which format the state has")]
    FormatUnreadable,
    #[error("it has {found} bytes instead of {expected}: it was cut short, or not copied to its end")]
    Length { found: u64, expected: u64 },
    #[error("{found} journal segments are there instead of {expected}")]
    SegmentsMissing { found: usize, expected: usize },
    #[error("it has no readable header")]
    Header,
    #[error("it is a journal segment of the unknown format {}", char::from(*.0))]
    HeaderVersion(u8),
    #[error("it belongs to another state")]
    Foreign,
    #[error("entry batch {expected} is lost, and {found} is there")]
    Lost { expected: u64, found: u64 },
    #[error("entry batch {sequence}, the newest one, is not what was written, and no power cut leaves it like this")]
    Newest { sequence: u64 },
    #[error("entry batch {sequence} cannot be read")]
    Batch { sequence: u64, source: rmp_serde::decode::Error },
    #[error("entry batch {sequence} is in the unknown format {version}")]
    BatchVersion { sequence: u64, version: u8 },
    #[error("it has what batch {found} led to, but {recorded} was recorded")]
    Behind { found: u64, recorded: u64 },
    #[error("it has {found} records of {tree:?}, but {recorded} were recorded")]
    Fewer { tree: Tree, found: u64, recorded: u64 },
    #[error("a record is too short")]
    Short,
    #[error("a record's checksum is wrong")]
    Checksum,
    #[error("a record is in the unknown format {0}")]
    Version(u8),
    #[error("a record cannot be decoded")]
    Decode(#[source] rmp_serde::decode::Error),
    #[error("a record is not where its key says")]
    Misplaced,
    #[error("the database cannot be opened")]
    Database(#[source] sled::Error),
    #[error("the database cannot be opened: it panicked")]
    Panicked,
    #[error("a block of operations cannot be unpacked")]
    Packed,
}

/// What is wrong with a backup file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say what the fields are")]
pub enum BackupDamage {
    #[error("it is not a backup of heddled")]
    Foreign,
    #[error("it is in format {found}, and this heddled reads up to format {known}: use the heddled that made it")]
    Newer { found: u32, known: u32 },
    #[error("it is cut off")]
    CutOff,
    #[error("its checksum is wrong: it is not what was written")]
    Altered,
    #[error("it has something that no backup has")]
    Unknown,
}
