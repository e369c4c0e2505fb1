//! Which repository a path leads to, found step by step on one mounted file system at a time.
//!
//! A file system that hangs answers no question about what is on it. So before a path is looked at, the list of mounts says on
//! which file system it is, and no step touches another one: where the way leads there, by a link, a `.git` file or a
//! `commondir`, the rest is left to whoever may ask that file system. Nothing here is decided by the answer but who waits
//! behind whom: what a repository is, and whether it is one, `discover` says.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::files::read_path;

/// The most symbolic links that are followed in one path, as Linux has it.
const MOST_LINKS: usize = 40;

/// What was found out about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// It lies in the repository with this common Git directory.
    GitDir(Arc<Path>),
    /// It leads to this path, on another file system.
    Elsewhere(PathBuf),
    /// It seems to lie in no repository.
    Unknown,
}

/// The mount points of this process's namespace.
#[derive(Debug)]
pub(super) struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// Reads the list. Without one (on other systems than Linux) all is taken for one file system.
    pub(super) fn read() -> Self {
        let list = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        let mount_point = |line: &[u8]| {
            let field = line.split(|byte| *byte == b' ').nth(4)?;
            Some(PathBuf::from(OsString::from_vec(unescape(field))))
        };
        Self(list.split(|byte| *byte == b'\n').filter_map(mount_point).collect())
    }

    /// The mount point that a path lies below, by its text alone. The path has no `..` in it.
    pub(super) fn of<'a>(&'a self, path: &Path) -> &'a Path {
        let below = self.0.iter().filter(|mount| path.starts_with(mount));
        below.max_by_key(|mount| mount.as_os_str().len()).map_or(Path::new("/"), PathBuf::as_path)
    }
}

/// Undoes what the kernel does to spaces and the like: `\040`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *byte == b'\\') {
            Some(escaped) => {
                text.push(escaped);
                rest = &after[3..];
            }
            None => {
                text.push(*byte);
                rest = after;
            }
        }
    }
    text
}

/// Finds the repository that a path on the file system at `mount` leads to, without touching another one.
pub(super) fn find(path: &Path, mount: &Path, mounts: &Mounts) -> Whereabouts {
    // What cannot be read is left to `discover`, which says why.
    look(path, mount, mounts).unwrap_or_else(|stop| stop.unwrap_or(Whereabouts::Unknown))
}

/// Why a look ends early: at something to answer, or at something that cannot be read.
type Stop = Option<Whereabouts>;

fn look(path: &Path, mount: &Path, mounts: &Mounts) -> Result<Whereabouts, Stop> {
    let here = |path: &Path| mounts.of(path) == mount;
    let path = resolve(path, mount, mounts)?;
    for directory in path.ancestors().take_while(|directory| here(directory)) {
        let dot_git = directory.join(".git");
        let private = match kind(&dot_git)? {
            Some(_) if !here(&dot_git) => return Err(Some(Whereabouts::Elsewhere(dot_git))),
            Some(kind) if kind.is_file() => {
                read_path(&dot_git, b"gitdir: ", directory).map_err(|_| None)?.ok_or(None)?
            }
            Some(_) => dot_git,
            // It may be a Git directory itself.
            None if here(&directory.join("HEAD")) && kind(&directory.join("HEAD"))?.is_some() => directory.to_owned(),
            None => continue,
        };
        let private = resolve(&private, mount, mounts)?;
        let common = match read_path(&private.join("commondir"), b"", &private).map_err(|_| None)? {
            Some(common) => resolve(&common, mount, mounts)?,
            None => private,
        };
        return Ok(Whereabouts::GitDir(common.into()));
    }
    Ok(Whereabouts::Unknown)
}

fn kind(path: &Path) -> Result<Option<std::fs::FileType>, Stop> {
    match std::fs::symlink_metadata(path) {
        Ok(data) => Ok(Some(data.file_type())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(_) => Err(None),
    }
}

/// A path with its symbolic links and `..` resolved, as long as it stays on one file system.
fn resolve(path: &Path, mount: &Path, mounts: &Mounts) -> Result<PathBuf, Stop> {
    let parts =
        |path: &Path| -> VecDeque<OsString> { path.components().map(|part| part.as_os_str().to_owned()).collect() };
    let (mut resolved, mut rest, mut links) = (PathBuf::from("/"), parts(path), 0);
    while let Some(part) = rest.pop_front() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => resolved = PathBuf::from("/"),
            Some(Component::ParentDir) => drop(resolved.pop()),
            Some(Component::Normal(name)) => {
                let next = resolved.join(name);
                let whole = || rest.iter().fold(next.clone(), |path, part| path.join(part));
                let there = mounts.of(&next);
                // Above the mount point of its file system a path has parts on others: that they answer, its mount has shown.
                let is_above = mount.starts_with(&next);
                if is_above {
                    resolved = next;
                    continue;
                }
                if there != mount {
                    return Err(Some(Whereabouts::Elsewhere(whole())));
                }
                match std::fs::read_link(&next) {
                    Ok(target) => {
                        links += 1;
                        if links > MOST_LINKS {
                            return Err(None);
                        }
                        for part in parts(&target).into_iter().rev() {
                            rest.push_front(part);
                        }
                    }
                    // It is there and no link.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => resolved = next,
                    Err(_) => return Err(None),
                }
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    // A path that ends above is one of another file system.
    if mounts.of(&resolved) == mount { Ok(resolved) } else { Err(Some(Whereabouts::Elsewhere(resolved))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_a_path_is_the_nearest_one_above_it() {
        let mounts = Mounts(["/", "/mnt", "/mnt/a b"].map(PathBuf::from).into());
        for (path, mount) in [("/home/x", "/"), ("/mnt/c", "/mnt"), ("/mnt/a b/c", "/mnt/a b"), ("/mntx", "/")] {
            assert_eq!(mounts.of(Path::new(path)), Path::new(mount), "{path}");
        }
        assert_eq!(unescape(b"/mnt/a\\040b\\134"), b"/mnt/a b\\");
    }

    #[test]
    fn a_way_that_leads_to_another_file_system_is_followed_no_further() {
        let place = tempfile::tempdir().unwrap();
        let top = std::fs::canonicalize(place.path()).unwrap();
        let (away, repo) = (top.join("away"), top.join("repo"));
        let mounts = Mounts(vec!["/".into(), away.clone()]);
        std::fs::create_dir_all(repo.join(".git")).unwrap();
        std::fs::create_dir_all(repo.join("src")).unwrap();
        std::fs::create_dir_all(top.join("linked")).unwrap();
        std::fs::write(top.join("linked/.git"), format!("gitdir: {}/r/.git/worktrees/x\n", away.display())).unwrap();
        std::os::unix::fs::symlink(&away, top.join("link")).unwrap();
        std::os::unix::fs::symlink("repo/src", top.join("near")).unwrap();
        let find = |path: PathBuf| find(&path, Path::new("/"), &mounts);
        let found = || Whereabouts::GitDir(repo.join(".git").into());
        assert_eq!(find(repo.join("src")), found());
        assert_eq!(find(top.join("near")), found(), "through a link");
        assert_eq!(find(repo.join("src/../src")), found(), "and through what leads up");
        assert_eq!(find(top.join("link/r/src")), Whereabouts::Elsewhere(away.join("r/src")));
        assert_eq!(find(top.join("linked")), Whereabouts::Elsewhere(away.join("r/.git/worktrees/x")));
        assert_eq!(find(top.join("nothing")), Whereabouts::Unknown);
    }
}
