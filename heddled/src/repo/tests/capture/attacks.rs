//! A capture is no way out of a sandbox: whatever an agent writes into its worktree, its `.git` or the repository's
//! configuration, the daemon runs none of it and reads nothing outside. Each attack is first shown to work on plain Git.

use std::cell::Cell;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::fixture::{Fixture, wall_time};
use super::{LOG, write};
use crate::repo::{Capture, CaptureRefused, CaptureRequest, Environment, Error, GitRepo, Repo as _};

/// A repository whose agent has written a program that leaves a trace.
pub(in crate::repo::tests) struct Attack {
    pub(in crate::repo::tests) f: Fixture,
    pub(in crate::repo::tests) main: PathBuf,
    evil: PathBuf,
    ran: PathBuf,
    captures: Cell<u32>,
}

impl Attack {
    pub(in crate::repo::tests) fn new() -> Self {
        let f = Fixture::new();
        let main = f.init("main", &[]);
        let ran = f.root.join("ran");
        let evil = main.join("evil");
        write(&main, "evil", format!("#!/bin/sh\ntouch {}\nexec cat\n", ran.display()));
        std::fs::set_permissions(&evil, std::fs::Permissions::from_mode(0o755)).unwrap();
        f.git(&main, &["add", "-A"]);
        f.git(&main, &["commit", "--quiet", "-m", "evil"]);
        Self { f, main, evil, ran, captures: Cell::new(0) }
    }

    pub(in crate::repo::tests) fn evil(&self) -> &str {
        self.evil.to_str().unwrap()
    }

    pub(in crate::repo::tests) fn forget(&self) {
        std::fs::remove_file(&self.ran).ok();
    }

    /// Shows that plain Git runs it.
    pub(in crate::repo::tests) fn assert_runs(&self, at: &Path, arguments: &[&str]) {
        std::fs::remove_file(&self.ran).ok();
        self.f.run(at, arguments);
        assert!(std::fs::remove_file(&self.ran).is_ok(), "git {arguments:?} runs it");
    }

    pub(in crate::repo::tests) fn assert_ran_nothing(&self) {
        assert!(!self.ran.exists(), "a command of the agent was run");
    }

    /// Changes something, captures it like Git, and shows that nothing ran.
    fn assert_harmless(&self, worktree: &Path) {
        std::fs::remove_file(&self.ran).ok();
        self.captures.update(|number| number + 1);
        let work = format!("work {}", self.captures.get());
        write(worktree, "work", &work);
        let Capture::Prepared { prepared, .. } = self.f.prepare(worktree).unwrap() else { panic!("nothing") };
        self.f.finish(&self.f.repo, worktree, &prepared);
        self.assert_ran_nothing();
        assert_eq!(self.f.git(worktree, &["cat-file", "-p", "HEAD:work"]), work);
    }
}

#[test]
fn a_file_system_monitor_of_the_repository() {
    let a = Attack::new();
    a.f.git(&a.main, &["config", "core.fsmonitor", a.evil()]);
    a.assert_runs(&a.main, &["add", "-A"]);
    a.assert_harmless(&a.main);
}

#[test]
fn commands_of_included_and_of_the_worktrees_own_configuration() {
    let a = Attack::new();
    write(&a.main, "more", format!("[core]\n\tfsmonitor = {}\n", a.evil()));
    for key in ["include.path", "includeIf.onbranch:main.path"] {
        a.f.git(&a.main, &["config", key, a.main.join("more").to_str().unwrap()]);
        a.assert_runs(&a.main, &["add", "-A"]);
        a.assert_harmless(&a.main);
        a.f.git(&a.main, &["config", "--unset", key]);
    }
    a.f.git(&a.main, &["config", "extensions.worktreeConfig", "true"]);
    a.f.git(&a.main, &["config", "--worktree", "core.fsmonitor", a.evil()]);
    a.assert_runs(&a.main, &["add", "-A"]);
    a.assert_harmless(&a.main);
}

#[test]
fn content_filters_of_the_repository() {
    let a = Attack::new();
    for driver in ["evil", "lfs"] {
        write(&a.main, ".gitattributes", format!("*.big filter={driver}\n"));
        for name in ["clean", "process"] {
            let key = format!("filter.{driver}.{name}");
            a.f.git(&a.main, &["config", &key, a.evil()]);
            write(&a.main, "x.big", name);
            a.assert_runs(&a.main, &["add", "-A"]);
            a.f.git(&a.main, &["reset", "--quiet"]);
            let filters = ["evil".to_owned(), "lfs".to_owned()];
            // Allowing its name does not help: nobody but the repository defines it.
            for filters in [&[][..], &filters] {
                match a.f.prepare_with(&a.main, filters) {
                    Err(Error::Capture(CaptureRefused::FilterNotAllowed { filter, path })) => {
                        assert_eq!((filter.as_str(), path.as_path()), (driver, Path::new("x.big")));
                    }
                    other => panic!("{other:?}"),
                }
            }
            a.assert_ran_nothing();
            a.f.assert_clear(&a.main);
            a.f.git(&a.main, &["config", "--unset", &key]);
        }
    }
}

