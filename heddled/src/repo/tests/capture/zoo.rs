//! Everything that can lie in a worktree is committed as `git add -A` would, and `git status` is clean after it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::super::fixture::Fixture;
use super::write;
use crate::repo::{Error, Repo as _};

impl Fixture {
    /// A repository with a few files in folders.
    pub(in crate::repo::tests) fn zoo(&self, arguments: &[&str]) -> PathBuf {
        let path = self.init("zoo", arguments);
        for name in ["a/b/c", "a/b/d", "a/e", "z", "src/main.rs"] {
            write(&path, name, name);
        }
        self.git(&path, &["add", "-A"]);
        self.git(&path, &["commit", "--quiet", "-m", "the zoo"]);
        path
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn changes_additions_and_removals_of_every_kind() {
    for format in ["sha1", "sha256"] {
        let f = Fixture::new();
        let zoo = f.zoo(&[&format!("--object-format={format}")]);
        write(&zoo, "a/b/c", "changed");
        std::fs::remove_file(zoo.join("a/e")).unwrap();
        std::fs::remove_dir_all(zoo.join("src")).unwrap();
        write(&zoo, "src", "a file where a folder was");
        std::fs::remove_file(zoo.join("z")).unwrap();
        write(&zoo, "z/y/x", "a folder where a file was");
        write(&zoo, "empty", "");
        write(&zoo, "run", "#!/bin/sh\n");
        set_mode(&zoo.join("run"), 0o755);
        set_mode(&zoo.join("file"), 0o755);
        symlink("nowhere", zoo.join("dangling")).unwrap();
        symlink("a", zoo.join("to-a-folder")).unwrap();
        symlink("/etc/passwd", zoo.join("a/outside")).unwrap();
        write(&zoo, "large", vec![7; 3_000_000]);
        for name in [&b"not\xffutf8"[..], b"new\nline", b" space ", b"\"quoted\"", b"tab\t", b"-dash", b":(top)x", b"*"]
        {
            std::fs::write(zoo.join(OsStr::from_bytes(name)), name).unwrap();
        }
        f.assert_like_git(&zoo, &[]);
    }
}

#[test]
fn the_last_files_are_removed_and_come_back() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    for name in ["a", "src"] {
        std::fs::remove_dir_all(zoo.join(name)).unwrap();
    }
    f.assert_like_git(&zoo, &[]);
    for name in ["z", "file"] {
        std::fs::remove_file(zoo.join(name)).unwrap();
    }
    f.assert_like_git(&zoo, &[]);
    for name in ["a-b/x", "a/x", "a.b/x", "a/b/c/d/e", "a0", "a/b-c", "a/b.c", "a/b0"] {
        write(&zoo, name, name);
    }
    f.assert_like_git(&zoo, &[]);
}

#[test]
fn what_is_ignored_stays_out() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    write(&zoo, ".gitignore", "*.o\n!keep.o\n/build/\n");
    write(&zoo, "a/.gitignore", "!nested.o\nprivate\n");
    write(&zoo, ".git/info/exclude", "excluded\n");
    f.git(&zoo, &["config", "--global", "core.excludesFile", "~/ignored everywhere"]);
    write(&f.root, "home/ignored everywhere", "*.swp\n");
    for name in ["x.o", "keep.o", "a/nested.o", "a/x.o", "build/out", "a/private", "excluded", "b.swp", "kept"] {
        write(&zoo, name, name);
    }
    // What is tracked is committed, ignored or not.
    f.git(&zoo, &["add", "-f", "x.o"]);
    write(&zoo, "x.o", "changed");
    f.assert_like_git(&zoo, &[]);
    assert!(!f.git(&zoo, &["ls-files"]).contains("excluded"));

    // Without a file of the user's own, Git looks where it does by default; the repository may name another.
    f.git(&zoo, &["config", "--global", "--unset", "core.excludesFile"]);
    write(&f.root, "home/.config/git/ignore", "default\n");
    write(&zoo, "default", "");
    write(&zoo, "now.swp", "");
    f.assert_like_git(&zoo, &[]);
    write(&f.root, "local ignore", "local\n");
    f.git(&zoo, &["config", "core.excludesFile", f.root.join("local ignore").to_str().unwrap()]);
    write(&zoo, "local", "");
    write(&zoo, "default", "");
    f.assert_like_git(&zoo, &[]);
}

