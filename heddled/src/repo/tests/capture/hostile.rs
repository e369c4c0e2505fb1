//! What an agent can write into its repository by hand, where Git never would: indexes, pointers, links and files without an
//! end. Nothing outside is read or written, and the daemon lives. Each attack is first shown to work on plain Git.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::super::fixture::Fixture;
use super::write;
use crate::repo::{Capture, CaptureRefused, CaptureRequest, Cause, Error, Repo as _};

impl Fixture {
    /// Asserts that a capture fails for a reason that names a path, and leaves nothing.
    #[track_caller]
    fn fails_at(&self, worktree: &Path, filters: &[String], end: &str) {
        match self.prepare_with(worktree, filters) {
            Err(Error::Unavailable { cause: Cause::Malformed { path, .. }, .. }) => {
                assert!(path.to_string_lossy().ends_with(end), "{} is named", path.display());
            }
            other => panic!("{other:?}"),
        }
        self.assert_clear(worktree);
    }
}

/// An index of version 2 or 4 with these paths (of no content, never looked at) and extensions.
pub(in crate::repo::tests) fn index(
    version: u32,
    entries: &[(usize, &[u8])],
    extensions: &[(&[u8; 4], Vec<u8>)],
) -> Vec<u8> {
    let mut bytes =
        [&b"DIRC"[..], &version.to_be_bytes(), &u32::try_from(entries.len()).unwrap().to_be_bytes()].concat();
    for (cut, path) in entries {
        let begin = bytes.len();
        bytes.extend([0; 24]);
        bytes.extend(0o100_644_u32.to_be_bytes());
        bytes.extend([0; 12]);
        // The id of what is empty.
        bytes.extend(data_encoding::HEXLOWER.decode(b"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391").unwrap());
        // Assumed to be unchanged.
        let length = u16::try_from(path.len().min(0xfff)).unwrap();
        bytes.extend((0x8000 | length).to_be_bytes());
        if version == 4 {
            assert!(*cut < 128);
            bytes.push(u8::try_from(*cut).unwrap());
        }
        bytes.extend(*path);
        let padding = if version == 4 { 1 } else { 8 - (bytes.len() - begin) % 8 };
        bytes.resize(bytes.len() + padding, 0);
    }
    for (signature, content) in extensions {
        bytes.extend(*signature);
        bytes.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        bytes.extend(content);
    }
    // Git takes zeros for an index whose sum was not made.
    bytes.extend([0; 20]);
    bytes
}

#[test]
fn an_index_that_leads_out_of_the_worktree() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    write(&f.root, "key", "secret");
    let secret = f.git(&f.root, &["hash-object", "key"]);
    for path in [&b"../key"[..], b"a/../../key", b".git/config", b"a/.GIT/config", b"./file", b"a//b"] {
        let mut hostile = index(2, &[(0, path)], &[]);
        // Looked at: it is not assumed to be unchanged.
        hostile[12 + 60] = 0;
        std::fs::write(main.join(".git/index"), &hostile).unwrap();
        if path == b"../key" {
            f.git(&main, &["add", "-A"]);
            assert!(f.git(&main, &["ls-files", "-s"]).contains(&secret), "plain Git stores what lies outside");
            std::fs::remove_file(main.join(".git/objects").join(&secret[..2]).join(&secret[2..])).unwrap();
            std::fs::write(main.join(".git/index"), &hostile).unwrap();
        }
        f.fails_at(&main, &[], std::str::from_utf8(path).unwrap());
    }
    assert!(!f.run(&main, &["cat-file", "-e", &secret]).status.success());
}