#[test]
fn hooks_of_the_repository() {
    let a = Attack::new();
    let hooks = a.main.join(".git/hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    for name in ["post-index-change", "pre-commit", "commit-msg", "prepare-commit-msg", "post-commit"] {
        symlink(&a.evil, hooks.join(name)).unwrap();
    }
    symlink(&a.evil, hooks.join("reference-transaction")).unwrap();
    write(&a.main, "some", "thing");
    a.assert_runs(&a.main, &["add", "-A"]);
    a.assert_harmless(&a.main);
    a.f.git(&a.main, &["config", "core.hooksPath", hooks.to_str().unwrap()]);
    write(&a.main, "some", "more");
    a.assert_runs(&a.main, &["add", "-A"]);
    a.assert_harmless(&a.main);
}

#[test]
fn a_signing_program_of_the_repository() {
    let a = Attack::new();
    write(&a.main, "some", "thing");
    a.f.git(&a.main, &["add", "-A"]);
    for (format, key) in [("openpgp", "gpg.program"), ("ssh", "gpg.ssh.program"), ("ssh", "gpg.ssh.defaultKeyCommand")]
    {
        let signing_key = if key == "gpg.ssh.program" { "key::ssh-ed25519 AAAA" } else { "" };
        let settings = [("commit.gpgsign", "true"), ("gpg.format", format), ("user.signingKey", signing_key)];
        for (key, value) in settings.into_iter().chain([(key, a.evil())]).filter(|(_, value)| !value.is_empty()) {
            a.f.git(&a.main, &["config", key, value]);
        }
        a.assert_runs(&a.main, &["commit", "--quiet", "--allow-empty", "-m", "signed"]);
        match a.f.prepare(&a.main) {
            Err(Error::Capture(CaptureRefused::SigningRefused { reason })) => assert!(!reason.is_empty()),
            other => panic!("{other:?}"),
        }
        a.assert_ran_nothing();
        a.f.assert_clear(&a.main);
        a.f.git(&a.main, &["config", "--unset", key]);
        a.f.run(&a.main, &["config", "--unset", "user.signingKey"]);
    }
}

#[test]
fn every_other_command_that_a_configuration_can_name() {
    let a = Attack::new();
    write(&a.main, ".gitattributes", "* diff=evil merge=evil\n");
    for key in [
        "alias.add",
        "alias.write-tree",
        "core.alternateRefsCommand",
        "core.askPass",
        "core.editor",
        "core.gitProxy",
        "core.pager",
        "core.sshCommand",
        "credential.helper",
        "diff.evil.command",
        "diff.evil.textconv",
        "diff.external",
        "gc.recentObjectsHook",
        "merge.evil.driver",
        "pager.add",
        "sequence.editor",
        "trailer.x.command",
        "uploadpack.packObjectsHook",
    ] {
        let command = if key.starts_with("alias") { format!("!{}", a.evil()) } else { a.evil().to_owned() };
        a.f.git(&a.main, &["config", key, &command]);
    }
    a.assert_runs(&a.main, &["diff", "HEAD~"]);
    a.assert_harmless(&a.main);
}

#[test]
fn a_pointer_to_another_git_directory() {
    let a = Attack::new();
    let side = a.f.root.join("side");
    a.f.git(&a.main, &["worktree", "add", "--quiet", "-b", "side", side.to_str().unwrap()]);
    // A Git directory that the agent has made in its worktree.
    let fake = side.join("fake");
    let copied = std::process::Command::new("cp").arg("-a").arg(a.main.join(".git")).arg(&fake).status().unwrap();
    assert!(copied.success());
    let (_, common) = a.f.git_dirs(&side);
    write(&side, ".git", format!("gitdir: {}\n", fake.display()));
    a.f.git(&side, &["config", "core.bare", "false"]);
    a.f.git(&side, &["config", "core.fsmonitor", a.evil()]);
    a.assert_runs(&side, &["add", "-A"]);
    let request = CaptureRequest {
        git_dir: &common,
        worktree: &side,
        thread: &"side".parse().unwrap(),
        recorded_state: a.f.id(&a.main, "side"),
        message: "",
        trailers: &[],
        allowed_filters: &[],
        cancelled: &AtomicBool::new(false),
    };
    let refused = a.f.repo.prepare_capture(&request);
    assert!(matches!(&refused, Err(Error::WorktreeNotFound { path }) if *path == side), "{refused:?}");
    // Nor does it help to replace the worktree by a link to where one's own is.
    std::fs::rename(&side, a.f.root.join("away")).unwrap();
    symlink(&a.main, &side).unwrap();
    assert!(matches!(a.f.repo.prepare_capture(&request), Err(Error::WorktreeNotFound { .. })));
    a.assert_ran_nothing();
}