#[test]
fn attributes_say_how_content_is_stored() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    write(
        &zoo,
        ".gitattributes",
        "*.txt text\n*.bat text eol=crlf\n*.u16 text working-tree-encoding=UTF-16LE\n*.id ident\n",
    );
    write(&zoo, "a/.gitattributes", "*.txt -text\n");
    write(&zoo, ".git/info/attributes", "*.info text\n");
    write(&f.root, "home/.config/git/attributes", "*.user text\n");
    for name in ["x.txt", "a/x.txt", "x.bat", "x.info", "x.user", "plain", "with\nline.txt", "späti.txt", "\"q\".txt"]
    {
        write(&zoo, name, "one\r\ntwo\r\n");
    }
    let wide: Vec<u8> = "Grüße\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    write(&zoo, "x.u16", wide);
    write(&zoo, "x.id", "$Id: 0123 $\n");
    f.assert_like_git(&zoo, &[]);
    assert_eq!(f.git(&zoo, &["cat-file", "-p", "HEAD:x.txt"]), "one\ntwo");

    for (name, value) in [("autocrlf", "true"), ("autocrlf", "input"), ("eol", "crlf")] {
        f.git(&zoo, &["config", &format!("core.{name}"), value]);
        write(&zoo, &format!("new-{name}-{value}"), "one\r\ntwo\r\n");
        // What has carriage returns in the repository keeps them.
        write(&zoo, "plain", format!("{name}\r\n{value}\r\n"));
        f.assert_like_git(&zoo, &[]);
    }
}

#[test]
fn the_repositorys_view_of_its_file_system_counts() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    f.git(&zoo, &["config", "core.fileMode", "false"]);
    set_mode(&zoo.join("z"), 0o755);
    write(&zoo, "new", "");
    set_mode(&zoo.join("new"), 0o755);
    f.assert_like_git(&zoo, &[]);

    symlink("z", zoo.join("link")).unwrap();
    f.assert_like_git(&zoo, &[]);
    f.git(&zoo, &["config", "core.symlinks", "false"]);
    std::fs::remove_file(zoo.join("link")).unwrap();
    write(&zoo, "link", "elsewhere");
    f.assert_like_git(&zoo, &[]);

    std::fs::rename(zoo.join("z"), zoo.join("Z")).unwrap();
    f.assert_like_git(&zoo, &[]);
    f.git(&zoo, &["config", "core.ignoreCase", "true"]);
    std::fs::rename(zoo.join("Z"), zoo.join("z")).unwrap();
    std::fs::rename(zoo.join("a"), zoo.join("A")).unwrap();
    write(&zoo, "A/new", "");
    // On a file system where case counts, Git is confused by this: it shall be as confused as it would be.
    f.assert_same_as_git(&zoo, &[]);
}

#[test]
fn repositories_within_the_repository() {
    let f = Fixture::new();
    f.git(&f.root, &["config", "--global", "protocol.file.allow", "always"]);
    let inner = f.init("inner", &[]);
    let zoo = f.zoo(&[]);
    for name in ["sub", "moved", "gone", "now a file", "not there"] {
        f.git(&zoo, &["submodule", "--quiet", "add", inner.to_str().unwrap(), name]);
    }
    f.git(&zoo, &["commit", "--quiet", "-m", "submodules"]);
    f.commit(&zoo.join("moved"), "two");
    // Changes that the submodule has not committed are none of this repository's.
    write(&zoo, "sub/file", "dirty");
    for name in ["gone", "now a file", "not there"] {
        std::fs::remove_dir_all(zoo.join(name)).unwrap();
    }
    std::fs::create_dir(zoo.join("not there")).unwrap();
    write(&zoo, "now a file", "content");
    f.git(&zoo, &["clone", "--quiet", inner.to_str().unwrap(), "embedded"]);
    f.git(&zoo, &["config", "status.submoduleSummary", "false"]);
    f.git(&zoo, &["config", "diff.ignoreSubmodules", "dirty"]);
    f.assert_like_git(&zoo, &[]);
    f.commit(&zoo.join("embedded"), "three");
    f.assert_like_git(&zoo, &[]);
}

#[test]
fn a_sparse_checkout_keeps_what_it_leaves_out() {
    for arguments in [&["--cone"][..], &["--cone", "--sparse-index"], &["--no-cone"]] {
        let f = Fixture::new();
        let zoo = f.zoo(&[]);
        f.git(&zoo, &[&["sparse-checkout", "set"], arguments, &["src"]].concat());
        assert!(!zoo.join("a/e").exists());
        write(&zoo, "src/main.rs", "changed");
        write(&zoo, "src/new", "");
        f.assert_like_git(&zoo, &[]);
        // A tracked file beyond the sparse checkout is left alone; an untracked one is refused.
        write(&zoo, "a/e", "present");
        write(&zoo, "src/more", "");
        f.assert_same_as_git(&zoo, &[]);
        write(&zoo, "b/new", "");
        let refused = f.prepare(&zoo);
        assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
        assert!(!f.run(&zoo, &["add", "-A"]).status.success(), "Git refuses it, too");
        f.assert_clear(&zoo);
    }
}