/// Whoever walks that by recursion runs out of stack, which ends a process: for Git that is one of many.
#[test]
fn an_index_whose_parts_nest_without_an_end() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    write(&main, "work", "");
    let trees = b"\0-1 1\n".repeat(2_000_000);
    let mut untracked = [&b"\x01\0"[..], &[0; 36], &[0; 36], &[0; 4], &[0; 20], &[0; 20], b".gitignore\0"].concat();
    let blocks = 2_000_000_u32;
    // Their number, in groups of seven bits.
    untracked.extend([0x80 | u8::try_from((blocks >> 14) - 1).unwrap() & 0x7f, 0x80, 0]);
    untracked.extend(b"\0\x01\0".repeat(usize::try_from(blocks).unwrap()));
    untracked.push(0);
    for (signature, content) in [(b"TREE", trees), (b"UNTR", untracked)] {
        std::fs::write(main.join(".git/index"), index(2, &[(0, b"a")], &[(signature, content)])).unwrap();
        let output = f.run(&main, &["ls-files"]);
        let is_dead = output.status.code().is_none();
        assert!(is_dead || signature != b"TREE", "plain Git dies of {:?}: {output:?}", std::str::from_utf8(signature));
        let captured = f.prepare(&main);
        if let Ok(Capture::Prepared { prepared, .. }) = &captured {
            f.repo.undo_capture(&main.join(".git"), prepared).unwrap();
        }
        assert!(captured.is_err() || signature != b"TREE", "{captured:?}");
        f.assert_clear(&main);
    }
    // Paths that nest, or that grow without an end where each goes on from the one before.
    let deep = b"d/".repeat(1100);
    std::fs::write(main.join(".git/index"), index(2, &[(0, &[&deep[..], b"x"].concat())], &[])).unwrap();
    assert!(matches!(f.prepare(&main), Err(Error::Unavailable { .. })));
    let long = vec![b'a'; 3000];
    let grows: Vec<(usize, &[u8])> = (0..50).map(|_| (0, &long[..])).collect();
    std::fs::write(main.join(".git/index"), index(4, &grows, &[])).unwrap();
    f.fails_at(&main, &[], "index");
    std::fs::write(main.join(".git/index"), "DIRC").unwrap();
    f.fails_at(&main, &[], "index");
    f.assert_clear(&main);
}

/// A tree that nests as deep as that cannot be read by recursion either.
#[test]
fn a_commit_whose_folders_nest_without_an_end() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let mut tree = f.git(&main, &["rev-parse", "HEAD^{tree}"]);
    let library = gix::open(&main).unwrap();
    for _ in 0..6_000 {
        let entry = gix::objs::tree::Entry {
            mode: gix::objs::tree::EntryKind::Tree.into(),
            filename: "d".into(),
            oid: gix::ObjectId::from_hex(tree.as_bytes()).unwrap(),
        };
        let above = gix::objs::Tree { entries: vec![entry] };
        tree = library.write_object(&above).unwrap().to_string();
    }
    let commit = f.git(&main, &["commit-tree", "-m", "deep", "-p", "HEAD", &tree]);
    f.git(&main, &["update-ref", "refs/heads/main", &commit]);
    write(&main, "work", "");
    match f.prepare(&main) {
        Err(Error::Unavailable { cause: Cause::Malformed { problem, .. }, .. }) => {
            assert!(problem.contains("too deep"));
        }
        other => panic!("{other:?}"),
    }
    f.assert_clear(&main);
}

/// What Git takes for the state of an embedded repository are the first digits of whatever its ref leads to.
#[test]
fn an_embedded_repository_whose_head_lies_outside() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let secret = "0123456789abcdef0123456789abcdef01234567";
    write(&f.root, "token", format!("{secret}\n"));
    let embedded = main.join("embedded");
    write(&embedded, ".git/HEAD", "ref: refs/heads/x\n");
    write(&embedded, ".git/refs/heads/y", "");
    std::fs::create_dir(embedded.join(".git/objects")).unwrap();
    symlink(f.root.join("token"), embedded.join(".git/refs/heads/x")).unwrap();
    let shows_secret = || {
        f.git(&main, &["add", "-A"]);
        let index = f.git(&main, &["ls-files", "-s"]);
        f.git(&main, &["reset", "--quiet"]);
        index.contains(secret)
    };
    assert!(shows_secret(), "plain Git commits it");
    f.fails_at(&main, &[], "embedded");
    // The refs' folder, or the whole Git directory.
    std::fs::remove_dir_all(embedded.join(".git/refs")).unwrap();
    write(&f.root, "refs/heads/x", format!("{secret}\n"));
    symlink(f.root.join("refs"), embedded.join(".git/refs")).unwrap();
    assert!(shows_secret(), "plain Git commits it");
    f.fails_at(&main, &[], "embedded");
    std::fs::rename(embedded.join(".git"), f.root.join("outside")).unwrap();
    write(&main, "embedded/.git", "gitdir: ../../outside\n");
    assert!(shows_secret(), "plain Git commits it");
    f.fails_at(&main, &[], "embedded");
}

