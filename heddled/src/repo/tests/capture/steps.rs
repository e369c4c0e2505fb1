//! A capture that is cut off between any two of its steps is finished or undone by what the ref says, and leaves nothing.

use std::path::{Path, PathBuf};

use super::super::fixture::Fixture;
use super::{LOG, write};
use crate::repo::files::seam;
use crate::repo::{Capture, Expected, PreparedCapture, Repo as _};

/// A worktree with work, and a capture of it that is prepared and then forgotten by a daemon that died.
struct CutOff {
    f: Fixture,
    worktree: PathBuf,
    common: PathBuf,
    prepared: PreparedCapture,
}

impl CutOff {
    fn new() -> Self {
        let f = Fixture::new();
        let main = f.init("main", &[]);
        let worktree = f.root.join("side");
        f.git(&main, &["worktree", "add", "--quiet", "-b", "side", worktree.to_str().unwrap()]);
        write(&worktree, "work", "work");
        write(&worktree, "file", "changed");
        let Capture::Prepared { prepared, .. } = f.prepare(&worktree).unwrap() else { panic!("nothing") };
        let (_, common) = f.git_dirs(&worktree);
        Self { f, worktree, common, prepared }
    }

    fn private(&self) -> &Path {
        &self.prepared.worktree_git_dir
    }

    fn swap(&self) {
        let expected = Expected::At(self.prepared.parent);
        let thread = self.f.thread_of(&self.worktree);
        self.f.fresh().compare_and_swap(&self.common, &thread, expected, self.prepared.new, LOG).unwrap();
    }

    /// What the next daemon does, twice: it may die itself.
    fn recover(&self) -> bool {
        let thread = self.f.thread_of(&self.worktree);
        let recover = || self.f.fresh().recover_capture(&self.common, &thread, &self.prepared, LOG).unwrap();
        let finished = recover();
        assert_eq!(recover(), finished);
        finished
    }

    fn status(&self) -> String {
        self.f.git(&self.worktree, &["status", "--porcelain"])
    }

    fn assert_finished(&self) {
        self.f.assert_clear(&self.worktree);
        assert_eq!(self.status(), "");
        assert_eq!(self.f.id(&self.worktree, "HEAD"), self.prepared.new);
        let log = self.f.git(&self.worktree, &["reflog", "show", "--format=%H", "HEAD"]);
        let entries = log.lines().filter(|id| *id == self.prepared.new.to_string()).count();
        assert_eq!(entries, 1, "the HEAD reflog has it once: {log}");
        self.f.assert_sound(&self.worktree);
    }

    fn assert_undone(&self) {
        self.f.assert_clear(&self.worktree);
        assert_eq!(self.status(), "M file\n?? work", "the index is as it was");
        assert_eq!(self.f.id(&self.worktree, "HEAD"), self.prepared.parent);
        // And the work can be captured.
        self.f.capture_by(&self.f.fresh(), &self.worktree);
        assert_eq!(self.status(), "");
    }
}

impl Fixture {
    fn capture_by(&self, repo: &crate::repo::GitRepo, worktree: &Path) {
        let ((_, common), thread) = (self.git_dirs(worktree), self.thread_of(worktree));
        let request = crate::repo::CaptureRequest {
            git_dir: &common,
            worktree,
            thread: &thread,
            recorded_state: self.id(worktree, "HEAD"),
            message: "again",
            trailers: &[],
            allowed_filters: &[],
            cancelled: &std::sync::atomic::AtomicBool::new(false),
        };
        let Capture::Prepared { prepared, .. } = repo.prepare_capture(&request).unwrap() else { panic!("nothing") };
        self.finish(repo, worktree, &prepared);
    }
}

#[test]
fn the_index_is_locked_until_the_capture_ends() {
    let c = CutOff::new();
    assert_eq!(c.status(), "M file\n?? work");
    assert!(!c.f.run(&c.worktree, &["add", "-A"]).status.success(), "nobody else writes the index");
    c.f.repo.undo_capture(&c.common, &c.prepared).unwrap();
    c.assert_undone();
}

#[test]
fn before_anything_was_recorded() {
    let c = CutOff::new();
    // Nobody knows of it but by the lock itself; the next capture recognises it.
    c.f.capture_by(&c.f.fresh(), &c.worktree);
    c.f.assert_clear(&c.worktree);
    assert_eq!(c.status(), "");

    // Also when only the beginning of it was written.
    let c = CutOff::new();
    std::fs::write(c.private().join("index.lock"), "DIRC").unwrap();
    c.f.capture_by(&c.f.fresh(), &c.worktree);
    assert_eq!(c.status(), "");
    // Or not even the lock was taken.
    std::fs::write(c.private().join("heddle-index"), "").unwrap();
    write(&c.worktree, "work", "more");
    c.f.capture_by(&c.f.fresh(), &c.worktree);
    c.f.assert_clear(&c.worktree);
}

