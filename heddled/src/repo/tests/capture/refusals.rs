//! What is refused, naming why, with everything left as it was; and who a worktree's state belongs to.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use proto_schema::ObjectId;

use super::super::fixture::{Fixture, thread};
use super::write;
use crate::repo::{Capture, CaptureRefused, CaptureRequest, Cause, Error, Expected, GitOperation, Repo as _};

impl Fixture {
    /// A capture for the holder of a thread who recorded a state.
    fn prepare_as(&self, worktree: &Path, name: &str, recorded_state: ObjectId) -> Result<Capture, Error> {
        let (_, common) = self.git_dirs(worktree);
        self.repo.prepare_capture(&CaptureRequest {
            git_dir: &common,
            worktree,
            thread: &thread(name),
            recorded_state,
            message: "mine",
            trailers: &[],
            allowed_filters: &[],
            cancelled: &AtomicBool::new(false),
        })
    }

    /// Captures on `main`, expecting a refusal that changes nothing.
    fn refused(&self, worktree: &Path) -> CaptureRefused {
        let look = || (self.git(worktree, &["status", "--porcelain=2"]), self.branch(worktree, "main"));
        let before = look();
        let refused = self.prepare_as(worktree, "main", self.branch(worktree, "main").unwrap());
        assert_eq!(look(), before, "nothing was changed");
        let (private, _) = self.git_dirs(worktree);
        assert!(!private.join("heddle-index").exists());
        match refused {
            Err(Error::Capture(refused)) => refused,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_worktree_that_is_not_on_the_thread() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    write(&main, "work", "");
    f.git(&main, &["switch", "--quiet", "-c", "other/branch"]);
    assert_eq!(f.refused(&main), CaptureRefused::OtherThread { current: Some("other/branch".to_owned()) });
    f.git(&main, &["switch", "--quiet", "--detach"]);
    assert_eq!(f.refused(&main), CaptureRefused::OtherThread { current: None });
}

#[test]
fn an_operation_under_way_and_conflicts() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    f.git(&main, &["switch", "--quiet", "-c", "side"]);
    f.commit(&main, "side");
    f.git(&main, &["switch", "--quiet", "main"]);
    f.commit(&main, "main");
    let cases: [(&[&str], &[&str], GitOperation); 4] = [
        (&["merge", "side"], &["merge", "--abort"], GitOperation::Merge),
        (&["cherry-pick", "side"], &["cherry-pick", "--abort"], GitOperation::CherryPick),
        (&["revert", "--no-edit", "side"], &["revert", "--abort"], GitOperation::Revert),
        (&["rebase", "side"], &["rebase", "--abort"], GitOperation::Rebase),
    ];
    for (begin, end, operation) in cases {
        assert!(!f.run(&main, begin).status.success(), "{begin:?} stops at the conflict");
        assert_eq!(f.refused(&main), CaptureRefused::IndexConflicted { paths: vec![PathBuf::from("file")] });
        // Resolved, it is still under way.
        f.git(&main, &["add", "file"]);
        assert_eq!(f.refused(&main), CaptureRefused::OperationInProgress { operation });
        f.git(&main, end);
    }
    f.git(&main, &["bisect", "start"]);
    assert_eq!(f.refused(&main), CaptureRefused::OperationInProgress { operation: GitOperation::Bisect });
    f.git(&main, &["bisect", "reset"]);
    write(&main, "work", "");
    f.capture(&main);
}

#[test]
fn a_state_that_the_worktree_is_not_based_on() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let one = f.id(&main, "HEAD");
    // The agent's own commit: the worktree's HEAD reflog ends there.
    let two = f.commit(&main, "two");
    write(&main, "work", "");
    assert!(
        matches!(f.prepare_as(&main, "main", one), Ok(Capture::Prepared { prepared, .. }) if prepared.parent == two)
    );
    f.undo_all(&main, two);

    // Another's: the branch was moved from elsewhere, and this worktree would undo it.
    let three = f.git(&main, &["commit-tree", "-p", "HEAD", "-m", "three", "HEAD^{tree}"]).parse().unwrap();
    let common = main.join(".git");
    f.repo.compare_and_swap(&common, &thread("main"), Expected::At(two), three, "by another").unwrap();
    for recorded in [one, two] {
        match f.prepare_as(&main, "main", recorded) {
            Err(Error::Conflict { expected, actual }) => assert_eq!((expected, actual), (Some(recorded), Some(three))),
            other => panic!("{other:?}"),
        }
    }
    // Who has recorded it himself is based on it.
    assert!(matches!(f.prepare_as(&main, "main", three), Ok(Capture::Prepared { .. })));
    f.undo_all(&main, three);
    assert!(f.branch(&main, "main") == Some(three) && f.branch(&main, "none").is_none());
    assert!(matches!(f.prepare_as(&main, "none", three), Err(Error::Conflict { actual: None, .. })));
}