#[test]
fn embedded_repositories_are_known_wherever_git_keeps_their_head() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    f.git(&f.root, &["config", "--global", "protocol.file.allow", "always"]);
    // A worktree of the repository itself, within itself; it is captured, and captures the others.
    f.git(&main, &["worktree", "add", "--quiet", "-b", "side", "nested worktree"]);
    f.git(&main, &["clone", "--quiet", main.to_str().unwrap(), "packed"]);
    f.git(&main.join("packed"), &["pack-refs", "--all"]);
    f.git(&main, &["clone", "--quiet", main.to_str().unwrap(), "detached"]);
    f.git(&main.join("detached"), &["switch", "--quiet", "--detach"]);
    f.git(&main, &["clone", "--quiet", main.to_str().unwrap(), "folder/in a folder"]);
    f.git(&main, &["submodule", "--quiet", "add", main.to_str().unwrap(), "folder/sub"]);
    f.git(&main, &["submodule", "--quiet", "add", main.to_str().unwrap(), "other/sub"]);
    f.git(&main.join("other/sub"), &["worktree", "add", "--quiet", "--detach", "../of a submodule"]);
    f.assert_like_git(&main, &[]);
    for name in ["nested worktree", "packed", "detached", "folder/in a folder", "folder/sub", "other/of a submodule"] {
        f.commit(&main.join(name), name);
    }
    f.assert_like_git(&main, &[]);
    let side = main.join("nested worktree");
    write(&side, "work", "");
    f.assert_like_git(&side, &[]);
}

/// FIFOs and devices where the repository's configuration names files: to read them would never end.
#[test]
fn files_of_rules_without_an_end() {
    within_a_minute(|| {
        let f = Fixture::new();
        let main = f.init("main", &[]);
        let fifo = f.root.join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        for key in ["core.excludesFile", "core.attributesFile"] {
            for file in [fifo.to_str().unwrap(), "/dev/zero", "../fifo", "/none", "."] {
                f.git(&main, &["config", key, file]);
                write(&main, "work", format!("{key} {file}"));
                f.capture(&main);
            }
            f.git(&main, &["config", "--unset", key]);
        }
        for name in ["exclude", "attributes"] {
            mkfifo(&main.join(".git/info").join(name), Mode::S_IRWXU)
                .or_else(|_| {
                    std::fs::remove_file(main.join(".git/info").join(name)).unwrap();
                    mkfifo(&main.join(".git/info").join(name), Mode::S_IRWXU)
                })
                .unwrap();
            write(&main, "work", name);
            f.capture(&main);
            std::fs::remove_file(main.join(".git/info").join(name)).unwrap();
        }
    });
}

/// Does what may never end: then it has failed, and what it does is left to itself.
pub(in crate::repo::tests) fn within_a_minute(what: impl FnOnce() + Send + 'static) {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let doing = std::thread::spawn(move || {
        let _done = done;
        what();
    });
    let ended = wait.recv_timeout(std::time::Duration::from_secs(60));
    assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected), "it does not end");
    doing.join().unwrap();
}

/// What the repository's own configuration says of attributes counts as for Git, its filters included.
#[test]
fn attributes_that_the_repositorys_configuration_names() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    write(&f.root, "attributes", "*.txt text\n");
    f.git(&main, &["config", "core.attributesFile", f.root.join("attributes").to_str().unwrap()]);
    write(&main, "x.txt", "one\r\ntwo\r\n");
    f.assert_like_git(&main, &[]);
    assert_eq!(f.git(&main, &["cat-file", "-s", "HEAD:x.txt"]), "8");
    write(&f.root, "attributes", "*.txt filter=odd\n");
    write(&main, "y.txt", "content");
    let refused = f.prepare(&main);
    assert!(matches!(refused, Err(Error::Capture(CaptureRefused::FilterNotAllowed { .. }))), "{refused:?}");
}

