//! Removing worktrees: all that a checkout would not bring back stays, whenever it comes in. Git is the oracle for what is
//! removed, and not for what stays: it takes ignored files along.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::capture::hostile::index;
use super::fixture::{Fixture, thread};
use crate::repo::inventory::{Finding, Folder, Inventory, Stop};
use crate::repo::{
    Error, GitOperation, Kept, LinkedWorktree, Removal, RemoveRequest, Repo as _, StatusRequest, WorktreeStatus,
};

const OWN: &str = "reserved by agent-x";

/// A repository with a worktree of the branch `side`, in which there is a bit of everything.
struct Side {
    f: Fixture,
    main: PathBuf,
    path: PathBuf,
}

/// What somebody does in the worktree.
type Make = fn(&Side);

/// And why it stays then.
type Case = (Make, Kept);

fn write(worktree: &Path, name: &str, content: &str) {
    let path = worktree.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

impl Side {
    fn new() -> Self {
        let f = Fixture::new();
        let main = f.init("main", &[]);
        write(&main, ".gitignore", "*.log\ntarget/\n");
        write(&main, "a/b/deep", "deep");
        write(&main, "a/empty", "");
        write(&main, "run", "#!/bin/sh\n");
        std::fs::set_permissions(main.join("run"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        write(&f.root, "outside/deep", "precious");
        symlink(f.root.join("outside"), main.join("link")).unwrap();
        symlink("nowhere", main.join("a/broken")).unwrap();
        f.git(&main, &["add", "-A"]);
        f.git(&main, &["commit", "--quiet", "-m", "more"]);
        let path = f.root.join("main.worktrees/side");
        f.git(&main, &["worktree", "add", "--quiet", "-b", "side", path.to_str().unwrap()]);
        Self { f, main, path }
    }

    fn git(&self, arguments: &[&str]) -> String {
        self.f.git(&self.path, arguments)
    }

    fn private(&self) -> PathBuf {
        self.main.join(".git/worktrees/side")
    }

    fn status(&self) -> Result<WorktreeStatus, Error> {
        self.f.repo.status(&StatusRequest {
            git_dir: &self.main.join(".git"),
            worktree: &self.path,
            ignored: true,
            allowed_filters: &[],
            cancelled: &AtomicBool::new(false),
        })
    }

    /// Removes it; what happens `after` the look comes in then.
    fn remove_with(&self, dry_run: bool, after: &dyn Fn()) -> Result<Removal, Error> {
        let git_dir = self.main.join(".git");
        let request = RemoveRequest {
            git_dir: &git_dir,
            worktree: &self.path,
            thread: &thread("side"),
            tip: self.f.branch(&self.main, "side").unwrap(),
            own_lock: Some(OWN),
            dry_run,
            allowed_filters: &[],
            cancelled: &AtomicBool::new(false),
        };
        self.f.repo.remove_looking(&request, &|| {
            let status = self.status();
            after();
            status
        })
    }

    fn remove(&self) -> Removal {
        self.remove_with(false, &|| ()).unwrap()
    }

    /// Every file, with what tells one version from another.
    fn files(&self) -> BTreeMap<PathBuf, (u64, u64, i64)> {
        fn collect(folder: &Path, found: &mut BTreeMap<PathBuf, (u64, u64, i64)>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let data = std::fs::symlink_metadata(&path).unwrap();
                if data.is_dir() {
                    collect(&path, found);
                }
                found.insert(path, (data.ino(), data.len(), if data.is_dir() { 0 } else { data.ctime_nsec() }));
            }
        }
        let mut found = BTreeMap::new();
        collect(&self.path, &mut found);
        found
    }

    /// Asserts that it stays as it is, said and done.
    #[track_caller]
    fn assert_kept(&self, expected: &Kept) {
        let before = self.files();
        for dry_run in [true, false] {
            let removal = self.remove_with(dry_run, &|| ()).unwrap();
            assert_eq!(removal, Removal::Kept(expected.clone()), "dry run: {dry_run}");
        }
        self.assert_untouched(&before);
    }

    #[track_caller]
    fn assert_untouched(&self, before: &BTreeMap<PathBuf, (u64, u64, i64)>) {
        assert_eq!(&self.files(), before, "nothing was removed or written");
        assert!(!self.private().join("heddle-index").exists(), "the index is not locked any more");
        self.f.git(&self.main, &["worktree", "list"]);
    }
}

fn found(finding: Finding, path: &str) -> Kept {
    Kept::Found { finding, path: path.into() }
}

fn changed(path: &str) -> Kept {
    Kept::Changed { path: path.into(), count: 1 }
}

#[test]
fn what_is_removed_is_what_git_removes() {
    let (ours, gits) = (Side::new(), Side::new());
    for side in [&ours, &gits] {
        std::fs::create_dir_all(side.path.join("no files/in here")).unwrap();
        let other = side.f.root.join("other");
        side.f.git(&side.main, &["worktree", "add", "--quiet", "-b", "other", other.to_str().unwrap()]);
    }
    ours.git(&["worktree", "lock", "--reason", OWN, "."]);
    assert_eq!(ours.remove_with(true, &|| ()).unwrap(), Removal::Removed);
    assert!(ours.path.join("a/b/deep").exists(), "a dry run removes nothing");
    assert_eq!(ours.remove(), Removal::Removed);
    gits.f.git(&gits.main, &["worktree", "remove", gits.path.to_str().unwrap()]);
    let seen = |side: &Side| {
        let mut listed: Vec<PathBuf> = Vec::new();
        for folder in [side.f.root.clone(), side.f.root.join("main.worktrees"), side.main.join(".git/worktrees")] {
            listed.extend(std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
        }
        // The daemon's own.
        listed.retain(|path| !path.ends_with("captures"));
        listed.sort();
        let shown = |path: &PathBuf| path.strip_prefix(&side.f.root).unwrap().to_owned();
        (listed.iter().map(shown).collect::<Vec<_>>(), side.f.git(&side.main, &["branch", "--list"]))
    };
    assert_eq!(seen(&ours), seen(&gits));
    assert_eq!(
        std::fs::read_to_string(ours.f.root.join("outside/deep")).unwrap(),
        "precious",
        "links are not followed"
    );
    ours.f.assert_sound(&ours.main);
    // The last one takes the folder of the records along, as with Git.
    ours.f.git(&ours.main, &["worktree", "remove", ours.f.root.join("other").to_str().unwrap()]);
    ours.f.git(&ours.main, &["worktree", "add", "--quiet", ours.path.to_str().unwrap(), "side"]);
    assert_eq!(ours.remove(), Removal::Removed);
    assert!(!ours.main.join(".git/worktrees").exists());
}

#[test]
fn only_linked_worktrees_that_are_on_a_branch_are_listed() {
    let s = Side::new();
    let add = |name: &str, arguments: &[&str]| {
        let path = s.f.root.join(name);
        s.f.git(&s.main, &[&["worktree", "add", "--quiet"], arguments, &[path.to_str().unwrap()]].concat());
        path
    };
    add("detached", &["--detach"]);
    let bisected = add("bisected", &["-b", "bisected"]);
    s.f.git(&bisected, &["bisect", "start"]);
    s.f.git(&bisected, &["checkout", "--quiet", "--detach"]);
    s.git(&["worktree", "lock", "--reason", "mine", "."]);
    let linked = |path: &Path, name: &str, locked: Option<&str>| {
        let (path, thread) = (path.to_owned(), thread(name));
        LinkedWorktree { path, thread, locked: locked.map(str::to_owned) }
    };
    let expected = vec![linked(&bisected, "bisected", None), linked(&s.path, "side", Some("mine"))];
    assert_eq!(s.f.repo.linked_worktrees(&s.main.join(".git")).unwrap(), expected);
}

#[test]
fn work_that_git_would_see_keeps_it() {
    let cases: [Case; 6] = [
        (|s| write(&s.path, "a/new", "new"), changed("a/new")),
        (|s| write(&s.path, "a/empty", "filled"), changed("a/empty")),
        (|s| std::fs::remove_file(s.path.join("a/empty")).unwrap(), changed("a/empty")),
        (
            |s| {
                write(&s.path, "file", "staged");
                s.git(&["add", "file"]);
                write(&s.path, "file", "one");
            },
            changed("file"),
        ),
        (
            |s| {
                s.f.init("main.worktrees/side/sub", &[]);
            },
            changed("sub/"),
        ),
        (|s| write(&s.path, "target/x", ""), Kept::Ignored { count: 1 }),
    ];
    for (make, kept) in cases {
        let s = Side::new();
        make(&s);
        s.assert_kept(&kept);
    }
}

#[test]
fn work_that_git_would_take_along_keeps_it() {
    let cases: [Case; 6] = [
        (|s| write(&s.path, "a/notes.log", "notes"), Kept::Ignored { count: 1 }),
        (
            |s| {
                s.git(&["update-index", "--assume-unchanged", "file"]);
                write(&s.path, "file", "my own");
            },
            found(Finding::Unwatched, "file"),
        ),
        (
            |s| {
                s.git(&["update-index", "--skip-worktree", "file"]);
                write(&s.path, "file", "my own");
                s.git(&["config", "core.sparseCheckout", "true"]);
                s.git(&["config", "sparse.expectFilesOutsideOfPatterns", "true"]);
                write(&s.private(), "info/sparse-checkout", "/a\n");
            },
            found(Finding::Unwatched, "file"),
        ),
        (
            |s| {
                s.f.git(&s.path, &["init", "--quiet", "ignored.log"]);
                // An empty repository is an ignored folder; its files count all the same.
            },
            Kept::Ignored { count: 1 },
        ),
        (
            |s| {
                let fifo = s.path.join("a/fifo");
                nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
            },
            found(Finding::Special, "a/fifo"),
        ),
        (|s| s.git(&["update-ref", "refs/worktree/mine", "HEAD"]).clear(), Kept::Refs),
    ];
    for (make, kept) in cases {
        let s = Side::new();
        make(&s);
        s.assert_kept(&kept);
        let removed = s.f.run(&s.main, &["worktree", "remove", s.path.to_str().unwrap()]).status.success();
        assert!(removed && !s.path.exists(), "plain Git would remove it: {kept:?}");
    }
}

#[test]
fn files_where_a_submodule_is_not_checked_out_keep_it() {
    let s = Side::new();
    let library = s.f.init("library", &[]);
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", library.to_str().unwrap(), "lib"];
    s.git(&add);
    s.git(&["commit", "--quiet", "-m", "lib"]);
    assert!(matches!(s.remove(), Removal::Kept(Kept::Found { finding: Finding::Repository, .. })));
    let again = s.f.root.join("again");
    s.f.git(&s.main, &["worktree", "add", "--quiet", "-b", "two", again.to_str().unwrap(), "side"]);
    let other = Side { path: again, ..s };
    write(&other.path, "lib/notes", "notes");
    assert_eq!(other.git(&["status", "--porcelain", "--ignored"]), "", "Git does not see it");
    let request = RemoveRequest {
        git_dir: &other.main.join(".git"),
        worktree: &other.path,
        thread: &thread("two"),
        tip: other.f.branch(&other.main, "two").unwrap(),
        own_lock: None,
        dry_run: false,
        allowed_filters: &[],
        cancelled: &AtomicBool::new(false),
    };
    let removal = other.f.repo.remove_worktree(&request).unwrap();
    assert_eq!(removal, Removal::Kept(found(Finding::Unlisted, "lib/notes")));
    std::fs::remove_file(other.path.join("lib/notes")).unwrap();
    let removal = other.f.repo.remove_worktree(&request).unwrap();
    assert_eq!(removal, Removal::Removed, "an empty folder is all that there is of it");
}

#[test]
fn a_worktree_that_somebody_locked_or_is_at_work_in_stays() {
    let s = Side::new();
    s.git(&["worktree", "lock", "--reason", "on a stick", "."]);
    s.assert_kept(&Kept::Locked { reason: "on a stick".to_owned() });
    s.git(&["worktree", "unlock", "."]);

    let moved = s.f.id(&s.path, "HEAD~1");
    let removal =
        s.remove_with(false, &|| drop(s.f.git(&s.main, &["update-ref", "refs/heads/side", &moved.to_string()])));
    assert_eq!(removal.unwrap(), Removal::Kept(Kept::Moved), "the branch was moved after the look");
    s.git(&["reset", "--quiet", "--hard", "main"]);

    let elsewhere = s.f.root.join("moved away");
    std::fs::rename(&s.path, &elsewhere).unwrap();
    assert_eq!(s.remove(), Removal::Kept(Kept::Gone));
    std::fs::rename(&elsewhere, &s.path).unwrap();

    // A branch that begins at the same commit needs no lock of the index.
    let removal = s.remove_with(false, &|| drop(s.git(&["switch", "--quiet", "-c", "else"])));
    assert_eq!(removal.unwrap(), Removal::Kept(Kept::Moved), "it is on another branch since the look");
    s.git(&["switch", "--quiet", "side"]);
    // What needs it waits for nobody, and fails.
    let during = || assert!(!s.f.run(&s.path, &["rm", "--cached", "file"]).status.success());
    assert_eq!(s.remove_with(false, &during).unwrap(), Removal::Removed);
}

#[test]
fn an_operation_in_progress_keeps_it() {
    for (operation, command) in [(GitOperation::Merge, "merge"), (GitOperation::Rebase, "rebase")] {
        let s = Side::new();
        s.f.commit(&s.path, "side");
        s.f.commit(&s.main, "main");
        assert!(!s.f.run(&s.path, &[command, "main"]).status.success(), "it stops at the conflict");
        let request = RemoveRequest {
            git_dir: &s.main.join(".git"),
            worktree: &s.path,
            thread: &thread("side"),
            tip: s.f.branch(&s.main, "side").unwrap(),
            own_lock: None,
            dry_run: false,
            allowed_filters: &[],
            cancelled: &AtomicBool::new(false),
        };
        let before = s.files();
        let removal = s.f.repo.remove_worktree(&request).unwrap();
        assert_eq!(removal, Removal::Kept(Kept::Operation(operation)));
        s.assert_untouched(&before);
    }
}

#[test]
fn what_comes_in_after_the_look_stays_and_so_does_everything_else() {
    let cases: [(Make, &str); 6] = [
        (|s| write(&s.path, "a/late.log", "ignored"), "a/late.log"),
        (|s| write(&s.path, "late", "untracked"), "late"),
        (|s| write(&s.path, "file", "two"), "file"),
        (
            |s| {
                // With the size and the time that it had.
                let file = std::fs::File::options().write(true).open(s.path.join("file")).unwrap();
                let time = file.metadata().unwrap().modified().unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, b"two", 0).unwrap();
                file.set_modified(time).unwrap();
            },
            "file",
        ),
        (|s| drop(s.f.init("main.worktrees/side/a/b/new", &[])), "a/b/new"),
        (|s| std::fs::rename(s.path.join("run"), s.f.root.join("run")).unwrap(), ""),
    ];
    for (make, path) in cases {
        let s = Side::new();
        let before = std::cell::RefCell::new(BTreeMap::new());
        let removal = s.remove_with(false, &|| {
            make(&s);
            before.replace(s.files());
        });
        let Removal::Kept(Kept::Found { finding, path: named }) = removal.unwrap() else { panic!("removed: {path}") };
        assert!(matches!(finding, Finding::Changed | Finding::Repository) && named.starts_with(path), "{named}");
        s.assert_untouched(&before.borrow());
    }
}

#[test]
fn what_comes_in_between_two_files_stays() {
    let cases: [Make; 4] = [
        |s| write(&s.path, "a/b/late.log", "late"),
        |s| write(&s.path, "a/b/deep", "late"),
        |s| {
            // Another file of the same content, where it was.
            write(&s.path, "a/b/other", "deep");
            std::fs::rename(s.path.join("a/b/other"), s.path.join("a/b/deep")).unwrap();
        },
        |s| {
            std::fs::remove_dir_all(s.path.join("a/b")).unwrap();
            symlink(s.f.root.join("outside"), s.path.join("a/b")).unwrap();
        },
    ];
    for make in cases {
        let s = Side::new();
        let worktree = Folder::open(&s.path).unwrap();
        let index = std::fs::read(s.private().join("index")).unwrap();
        let time = gix::index::State::new(gix::hash::Kind::Sha1).timestamp();
        let index =
            gix::index::State::from_bytes(&index, time, gix::hash::Kind::Sha1, gix::index::decode::Options::default());
        let inventory = Inventory::take(&worktree, &index.unwrap().0).unwrap();
        make(&s);
        let stopped = inventory.remove(&worktree).unwrap_err();
        assert!(matches!(stopped, Stop::Found(Finding::Changed, _)), "{stopped:?}");
        assert_eq!(std::fs::read_to_string(s.f.root.join("outside/deep")).unwrap(), "precious");
        let stays = ["a/b/late.log", "a/b/deep", "a/b"].map(|name| s.path.join(name).symlink_metadata().is_ok());
        assert!(stays[2] && (stays[0] || stays[1]), "what came in is there");
        // The rest comes back by the command that the reason names.
        s.git(&["restore", "--", "a/empty", "file", "run", "link"]);
    }
}

/// A worktree whose agent has written a program that leaves a trace, and has it run where Git looks.
fn attacked(configure: fn(&Side, &str)) -> (Side, PathBuf) {
    let s = Side::new();
    let (ran, evil) = (s.f.root.join("ran"), s.f.root.join("evil"));
    std::fs::write(&evil, format!("#!/bin/sh\ntouch {}\nexec cat\n", ran.display())).unwrap();
    std::fs::set_permissions(&evil, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    configure(&s, evil.to_str().unwrap());
    // So that Git has to look into the files.
    let now = super::fixture::wall_time().unix_ms();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(now.unsigned_abs() - 60_000);
    for name in ["file", "run"] {
        std::fs::File::options().write(true).open(s.path.join(name)).unwrap().set_modified(time).unwrap();
    }
    std::fs::remove_file(&ran).ok();
    (s, ran)
}

#[test]
fn nothing_of_the_agents_runs_while_its_worktree_is_removed() {
    let cases: [fn(&Side, &str); 3] = [
        |s, evil| s.git(&["config", "core.fsmonitor", evil]).clear(),
        |s, evil| {
            s.git(&["config", "filter.evil.clean", evil]);
            write(&s.main, ".git/info/attributes", "* filter=evil\n");
        },
        |s, evil| {
            s.git(&["config", "extensions.worktreeConfig", "true"]);
            s.git(&["config", "--worktree", "core.fsmonitor", evil]);
        },
    ];
    for configure in cases {
        let (s, ran) = attacked(configure);
        assert!(s.f.run(&s.main, &["worktree", "remove", s.path.to_str().unwrap()]).status.success());
        assert!(ran.exists(), "plain Git runs it");
        let (s, ran) = attacked(configure);
        match s.remove() {
            Removal::Removed => assert!(!s.path.exists()),
            Removal::Kept(kept) => assert!(matches!(kept, Kept::Filter { .. }), "{kept:?}"),
        }
        assert!(!ran.exists(), "a command of the agent was run");
    }
}

/// The library would walk it by recursion, in the daemon itself.
#[test]
fn an_index_that_nests_without_an_end_removes_nothing() {
    let side = Side::new();
    let before = side.files();
    let trees = b"\0-1 1\n".repeat(2_000_000);
    std::fs::write(side.private().join("index"), index(2, &[(0, b"a")], &[(b"TREE", trees)])).unwrap();
    let failed = side.remove_with(false, &|| ());
    assert!(matches!(failed, Err(Error::Unavailable { .. })), "{failed:?}");
    assert_eq!(side.files(), before);
}
