//! The reflog entry of a moved ref, in the cases in which Git writes one. It is written before the ref is moved, as Git
//! does it, and made durable after.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use proto_schema::ObjectId;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::Signature;
use super::error::Error;
use super::files::{begin_sync, folder_beneath, remove_empty_tree, sync};
use super::opened::Opened;
use super::settings::LogUpdates;

const OPERATION: &str = "write the reflog";

/// An entry that was written and is not durable yet.
#[must_use]
pub(super) struct Entry {
    file: File,
    path: PathBuf,
}

impl Entry {
    /// Makes the entry durable, and the log's own in its directory: another program may have made it and synced nothing.
    pub(super) fn sync(&self, repository: &Opened) -> Result<(), Error> {
        let synced = sync(&self.file)
            .and_then(|()| self.file.metadata())
            .and_then(|data| repository.synced.sync_parents_once(&self.path, &data, &repository.git_dir));
        synced.map_err(|source| Error::io(OPERATION, &self.path, source))
    }
}

/// Appends the entry of a change, where there is to be one; `None` as the old value for a ref that is created.
pub(super) fn append(
    repository: &Opened,
    name: &str,
    old: Option<ObjectId>,
    new: ObjectId,
    signature: &Signature,
    message: &str,
) -> Result<Option<Entry>, Error> {
    append_to(repository, &repository.git_dir, name, (old, new), signature, message)
}

/// Appends an entry to a log of a Git directory: a worktree has a HEAD of its own.
pub(super) fn append_to(
    repository: &Opened,
    git_dir: &Path,
    name: &str,
    (old, new): (Option<ObjectId>, ObjectId),
    signature: &Signature,
    message: &str,
) -> Result<Option<Entry>, Error> {
    let way = Path::new("logs").join(name);
    let path = git_dir.join(&way);
    let failed = |source| Error::io(OPERATION, &path, source);
    // Unset means: in every repository but a bare one. A log that exists is continued in any case.
    let unset = if repository.format.bare { LogUpdates::Never } else { LogUpdates::Always };
    let create = repository.format.log_updates.or(signature.log_updates).unwrap_or(unset) == LogUpdates::Always;
    let Some(mut file) = open(git_dir, &way, create).map_err(failed)? else { return Ok(None) };
    let zeros = "0".repeat(new.as_bytes().len() * 2);
    let old = old.map_or(zeros, |old| old.to_string());
    let name = clean(repository.format.name.as_deref().or(signature.name.as_deref()), "heddled");
    let email = clean(repository.format.email.as_deref().or(signature.email.as_deref()), "heddled@localhost");
    // Git ends an entry at the line's end and keeps white space within it as single spaces.
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = format!("{old} {new} {name} <{email}> {} +0000\t{message}\n", signature.seconds);
    // One write: with O_APPEND, entries of several processes stay whole.
    file.write_all(line.as_bytes()).map_err(failed)?;
    begin_sync(&file);
    Ok(Some(Entry { file, path }))
}

/// Opens the log for appending; `None` when there is none and none is to be made.
fn open(git_dir: &Path, way: &Path, create: bool) -> io::Result<Option<File>> {
    let (Some(parent), Some(name)) = (way.parent(), way.file_name()) else { return Ok(None) };
    let Some(folder) = folder_beneath(git_dir, parent, create)? else { return Ok(None) };
    let append = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(&folder, name, append, Mode::empty()) {
        Err(Errno::ISDIR | Errno::NOENT) if !create => return Ok(None),
        // A directory without a log in it stays behind where branches below this name were.
        Err(Errno::ISDIR) => remove_empty_tree(&git_dir.join(way))?,
        Err(Errno::NOENT) => {}
        other => return Ok(Some(other?.into())),
    }
    Ok(Some(openat(&folder, name, append | OFlags::CREATE, Mode::from_raw_mode(0o666))?.into()))
}

/// A name or address without what would end its field; the other when nothing is left.
fn clean(text: Option<&str>, other: &str) -> String {
    let allowed = |character: &char| !character.is_control() && !matches!(character, '<' | '>');
    let text: String = text.unwrap_or_default().chars().filter(allowed).collect();
    let text = text.trim_matches([' ', '.', ',', ':', ';', '"', '\\', '\'']);
    if text.is_empty() { other.to_owned() } else { text.to_owned() }
}
