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
    /// It seems to lie in no repository, or cannot be read.
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
    look(path, mount, mounts).unwrap_or_else(|stop| match stop {
        Stop::At(there) => there,
        Stop::Absent | Stop::Unreadable => Whereabouts::Unknown,
    })
}

/// Why a look ends early.
enum Stop {
    /// The way leads to another file system.
    At(Whereabouts),
    /// The path does not exist.
    Absent,
    /// The path cannot be read.
    Unreadable,
}

fn look(path: &Path, mount: &Path, mounts: &Mounts) -> Result<Whereabouts, Stop> {
    let path = resolve(path, mount, mounts)?;
    for directory in path.ancestors().take_while(|directory| mounts.of(directory) == mount) {
        // What is no Git directory is passed over: `discover` goes on upward there, and waits for what it finds above.
        let private = follow(&directory.join(".git"), mount, mounts)?;
        for candidate in private.iter().map(PathBuf::as_path).chain([directory]) {
            if let Some(common) = common_of(candidate, mount, mounts)? {
                return Ok(Whereabouts::GitDir(common.into()));
            }
        }
    }
    Ok(Whereabouts::Unknown)
}

/// The directory that a `.git` is or leads to, as `discover::follow` has it.
fn follow(dot_git: &Path, mount: &Path, mounts: &Mounts) -> Result<Option<PathBuf>, Stop> {
    // Before it is looked at: something may be mounted on it.
    if mounts.of(dot_git) != mount {
        return Err(Stop::At(Whereabouts::Elsewhere(dot_git.to_owned())));
    }
    let file = match resolve(dot_git, mount, mounts) {
        Err(Stop::Absent) => return Ok(None),
        file => file?,
    };
    if is_directory(&file, mount, mounts) {
        return Ok(Some(file));
    }
    let base = dot_git.parent().unwrap_or(dot_git);
    let private = match read_path(&file, b"gitdir: ", base) {
        Ok(Some(private)) => resolve(&private, mount, mounts),
        Ok(None) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
        Err(_) => return Err(Stop::Unreadable),
    };
    readable(private)
}

/// The common Git directory of a directory that Git takes for a Git directory, as `discover` tests it.
fn common_of(directory: &Path, mount: &Path, mounts: &Mounts) -> Result<Option<PathBuf>, Stop> {
    let here = |path: &Path| mounts.of(path) == mount;
    let (head, file) = (directory.join("HEAD"), directory.join("commondir"));
    if here(&head) && head.symlink_metadata().is_err() {
        return Ok(None);
    }
    // What is mounted on a file of a Git directory is asked by the jobs of that repository alone.
    let common = match if here(&file) { read_path(&file, b"", directory) } else { Ok(None) } {
        Ok(Some(common)) => readable(resolve(&common, mount, mounts))?,
        Ok(None) => Some(directory.to_owned()),
        Err(_) => None,
    };
    Ok(common.filter(|common| ["objects", "refs"].iter().all(|name| is_directory(&common.join(name), mount, mounts))))
}

/// Whether a path leads to a directory. One that leads to another file system is taken for one.
fn is_directory(path: &Path, mount: &Path, mounts: &Mounts) -> bool {
    match resolve(path, mount, mounts) {
        Ok(path) => path.symlink_metadata().is_ok_and(|data| data.is_dir()),
        Err(Stop::At(_)) => true,
        Err(Stop::Absent | Stop::Unreadable) => false,
    }
}

