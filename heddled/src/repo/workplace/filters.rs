//! Which content filter the attributes name for a file, and whether it may run.
//!
//! A filter that may not run is none for Git, which then takes the file as it is. So a capture is refused for it, and a look.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::beneath::Content;
use super::listed::Listed;
use super::snapshot::Snapshot;
use super::work::Work;
use crate::repo::capture::CaptureRefused;
use crate::repo::error::Error;
use crate::repo::files::absent_as_none;

/// The most bytes of a file of attributes that are looked at; Git ignores larger ones.
const ATTRIBUTES: u64 = 100 * 1024 * 1024;

/// The filter drivers of files, by path; fails for the first that may not run or that nobody defines.
pub(in crate::repo) fn drivers(
    work: &Work<'_>,
    snapshot: &Snapshot,
    listed: &Listed,
    files: &[Vec<u8>],
) -> Result<BTreeMap<Vec<u8>, String>, Error> {
    let mut drivers = BTreeMap::new();
    for (path, filter) in named(work, snapshot, listed, files)? {
        if !snapshot.has_filter(&filter) {
            return Err(CaptureRefused::FilterNotAllowed { filter, path: path_of(&path) }.into());
        }
        drivers.insert(path, filter);
    }
    Ok(drivers)
}

/// Fails for the first of the paths that is a file in the worktree and has a filter that may not run or that nobody defines.
pub(in crate::repo) fn refuse(
    work: &Work<'_>,
    snapshot: &Snapshot,
    listed: &Listed,
    paths: &[Vec<u8>],
) -> Result<(), Error> {
    for (path, filter) in named(work, snapshot, listed, paths)? {
        if snapshot.has_filter(&filter) {
            continue;
        }
        let found = work.worktree.content(&path);
        let found = found.map_err(|source| Error::io("look at the worktree", work.worktree.path(), source))?;
        if matches!(found, Some(Content::File(_))) {
            return Err(CaptureRefused::FilterNotAllowed { filter, path: path_of(&path) }.into());
        }
    }
    Ok(())
}

/// The filters that the attributes name for paths.
fn named(
    work: &Work<'_>,
    snapshot: &Snapshot,
    listed: &Listed,
    paths: &[Vec<u8>],
) -> Result<Vec<(Vec<u8>, String)>, Error> {
    let mut named = Vec::new();
    if paths.is_empty() || !are_mentioned(work, snapshot, listed, paths)? {
        return Ok(named);
    }
    let mut command = work.git();
    command.args(["check-attr", "-z", "--stdin", "filter"]);
    let said = work.run_with(command, "check-attr", &paths.join(&0))?;
    let mut fields = said.split(|byte| *byte == 0);
    while let (Some(path), Some(_), Some(value)) = (fields.next(), fields.next(), fields.next()) {
        // An attribute that is set without a value names no driver.
        if !matches!(value, b"unspecified" | b"unset" | b"set") {
            named.push((path.to_vec(), String::from_utf8_lossy(value).into_owned()));
        }
    }
    Ok(named)
}

fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(bytes)).to_owned()
}

/// Whether any file of attributes that may apply speaks of filters: mostly none does, and Git need not be asked.
fn are_mentioned(work: &Work<'_>, snapshot: &Snapshot, listed: &Listed, files: &[Vec<u8>]) -> Result<bool, Error> {
    let failed = |source| Error::io("read the attributes", work.worktree.path(), source);
    let of_the_machine = [Some(work.path("info/attributes")), users(work, snapshot), work.system_attributes()];
    for file in of_the_machine {
        // Whoever cannot tell where the file is asks Git.
        let Some(file) = file else { return Ok(true) };
        // Links are followed here as Git does: these files are not the worktree's.
        if let Some(file) = absent_as_none(std::fs::File::open(file)).map_err(failed)?
            && mentions(file).map_err(failed)?
        {
            return Ok(true);
        }
    }
    for folder in folders(files.iter().map(Vec::as_slice)) {
        // There may be many of them, each as large as Git takes.
        if work.cancelled().load(Ordering::Acquire) {
            return Err(CaptureRefused::Cancelled.into());
        }
        let path = [folder, b".gitattributes"].concat();
        let found = match work.worktree.content(&path).map_err(failed)? {
            Some(Content::File(file)) => mentions(file).map_err(failed)?,
            Some(Content::Link(_)) | None => listed.attributes.contains(&path),
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The folders that paths lie in, and those above, each with its slash; the worktree itself is the empty one.
pub(in crate::repo) fn folders<'a>(paths: impl Iterator<Item = &'a [u8]>) -> BTreeSet<&'a [u8]> {
    let mut folders = BTreeSet::new();
    for path in paths {
        let mut path = path;
        loop {
            let parent = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
            let is_new = folders.insert(&path[..parent]);
            if parent == 0 || !is_new {
                break;
            }
            path = &path[..parent - 1];
        }
    }
    folders
}

fn mentions(file: std::fs::File) -> io::Result<bool> {
    let mut content = Vec::new();
    file.take(ATTRIBUTES).read_to_end(&mut content)?;
    Ok(content.windows(6).any(|word| word == b"filter"))
}

/// The user's file of attributes.
fn users(work: &Work<'_>, snapshot: &Snapshot) -> Option<PathBuf> {
    let environment = work.program.environment();
    match snapshot.get("core.attributesfile") {
        Some(file) if file.starts_with("~/") => environment.home.as_ref().map(|home| home.join(&file[2..])),
        Some(file) => Some(PathBuf::from(file)).filter(|file| file.is_absolute()),
        None => {
            let home = || environment.home.as_ref().map(|home| home.join(".config"));
            let directory = environment.xdg_config_home.clone().or_else(home);
            Some(directory.unwrap_or_else(|| work.path("none")).join("git/attributes"))
        }
    }
}

/// Copies the files of attributes that apply to the paths into a folder, as far as the worktree has them.
pub(in crate::repo) fn copy_attributes(work: &Work<'_>, paths: &[&[u8]], to: &Path) -> io::Result<()> {
    for folder in folders(paths.iter().copied()) {
        let path = [folder, b".gitattributes"].concat();
        if let Some(Content::File(file)) = work.worktree.content(&path)? {
            super::work::write_below(to, &path, &mut file.take(ATTRIBUTES))?;
        }
    }
    Ok(())
}
