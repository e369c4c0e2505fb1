//! A look at a worktree runs nothing that its agent wrote. Each attack is first shown to work on plain Git.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::capture::attacks::Attack;
use super::super::capture::hostile::index;
use super::super::capture::write;
use crate::repo::{CaptureRefused, Cause, Error, Repo as _, StatusRequest};

const STATUS: &[&str] = &["status", "--porcelain"];

impl Attack {
    /// Looks at it, finds as many changes as are said, and shows that nothing ran.
    fn assert_harmless_look(&self, worktree: &Path, count: u64) {
        let (_, git_dir) = self.f.git_dirs(worktree);
        self.forget();
        let status = self.f.repo.status(&request(&git_dir, worktree, &AtomicBool::new(false)));
        self.assert_ran_nothing();
        assert_eq!(status.unwrap().changed_count, count);
    }
}

fn request<'a>(git_dir: &'a Path, worktree: &'a Path, cancelled: &'a AtomicBool) -> StatusRequest<'a> {
    StatusRequest { git_dir, worktree, ignored: true, allowed_filters: &[], cancelled }
}

#[test]
fn a_file_system_monitor_wherever_it_is_configured() {
    let a = Attack::new();
    a.f.git(&a.main, &["config", "core.fsmonitor", a.evil()]);
    a.assert_runs(&a.main, STATUS);
    a.assert_harmless_look(&a.main, 0);
    a.f.git(&a.main, &["config", "--unset", "core.fsmonitor"]);
    write(&a.main, ".git/more", format!("[core]\n\tfsmonitor = {}\n", a.evil()));
    a.f.git(&a.main, &["config", "includeIf.onbranch:main.path", "more"]);
    a.assert_runs(&a.main, STATUS);
    a.assert_harmless_look(&a.main, 0);
    a.f.git(&a.main, &["config", "--unset", "includeIf.onbranch:main.path"]);
    a.f.git(&a.main, &["config", "extensions.worktreeConfig", "true"]);
    a.f.git(&a.main, &["config", "--worktree", "core.fsmonitor", a.evil()]);
    a.assert_runs(&a.main, STATUS);
    a.assert_harmless_look(&a.main, 0);
}

#[test]
fn hooks_of_the_repository() {
    let a = Attack::new();
    let hooks = a.main.join(".git/hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    symlink(a.evil(), hooks.join("post-index-change")).unwrap();
    let look_changed = || {
        let file = std::fs::File::options().write(true).open(a.main.join("file")).unwrap();
        let time = std::fs::metadata(a.main.join("file")).unwrap().modified().unwrap();
        file.set_modified(time - std::time::Duration::from_secs(10)).unwrap();
    };
    look_changed();
    a.assert_runs(&a.main, STATUS);
    look_changed();
    a.assert_harmless_look(&a.main, 0);
}

#[test]
fn content_filters_of_the_repository() {
    let a = Attack::new();
    write(&a.main, "x.big", "content");
    a.f.git(&a.main, &["add", "x.big"]);
    for driver in ["evil", "lfs"] {
        write(&a.main, ".git/info/attributes", format!("*.big filter={driver}\n"));
        for name in ["clean", "process"] {
            let key = format!("filter.{driver}.{name}");
            a.f.git(&a.main, &["config", &key, a.evil()]);
            // Of the same size, it has to be read.
            write(&a.main, "x.big", "CONTENT");
            a.assert_runs(&a.main, STATUS);
            write(&a.main, "x.big", "content");
            let git_dir = a.main.join(".git");
            let refused = a.f.repo.status(&request(&git_dir, &a.main, &AtomicBool::new(false)));
            a.assert_ran_nothing();
            match refused {
                Err(Error::Capture(CaptureRefused::FilterNotAllowed { filter, path })) => {
                    assert_eq!((filter.as_str(), path.as_path()), (driver, Path::new("x.big")));
                }
                other => panic!("{other:?}"),
            }
            a.f.git(&a.main, &["config", "--unset", &key]);
        }
    }
}

#[test]
fn the_configuration_of_submodules_and_repositories_within() {
    let a = Attack::new();
    let inner = a.f.init("inner", &[]);
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner.to_str().unwrap(), "sub"];
    a.f.git(&a.main, &add);
    a.f.git(&a.main, &["commit", "--quiet", "-m", "a submodule"]);
    let sub = a.main.join("sub");
    a.f.git(&sub, &["config", "filter.evil.clean", a.evil()]);
    write(&a.main, ".git/modules/sub/info/attributes", "file filter=evil\n");
    write(&sub, "file", "two");
    a.assert_runs(&a.main, STATUS);
    write(&sub, "file", "six");
    a.assert_harmless_look(&a.main, 0);
    a.f.git(&sub, &["config", "core.fsmonitor", a.evil()]);
    a.assert_runs(&a.main, STATUS);
    a.assert_harmless_look(&a.main, 0);
    // What .gitmodules and the repository say about looking into it changes nothing.
    a.f.git(&a.main, &["config", "-f", ".gitmodules", "submodule.sub.ignore", "none"]);
    a.f.git(&a.main, &["config", "submodule.sub.ignore", "none"]);
    a.f.git(&a.main, &["config", "diff.ignoreSubmodules", "none"]);
    a.assert_harmless_look(&a.main, 1);
    a.f.git(&a.main, &["clone", "--quiet", inner.to_str().unwrap(), "embedded"]);
    a.f.git(&a.main.join("embedded"), &["config", "core.fsmonitor", a.evil()]);
    a.f.git(&a.main, &["add", "embedded"]);
    a.assert_runs(&a.main, STATUS);
    a.assert_harmless_look(&a.main, 2);
}