#[test]
fn before_the_ref_was_moved() {
    let c = CutOff::new();
    assert!(!c.recover());
    c.assert_undone();
    // The lock may have been removed already.
    let c = CutOff::new();
    std::fs::remove_file(c.private().join("index.lock")).unwrap();
    assert!(!c.recover());
    write(&c.worktree, "work", "work");
    c.assert_undone();
}

#[test]
fn after_the_ref_was_moved() {
    let c = CutOff::new();
    c.swap();
    assert!(c.recover());
    c.assert_finished();

    // The entry of the reflog was written.
    let c = CutOff::new();
    c.swap();
    let line = format!("{} {} A <a@b> 1 +0000\t{LOG}\n", c.prepared.parent, c.prepared.new);
    let log = c.private().join("logs/HEAD");
    std::fs::write(&log, [std::fs::read(&log).unwrap(), line.into_bytes()].concat()).unwrap();
    assert!(c.recover());
    c.assert_finished();

    // The index was renamed.
    let c = CutOff::new();
    c.swap();
    std::fs::rename(c.private().join("index.lock"), c.private().join("index")).unwrap();
    assert!(c.recover());
    c.assert_finished();
}

#[test]
fn a_lock_of_anothers_is_never_removed() {
    let c = CutOff::new();
    for moved in [false, true] {
        let lock = c.private().join("index.lock");
        std::fs::remove_file(&lock).unwrap();
        std::fs::write(&lock, "Git's").unwrap();
        let index = std::fs::read(c.private().join("index")).unwrap();
        if moved {
            c.swap();
        }
        assert_eq!(c.recover(), moved);
        assert_eq!(std::fs::read_to_string(&lock).unwrap(), "Git's");
        assert_eq!(std::fs::read(c.private().join("index")).unwrap(), index);
    }
}

/// Git tells by the index's own time which files may have changed in the moment after it had looked at them.
#[test]
fn the_index_has_the_time_at_which_git_wrote_it() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    // Commits are signed after Git has written the index, and before the daemon copies it.
    let signed = f.root.join("signed");
    let program = f.root.join("sign");
    let script = format!(
        "#!/bin/sh\ncat > {}\nprintf '\\n[GNUPG:] SIG_CREATED \\n' >&2\n\
         printf -- '-----BEGIN PGP SIGNATURE-----\\n\\nx\\n-----END PGP SIGNATURE-----\\n'\n",
        signed.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    f.git(&f.root, &["config", "--global", "gpg.program", program.to_str().unwrap()]);
    f.git(&f.root, &["config", "--global", "commit.gpgSign", "true"]);
    write(&main, "work", "work");
    f.capture(&main);
    let time = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
    assert!(time(&main.join(".git/index")) < time(&signed));
}

/// G2, for what a capture leads to: also what somebody else had stored a moment before, and did not sync.
#[test]
fn what_is_prepared_and_what_is_finished_is_on_disk() {
    use std::os::unix::fs::MetadataExt as _;
    let f = Fixture::new();
    let main = f.init("main", &[]);
    write(&main, "a/b", "new");
    write(&main, "stored before", "by Git");
    f.git(&main, &["hash-object", "-w", "stored before"]);
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    seam::take();
    let Capture::Prepared { prepared, .. } = f.prepare(&main).unwrap() else { panic!("nothing") };
    let synced = seam::take();
    let objects = f.git(&main, &["rev-list", "--objects", &prepared.new.to_string()]);
    assert_eq!(objects.lines().count(), 8, "two commits, three trees, three files");
    for id in objects.lines().map(|line| &line[..40]) {
        let path = main.join(".git/objects").join(&id[..2]).join(&id[2..]);
        assert!(synced.contains(&inode(&path)), "{id} is synced");
        assert!(synced.contains(&inode(path.parent().unwrap())), "and its name");
    }
    assert!(synced.contains(&inode(&main.join(".git/index.lock"))) && synced.contains(&inode(&main.join(".git"))));
    f.finish(&f.repo, &main, &prepared);
    let synced = seam::take();
    for name in ["logs/HEAD", ".", "refs/heads/main"] {
        assert!(synced.contains(&inode(&main.join(".git").join(name))), "{name} is synced");
    }
}