#[test]
fn a_worktree_that_is_said_to_be_elsewhere() {
    let a = Attack::new();
    let secret = a.f.root.join("home/.ssh");
    write(&secret, "id", "secret");
    let (_, common) = a.f.git_dirs(&a.main);
    a.f.git(&a.main, &["config", "core.worktree", secret.to_str().unwrap()]);
    assert!(a.f.git(&a.main, &["status", "--porcelain"]).contains("?? id"), "Git looks there");
    for worktree in [&secret, &a.main] {
        let request = CaptureRequest {
            git_dir: &common,
            worktree,
            thread: &"main".parse().unwrap(),
            recorded_state: a.f.branch(&a.main, "main").unwrap(),
            message: "",
            trailers: &[],
            allowed_filters: &[],
            cancelled: &AtomicBool::new(false),
        };
        let refused = a.f.repo.prepare_capture(&request);
        assert!(matches!(refused, Err(Error::WorktreeNotFound { .. })), "{refused:?}");
    }
    // The same by the record of a linked worktree.
    a.f.git(&a.main, &["config", "--unset", "core.worktree"]);
    let side = a.f.root.join("side");
    a.f.git(&a.main, &["worktree", "add", "--quiet", "-b", "side", side.to_str().unwrap()]);
    write(&common, "worktrees/side/gitdir", format!("{}\n", secret.join(".git").display()));
    let request = CaptureRequest {
        git_dir: &common,
        worktree: &secret,
        thread: &"side".parse().unwrap(),
        recorded_state: a.f.branch(&a.main, "side").unwrap(),
        message: "",
        trailers: &[],
        allowed_filters: &[],
        cancelled: &AtomicBool::new(false),
    };
    assert!(matches!(a.f.repo.prepare_capture(&request), Err(Error::WorktreeNotFound { .. })));
}

#[test]
fn the_configuration_of_repositories_within() {
    let a = Attack::new();
    let inner = a.f.init("inner", &[]);
    a.f.git(&a.main, &["clone", "--quiet", inner.to_str().unwrap(), "embedded"]);
    a.f.git(&a.main, &["add", "-A"]);
    a.f.git(&a.main, &["commit", "--quiet", "-m", "embedded"]);
    let embedded = a.main.join("embedded");
    // The file has to look changed for its filter to run.
    let look_changed = || {
        std::fs::rename(embedded.join("file"), embedded.join("moved")).unwrap();
        std::fs::copy(embedded.join("moved"), embedded.join("file")).unwrap();
    };
    write(&embedded, ".git/info/attributes", "file filter=evil\n");
    for key in ["core.fsmonitor", "filter.evil.clean", "filter.evil.process"] {
        a.f.git(&embedded, &["config", key, a.evil()]);
        look_changed();
        a.assert_runs(&a.main, &["add", "-A"]);
        look_changed();
        a.assert_harmless(&a.main);
        // One that is not known yet, which is added by the first try and must not be looked into by a second.
        let other = format!("new {key}");
        a.f.git(&a.main, &["clone", "--quiet", embedded.to_str().unwrap(), &other]);
        a.f.git(&a.main.join(&other), &["config", key, a.evil()]);
        a.assert_harmless(&a.main);
        a.f.git(&embedded, &["config", "--unset", key]);
    }
    // One that a sparse checkout leaves out, and that is there all the same.
    a.f.git(&a.main, &["config", "core.sparseCheckout", "true"]);
    write(&a.main, ".git/info/sparse-checkout", "/*\n!/embedded/\n");
    a.f.git(&embedded, &["config", "filter.evil.clean", a.evil()]);
    let hide = || {
        look_changed();
        a.f.git(&a.main, &["update-index", "--skip-worktree", "embedded"]);
    };
    hide();
    a.assert_runs(&a.main, &["add", "-A"]);
    hide();
    a.assert_harmless(&a.main);
}