#[test]
fn a_pointer_to_another_git_directory() {
    let a = Attack::new();
    let side = a.f.root.join("side");
    a.f.git(&a.main, &["worktree", "add", "--quiet", "-b", "side", side.to_str().unwrap()]);
    let (_, common) = a.f.git_dirs(&side);
    let fake = side.join("fake");
    a.f.git(&a.f.root, &["clone", "--quiet", a.main.to_str().unwrap(), fake.to_str().unwrap()]);
    write(&side, ".git", format!("gitdir: {}\n", fake.join(".git").display()));
    a.f.git(&side, &["config", "core.fsmonitor", a.evil()]);
    a.assert_runs(&side, STATUS);
    let go_on = AtomicBool::new(false);
    let refused = a.f.repo.status(&request(&common, &side, &go_on));
    assert!(matches!(&refused, Err(Error::WorktreeNotFound { path }) if *path == side), "{refused:?}");
    // Nor does it help to replace the worktree by a link to where one's own is.
    std::fs::rename(&side, a.f.root.join("away")).unwrap();
    symlink(&a.main, &side).unwrap();
    assert!(matches!(a.f.repo.status(&request(&common, &side, &go_on)), Err(Error::WorktreeNotFound { .. })));
    // Or to say that the main one is elsewhere.
    let secret = a.f.root.join("home/.ssh");
    write(&secret, "id", "secret");
    a.f.git(&a.main, &["config", "core.worktree", secret.to_str().unwrap()]);
    assert!(a.f.git(&a.main, STATUS).contains("?? id"), "Git looks there");
    for worktree in [&secret, &a.main] {
        assert!(matches!(a.f.repo.status(&request(&common, worktree, &go_on)), Err(Error::WorktreeNotFound { .. })));
    }
    a.assert_ran_nothing();
}

#[test]
fn a_file_that_is_never_read_to_its_end_is_given_up() {
    let a = Attack::new();
    let (git_dir, cancelled) = (a.main.join(".git"), AtomicBool::new(false));
    let fifo = |path: &Path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fifo(&a.main.join(".gitignore"));
    let refused = a.f.repo.status(&request(&git_dir, &a.main, &cancelled));
    let named = refused.as_ref().is_err_and(|error| error.to_string().contains(".gitignore"));
    assert!(named, "where Git lists something, it is refused by its name: {refused:?}");
    std::fs::remove_file(a.main.join(".gitignore")).unwrap();
    // Git finds this one on its way.
    std::fs::create_dir(a.main.join("untracked")).unwrap();
    fifo(&a.main.join("untracked/.gitignore"));
    std::thread::scope(|scope| {
        let look = scope.spawn(|| a.f.repo.status(&request(&git_dir, &a.main, &cancelled)));
        // It has begun when its place is laid out.
        let is_laid_out = || {
            let places = std::fs::read_dir(a.f.root.join("captures"));
            places.is_ok_and(|places| places.flatten().any(|place| place.path().join("index").exists()))
        };
        while !is_laid_out() {
            std::thread::yield_now();
        }
        cancelled.store(true, Ordering::Release);
        let refused = look.join().unwrap();
        assert!(matches!(refused, Err(Error::Capture(CaptureRefused::Cancelled))), "{refused:?}");
    });
}

/// Git looks at what lies there, and compares it with what the index says.
#[test]
fn an_index_that_leads_out_of_the_worktree() {
    let a = Attack::new();
    write(&a.f.root, "key", "secret");
    for path in [&b"../key"[..], b"a/../../key", b".git/config", b"a/.GIT/config", b"./file", b"a//b"] {
        let mut hostile = index(2, &[(0, path)], &[]);
        // Looked at: it is not assumed to be unchanged.
        hostile[12 + 60] = 0;
        std::fs::write(a.main.join(".git/index"), &hostile).unwrap();
        if path == b"../key" {
            let told = a.f.git(&a.main, &["diff-files", "--raw"]);
            assert!(told.contains(" M\t../key"), "plain Git looks outside: {told}");
        }
        match a.f.repo.status(&request(&a.main.join(".git"), &a.main, &AtomicBool::new(false))) {
            Err(Error::Unavailable { cause: Cause::Malformed { path: named, .. }, .. }) => {
                assert!(named.as_os_str().as_encoded_bytes().ends_with(path), "{} is named", named.display());
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The library would walk it by recursion, or unfold it, in the daemon itself.
#[test]
fn an_index_without_an_end() {
    let a = Attack::new();
    let long = vec![b'a'; 3000];
    let grows: Vec<(usize, &[u8])> = (0..50).map(|_| (0, &long[..])).collect();
    let trees = b"\0-1 1\n".repeat(2_000_000);
    for hostile in [index(2, &[(0, b"a")], &[(b"TREE", trees)]), index(4, &grows, &[]), b"DIRC".to_vec()] {
        std::fs::write(a.main.join(".git/index"), hostile).unwrap();
        let refused = a.f.repo.status(&request(&a.main.join(".git"), &a.main, &AtomicBool::new(false)));
        assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    }
}

#[test]
fn files_of_rules_without_an_end() {
    let a = Attack::new();
    let fifo = a.f.root.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for key in ["core.excludesFile", "core.attributesFile"] {
        a.f.git(&a.main, &["config", key, fifo.to_str().unwrap()]);
    }
    let (git_dir, cancelled) = (a.main.join(".git"), AtomicBool::new(false));
    let ended = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            let _done = ended.0;
            a.f.repo.status(&request(&git_dir, &a.main, &cancelled))
        });
        let _ended = ended.1.recv_timeout(std::time::Duration::from_secs(60));
        cancelled.store(true, Ordering::Release);
        assert_eq!(look.join().unwrap().unwrap().changed_count, 0, "it ends by itself");
    });
}