#[test]
fn every_kind_of_index() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    let kinds: [&[&str]; 6] = [
        &["update-index", "--split-index"],
        &["update-index", "--untracked-cache"],
        &["update-index", "--index-version", "4"],
        &["update-index", "--no-split-index"],
        &["update-index", "--force-untracked-cache"],
        &["update-index", "--index-version", "2"],
    ];
    for (number, kind) in kinds.iter().enumerate() {
        f.git(&zoo, kind);
        f.git(&zoo, &["status", "--porcelain"]);
        write(&zoo, "a/b/c", number.to_string());
        write(&zoo, &format!("new/{number}"), "");
        f.assert_like_git(&zoo, &[]);
    }
    f.git(&zoo, &["config", "index.skipHash", "true"]);
    write(&zoo, "a/b/c", "without a checksum");
    f.assert_like_git(&zoo, &[]);
    // Git itself loses a split index without checksums.
    f.git(&zoo, &["config", "--unset", "index.skipHash"]);
    for (name, value) in [("core.splitIndex", "true"), ("feature.manyFiles", "true")] {
        f.git(&zoo, &["config", name, value]);
        f.git(&zoo, &["update-index", "--refresh"]);
        write(&zoo, "a/b/c", name);
        f.assert_like_git(&zoo, &[]);
        f.git(&zoo, &["config", "--unset", name]);
    }
    std::fs::remove_file(zoo.join(".git/index")).unwrap();
    write(&zoo, "a/b/c", "without an index");
    f.capture(&zoo);
    assert_eq!(f.git(&zoo, &["status", "--porcelain"]), "");
}

#[test]
fn what_is_staged_halfway() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    write(&zoo, "intended", "content");
    f.git(&zoo, &["add", "--intent-to-add", "intended"]);
    write(&zoo, "z", "staged");
    f.git(&zoo, &["add", "z"]);
    write(&zoo, "z", "and changed again");
    write(&zoo, "staged and gone", "");
    f.git(&zoo, &["add", "staged and gone"]);
    std::fs::remove_file(zoo.join("staged and gone")).unwrap();
    f.git(&zoo, &["rm", "--quiet", "--cached", "a/e"]);
    f.git(&zoo, &["update-index", "--assume-unchanged", "src/main.rs"]);
    write(&zoo, "src/main.rs", "nobody looks");
    f.assert_like_git(&zoo, &[]);

    // Staged, and taken back in the worktree: there is nothing to commit, and the index says so afterwards.
    write(&zoo, "z", "staged");
    f.git(&zoo, &["add", "z"]);
    write(&zoo, "z", "and changed again");
    assert_ne!(f.git(&zoo, &["status", "--porcelain"]), "");
    assert!(matches!(f.prepare(&zoo), Ok(crate::repo::Capture::Nothing { .. })));
    assert_eq!(f.git(&zoo, &["status", "--porcelain"]), "");
}

/// What Git cannot tell from a file's size and time alone, it does not guess.
#[test]
fn a_change_in_the_moment_in_which_the_index_was_written() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    f.git(&zoo, &["config", "core.trustctime", "false"]);
    // Long ago, for Git may look at the seconds alone.
    let set_time = |name: &str| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        std::fs::File::options().write(true).open(zoo.join(name)).unwrap().set_modified(time).unwrap();
    };
    write(&zoo, "z", "aaa");
    set_time("z");
    f.git(&zoo, &["add", "z"]);
    write(&zoo, "z", "bbb");
    set_time("z");
    set_time(".git/index");
    f.assert_like_git(&zoo, &[]);
    assert_eq!(f.git(&zoo, &["cat-file", "-p", "HEAD:z"]), "bbb");
}

#[test]
fn a_partial_clone_fetches_nothing() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    for arguments in [&["uploadpack.allowFilter", "true"], &["uploadpack.allowAnySHA1InWant", "true"]] {
        f.git(&zoo, &[&["config"], &arguments[..]].concat());
    }
    let partial = f.root.join("partial");
    let url = format!("file://{}", zoo.display());
    let clone = ["clone", "--quiet", "--sparse", "--filter=blob:none", &url, partial.to_str().unwrap()];
    f.git(&f.root, &clone);
    f.git(&partial, &["sparse-checkout", "set", "a/b"]);
    write(&partial, "a/b/c", "changed");
    write(&partial, "new", "new");
    f.assert_like_git(&partial, &[]);
    let missing = f.git(&partial, &["rev-list", "--objects", "--missing=print", "HEAD"]);
    assert!(missing.lines().any(|line| line.starts_with('?')), "what was not needed is still missing");
}