impl Fixture {
    fn undo_all(&self, worktree: &Path, parent: ObjectId) {
        let (private, common) = self.git_dirs(worktree);
        let prepared = crate::repo::PreparedCapture { worktree_git_dir: private, parent, new: parent };
        self.repo.undo_capture(&common, &prepared).unwrap();
        self.assert_clear(worktree);
    }
}

#[test]
fn a_lock_of_anothers_is_waited_for_and_then_named() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    write(&main, "work", "");
    let lock = main.join(".git/index.lock");
    std::fs::write(&lock, "").unwrap();
    // Given back in time, it does no harm.
    std::thread::scope(|scope| {
        let capture = scope.spawn(|| f.prepare_as(&main, "main", f.id(&main, "HEAD")));
        // A try leaves a trace for a moment: by then the capture is waiting.
        while !main.join(".git/heddle-index").exists() {
            std::thread::yield_now();
        }
        std::fs::remove_file(&lock).unwrap();
        assert!(matches!(capture.join().unwrap(), Ok(Capture::Prepared { .. })));
    });
    // The capture itself is such a lock, to Git and to another capture.
    assert!(!f.run(&main, &["add", "-A"]).status.success());
    match f.prepare_as(&main, "main", f.id(&main, "HEAD")) {
        Err(Error::Capture(refused)) => assert_eq!(refused, CaptureRefused::WorktreeBusy { lock }),
        other => panic!("{other:?}"),
    }
    f.undo_all(&main, f.id(&main, "HEAD"));
}

#[test]
fn nobody_to_commit_as() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    write(&main, "work", "");
    f.git(&f.root, &["config", "--global", "user.useConfigOnly", "true"]);
    f.git(&f.root, &["config", "--global", "--unset", "user.email"]);
    assert_eq!(f.refused(&main), CaptureRefused::IdentityMissing);
    assert!(!f.run(&main, &["commit", "--allow-empty", "-m", "x"]).status.success(), "Git refuses it, too");
    f.git(&main, &["config", "user.email", "local@example.org"]);
    f.git(&main, &["config", "user.name", " <> "]);
    assert_eq!(f.refused(&main), CaptureRefused::IdentityMissing);
    f.git(&main, &["config", "--unset", "user.name"]);
    f.capture(&main);
    assert_eq!(f.git(&main, &["show", "-s", "--format=%an <%ae>"]), "Ada <local@example.org>");
}

#[test]
fn commits_are_signed_with_the_users_program_or_not_made() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let key = f.root.join("home/key");
    let made =
        std::process::Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    std::fs::write(f.root.join("home/signers"), format!("ada@example.org {public}")).unwrap();
    for (name, value) in
        [("gpg.format", "ssh"), ("user.signingKey", key.to_str().unwrap()), ("gpg.ssh.allowedSignersFile", "~/signers")]
    {
        f.git(&f.root, &["config", "--global", name, value]);
    }
    f.git(&main, &["config", "commit.gpgsign", "true"]);
    write(&main, "work", "");
    f.capture(&main);
    assert_eq!(f.git(&main, &["show", "-s", "--format=%G? %an %s"]), "G Ada all of it");
    f.assert_sound(&main);
    f.git(&f.root, &["config", "--global", "user.signingKey", "/none"]);
    write(&main, "work", "more");
    assert!(matches!(f.refused(&main), CaptureRefused::SigningRefused { reason } if reason.contains("/none")));
}

/// A commit that lacks something would break the branch for everybody.
#[test]
fn an_index_that_names_what_is_not_there() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let missing = "1".repeat(40);
    f.git(&main, &["update-index", "--add", "--cacheinfo", &format!("100644,{missing},gone")]);
    // Nobody looks whether it is in the worktree.
    f.git(&main, &["update-index", "--assume-unchanged", "gone"]);
    f.git(&main, &["update-index", "--skip-worktree", "gone"]);
    write(&main, "work", "");
    let refused = f.prepare(&main);
    assert!(matches!(refused, Err(Error::Unavailable { cause: Cause::Missing { .. }, .. })), "{refused:?}");
    f.assert_clear(&main);
}