#[test]
fn programs_in_the_worktree_are_not_found() {
    let a = Attack::new();
    for name in ["git", "git-lfs", "sh"] {
        write(&a.main, &format!("bin/{name}"), "");
        std::fs::copy(&a.evil, a.main.join("bin").join(name)).unwrap();
    }
    // The user's settings are read without a worktree; they are read before, and kept.
    let mut path = a.main.join("bin").into_os_string();
    symlink(a.main.join("bin"), a.f.root.join("link")).unwrap();
    path.push(format!(":{}:.:bin:", a.f.root.join("link").display()));
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let environment = Environment { path, home: Some(a.f.root.join("home")), xdg_config_home: None };
    let repo = GitRepo::new(environment, Arc::new(wall_time)).with_workplace(a.f.root.join("captures"));
    write(&a.main, ".gitattributes", "x.big filter=lfs\n");
    write(&a.main, "x.big", "content");
    a.f.git(&a.f.root, &["config", "--global", "filter.lfs.clean", "git-lfs clean || cat"]);
    let ((_, common), thread) = (a.f.git_dirs(&a.main), a.f.thread_of(&a.main));
    let request = CaptureRequest {
        git_dir: &common,
        worktree: &a.main,
        thread: &thread,
        recorded_state: a.f.id(&a.main, "HEAD"),
        message: "",
        trailers: &[],
        allowed_filters: &[],
        cancelled: &AtomicBool::new(false),
    };
    let prepared = repo.prepare_capture(&request);
    assert!(matches!(prepared, Ok(Capture::Prepared { .. })), "{prepared:?}");
    a.assert_ran_nothing();
}

/// The agent swaps a folder for a link while Git reads the worktree. A filter of the user's own stands for the moment.
#[test]
fn a_folder_that_becomes_a_link_while_it_is_read() {
    for swaps_back in [false, true] {
        let a = Attack::new();
        let (outside, f) = (a.f.root.join("outside"), &a.f);
        write(&outside, "key", "secret");
        write(&a.main, "m/key", "public");
        write(&a.main, ".gitattributes", "*.slow filter=slow\n");
        write(&a.main, "a.slow", "first");
        write(&a.main, "z.slow", "last");
        let script = f.root.join("slow");
        let swap = format!("mv m away && ln -s {} m", outside.display());
        let back = if swaps_back { "rm m && mv away m" } else { "true" };
        // Each happens once.
        let once = |file: &str, command: &str| {
            format!("if [ $1 = {file} ] && mkdir $0.{file} 2>/dev/null; then {command}; fi >/dev/null\n")
        };
        write(&f.root, "slow", ["#!/bin/sh\n", &once("a.slow", &swap), &once("z.slow", back), "cat\n"].concat());
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        f.git(&f.root, &["config", "--global", "filter.slow.clean", &format!("{} %f", script.display())]);
        let reset = || {
            for name in ["slow.a.slow", "slow.z.slow"] {
                std::fs::remove_dir(f.root.join(name)).unwrap();
            }
            if !swaps_back {
                std::fs::remove_file(a.main.join("m")).unwrap();
                std::fs::rename(a.main.join("away"), a.main.join("m")).unwrap();
            }
        };

        let oracle = f.root.join("oracle-index");
        std::fs::copy(a.main.join(".git/index"), &oracle).unwrap();
        let secret = f.git(&a.main, &["hash-object", outside.join("key").to_str().unwrap()]);
        f.with_index(&a.main, &oracle, &["add", "-A"]);
        assert_eq!(f.with_index(&a.main, &oracle, &["rev-parse", ":m/key"]), secret, "plain Git stores the secret");
        let object = a.main.join(".git/objects").join(&secret[..2]).join(&secret[2..]);
        std::fs::remove_file(&object).unwrap();
        reset();

        let captured = f.prepare_with(&a.main, &["slow".to_owned()]).unwrap();
        let Capture::Prepared { prepared, .. } = captured else { panic!("nothing") };
        f.finish(&f.repo, &a.main, &prepared);
        assert!(f.root.join("slow.z.slow").exists(), "both moments came");
        assert!(!object.exists(), "the secret is not in the repository");
        let kind = f.git(&a.main, &["ls-tree", "HEAD", "m"]);
        assert_eq!(kind.starts_with("120000"), !swaps_back, "{kind}");
        f.assert_sound(&a.main);
    }
}

#[test]
fn a_file_that_is_never_read_to_its_end_is_given_up() {
    let a = Attack::new();
    nix::unistd::mkfifo(&a.main.join(".gitignore"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let ((_, common), thread) = (a.f.git_dirs(&a.main), a.f.thread_of(&a.main));
    let (cancelled, state) = (AtomicBool::new(false), a.f.id(&a.main, "HEAD"));
    let request = CaptureRequest {
        git_dir: &common,
        worktree: &a.main,
        thread: &thread,
        recorded_state: state,
        message: LOG,
        trailers: &[],
        allowed_filters: &[],
        cancelled: &cancelled,
    };
    std::thread::scope(|scope| {
        let capture = scope.spawn(|| a.f.repo.prepare_capture(&request));
        // It has begun when the lock is there.
        while !a.main.join(".git/index.lock").exists() {
            std::thread::yield_now();
        }
        cancelled.store(true, Ordering::Release);
        let refused = capture.join().unwrap();
        assert!(matches!(refused, Err(Error::Capture(CaptureRefused::Cancelled))), "{refused:?}");
    });
    a.f.assert_clear(&a.main);
}