#[test]
fn linked_worktrees_have_their_own_index_and_configuration() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    let side = f.root.join("side");
    f.git(&zoo, &["worktree", "add", "--quiet", "-b", "side", side.to_str().unwrap()]);
    write(&side, "a/e", "changed on the side");
    write(&zoo, "a/e", "changed in the main one");
    f.assert_like_git(&side, &[]);
    assert_eq!(std::fs::read_to_string(zoo.join("a/e")).unwrap(), "changed in the main one");
    f.git(&zoo, &["config", "extensions.worktreeConfig", "true"]);
    f.git(&side, &["config", "--worktree", "core.autocrlf", "true"]);
    for worktree in [&side, &zoo] {
        write(worktree, "crlf", "one\r\ntwo\r\n");
        f.assert_like_git(worktree, &[]);
    }
    assert_eq!(f.git(&side, &["cat-file", "-s", "HEAD:crlf"]), "8");
    assert_eq!(f.git(&zoo, &["cat-file", "-s", "HEAD:crlf"]), "10");
    // Of a bare repository, too.
    let bare = f.root.join("bare.git");
    f.git(&f.root, &["clone", "--quiet", "--bare", zoo.to_str().unwrap(), bare.to_str().unwrap()]);
    let of_bare = f.root.join("of bare");
    f.git(&bare, &["worktree", "add", "--quiet", "-b", "new", of_bare.to_str().unwrap()]);
    f.git(&bare, &["config", "core.logAllRefUpdates", "true"]);
    write(&of_bare, "a/e", "in a bare repository's worktree");
    f.assert_like_git(&of_bare, &[]);
}

#[test]
fn objects_of_another_repository_are_found() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    let copy = f.root.join("sh\"ared");
    f.git(&f.root, &["clone", "--quiet", "--shared", zoo.to_str().unwrap(), copy.to_str().unwrap()]);
    f.git(&copy, &["repack", "-adq"]);
    write(&copy, "a/b/c", "changed");
    f.assert_like_git(&copy, &[]);
}

#[test]
fn the_commit_names_its_author_and_carries_its_trailers() {
    let f = Fixture::new();
    let zoo = f.zoo(&[]);
    f.git(&zoo, &["config", "user.name", " Grace \"<G>\" Hopper. "]);
    f.git(&zoo, &["config", "committer.email", "grace@example.org"]);
    write(&zoo, "a/e", "changed");
    let captured = f.capture(&zoo);
    write(&zoo, "a/e", "changed once more");
    f.git(&zoo, &["commit", "--quiet", "-a", "-m", "by Git"]);
    let people = |commit: &str| f.git(&zoo, &["show", "-s", "--format=%an|%ae|%cn|%ce|%ai", commit]);
    let (mine, gits) = (people(&captured.to_string()), people("HEAD"));
    assert_eq!(mine.rsplit_once(' ').unwrap().1, gits.rsplit_once(' ').unwrap().1, "the time zone is Git's");
    assert_eq!(mine.rsplit_once('|').unwrap().0, gits.rsplit_once('|').unwrap().0);
    let trailers = f.git(&zoo, &["show", "-s", "--format=%(trailers:key=Heddle-Session,valueonly)", "HEAD~"]);
    assert_eq!(trailers, "agent-x");
    assert_eq!(f.git(&zoo, &["show", "-s", "--format=%s", "HEAD~"]), "all of it");
    // What the user says of a place holds for the repository there, and not for where the capture is prepared.
    f.git(&zoo, &["config", "--unset", "user.name"]);
    write(&f.root, "home/work", "[user]\n\tname = At Work\n");
    let condition = format!("includeIf.gitdir:{}/.path", zoo.display());
    f.git(&f.root, &["config", "--global", &condition, "work"]);
    write(&zoo, "a/e", "at work");
    f.capture(&zoo);
    assert_eq!(f.git(&zoo, &["show", "-s", "--format=%an"]), "At Work");
    f.git(&zoo, &["reset", "--quiet", "--hard", "HEAD~"]);
    let (_, common) = f.git_dirs(&zoo);
    assert_eq!(f.repo.commit_root(&common, captured).unwrap(), f.id(&zoo, "HEAD~^{tree}"));
}