#[test]
fn what_is_no_file_is_left_out() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    mkfifo(&main.join("fifo"), Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(main.join("socket")).unwrap();
    write(&main, "work", "");
    f.assert_like_git(&main, &[]);
    // In the place of a file that is known.
    std::fs::remove_file(main.join("file")).unwrap();
    mkfifo(&main.join("file"), Mode::S_IRWXU).unwrap();
    write(&main, "work", "more");
    assert_eq!(f.run(&main, &["add", "-A"]).status.success(), f.prepare(&main).is_ok());
}

#[test]
fn folders_that_nest_deeper_than_paths_are_long() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let folder = |depth: usize| main.join("d/".repeat(depth));
    std::fs::create_dir_all(folder(380)).unwrap();
    std::fs::write(folder(380).join("x"), "deep").unwrap();
    f.assert_like_git(&main, &[]);
    // Beyond what a path can name.
    let mut at =
        rustix::fs::openat(rustix::fs::CWD, folder(380), rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())
            .unwrap();
    for _ in 0..2_620 {
        rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "d", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    }
    write(&main, "work", "");
    let gits = f.with_index_of(&main, &["add", "-A"]);
    match f.prepare(&main) {
        Ok(Capture::Prepared { prepared, .. }) => {
            assert!(gits, "Git refuses it");
            f.finish(&f.repo, &main, &prepared);
        }
        other => assert!(!gits, "{other:?}"),
    }
    // The temporary folder's own removal may be by recursion.
    drop(std::process::Command::new("rm").arg("-rf").arg(main.join("d")).status());
}

impl Fixture {
    /// Whether Git succeeds, with a copy of the index.
    fn with_index_of(&self, worktree: &Path, arguments: &[&str]) -> bool {
        let copy = self.root.join("index copy");
        std::fs::copy(worktree.join(".git/index"), &copy).unwrap();
        let mut command = std::process::Command::new("git");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.root.join("home")).env("GIT_INDEX_FILE", copy).current_dir(worktree);
        command.args(arguments).output().unwrap().status.success()
    }
}

#[test]
fn many_files_in_one_folder() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    for number in 0..5_000 {
        write(&main, &format!("many/{number}"), "");
    }
    write(&main, "many/the last", "x");
    f.assert_like_git(&main, &[]);
}

#[test]
fn a_lock_that_is_a_link() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    write(&main, "work", "");
    let (_, common) = f.git_dirs(&main);
    let outside = f.root.join("outside");
    for name in ["index.lock", "heddle-index"] {
        symlink(&outside, main.join(".git").join(name)).unwrap();
        let request = CaptureRequest {
            git_dir: &common,
            worktree: &main,
            thread: &"main".parse().unwrap(),
            recorded_state: f.id(&main, "HEAD"),
            message: "",
            trailers: &[],
            allowed_filters: &[],
            // It is not waited for.
            cancelled: &AtomicBool::new(true),
        };
        let refused = f.repo.prepare_capture(&request);
        assert!(matches!(refused, Err(Error::Capture(CaptureRefused::Cancelled))), "{refused:?}");
        assert!(!outside.exists(), "nothing is written where it leads");
        drop(std::fs::remove_file(main.join(".git").join(name)));
    }
}

/// The folders of objects lead elsewhere: what is stored would land where an agent may not write.
#[test]
fn folders_of_objects_that_are_links() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let outside = f.root.join("outside");
    std::fs::create_dir(&outside).unwrap();
    write(&main, "work", "work");
    let id = f.git(&main, &["hash-object", "work"]);
    let objects = main.join(".git/objects");
    let folder: PathBuf = objects.join(&id[..2]);
    symlink(&outside, &folder).unwrap();
    f.git(&main, &["hash-object", "-w", "work"]);
    assert!(outside.join(&id[2..]).exists(), "plain Git writes there");
    std::fs::remove_file(outside.join(&id[2..])).unwrap();
    let failed = f.prepare(&main);
    assert!(matches!(failed, Err(Error::Unavailable { .. })), "{failed:?}");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "nothing is written outside");
    f.assert_clear(&main);
}