/// Turns a path that cannot be resolved on this file system into `None`.
fn readable(path: Result<PathBuf, Stop>) -> Result<Option<PathBuf>, Stop> {
    match path {
        Ok(path) => Ok(Some(path)),
        Err(Stop::Absent | Stop::Unreadable) => Ok(None),
        Err(stop @ Stop::At(_)) => Err(stop),
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        let is_absent = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        if is_absent { Self::Absent } else { Self::Unreadable }
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
                    return Err(Stop::At(Whereabouts::Elsewhere(whole())));
                }
                match std::fs::read_link(&next) {
                    Ok(target) => {
                        links += 1;
                        if links > MOST_LINKS {
                            return Err(Stop::Unreadable);
                        }
                        for part in parts(&target).into_iter().rev() {
                            rest.push_front(part);
                        }
                    }
                    // It is there and no link.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => resolved = next,
                    Err(error) => return Err(error.into()),
                }
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    // A path that ends above is one of another file system.
    if mounts.of(&resolved) == mount { Ok(resolved) } else { Err(Stop::At(Whereabouts::Elsewhere(resolved))) }
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
        make_git_dir(&repo.join(".git"));
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

    fn make_git_dir(path: &Path) {
        for directory in ["objects", "refs"] {
            std::fs::create_dir_all(path.join(directory)).unwrap();
        }
        std::fs::write(path.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    }

    /// Else each of them has a lane of its own, and all of them wait for the one repository above.
    #[test]
    fn a_folder_with_a_git_that_is_none_lies_in_the_repository_that_discover_opens() {
        let place = tempfile::tempdir().unwrap();
        let top = std::fs::canonicalize(place.path()).unwrap();
        make_git_dir(&top.join(".git"));
        make_git_dir(&top.join("partial/.git"));
        std::fs::remove_dir(top.join("partial/.git/refs")).unwrap();
        std::fs::create_dir_all(top.join("empty/.git")).unwrap();
        std::fs::create_dir_all(top.join("lost/.git")).unwrap();
        std::fs::write(top.join("lost/.git/HEAD"), "ref: refs/heads/main\n").unwrap();
        std::fs::write(top.join("lost/.git/commondir"), "../../nowhere\n").unwrap();
        std::fs::create_dir_all(top.join("head-alone")).unwrap();
        std::fs::write(top.join("head-alone/HEAD"), "ref: refs/heads/main\n").unwrap();
        for (folder, text) in
            [("junk", "junk\n"), ("blank", ""), ("absent", "gitdir: nowhere\n"), ("loop", "gitdir: ..\n")]
        {
            std::fs::create_dir_all(top.join(folder)).unwrap();
            std::fs::write(top.join(folder).join(".git"), text).unwrap();
        }
        for (folder, target) in [("dangling", "nowhere"), ("upward", "../src")] {
            std::fs::create_dir_all(top.join(folder)).unwrap();
            std::os::unix::fs::symlink(target, top.join(folder).join(".git")).unwrap();
        }
        std::fs::create_dir_all(top.join("src")).unwrap();
        // These are Git directories.
        make_git_dir(&top.join("bare"));
        make_git_dir(&top.join("inner/.git"));
        make_git_dir(&top.join("linked-objects/.git"));
        std::fs::rename(top.join("linked-objects/.git/objects"), top.join("objects-there")).unwrap();
        std::os::unix::fs::symlink("../../objects-there", top.join("linked-objects/.git/objects")).unwrap();
        std::fs::create_dir_all(top.join(".git/worktrees/w")).unwrap();
        std::fs::create_dir_all(top.join("worktree")).unwrap();
        std::fs::write(top.join(".git/worktrees/w/HEAD"), "ref: refs/heads/w\n").unwrap();
        std::fs::write(top.join(".git/worktrees/w/commondir"), "../..\n").unwrap();
        std::fs::write(top.join("worktree/.git"), "gitdir: ../.git/worktrees/w\n").unwrap();
        let mounts = Mounts(vec!["/".into()]);
        for folder in std::fs::read_dir(&top).unwrap() {
            let folder = folder.unwrap().path();
            let opened = crate::repo::discover::discover(&folder).unwrap();
            assert_eq!(find(&folder, Path::new("/"), &mounts), Whereabouts::GitDir(opened.common.into()), "{folder:?}");
        }
    }

    #[test]
    fn what_is_mounted_in_a_git_directory_is_not_looked_at() {
        let place = tempfile::tempdir().unwrap();
        let top = std::fs::canonicalize(place.path()).unwrap();
        let git_dir = top.join(".git");
        for name in ["HEAD", "commondir", "objects", "refs"] {
            make_git_dir(&git_dir);
            let mounted = git_dir.join(name);
            // It is not there: a look at it would find that out.
            std::fs::remove_dir(&mounted).or_else(|_| std::fs::remove_file(&mounted)).ok();
            let mounts = Mounts(vec!["/".into(), mounted]);
            assert_eq!(find(&top, Path::new("/"), &mounts), Whereabouts::GitDir(git_dir.clone().into()), "{name}");
        }
    }
}
