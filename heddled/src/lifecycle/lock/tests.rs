//! Tests of the lock, on real files.

use std::os::unix::fs::symlink;

use super::*;

fn acquire(state: &Path) -> Result<Lock, LockError> {
    Lock::acquire(state, Path::new("/run/x.sock"), Timestamp::from_unix_ms(7))
}

#[test]
fn one_daemon_has_it_and_the_second_is_told_who() {
    let state = tempfile::tempdir().unwrap();
    let lock = acquire(state.path()).unwrap();
    assert_eq!(std::fs::metadata(lock_path(state.path())).unwrap().mode() & 0o7777, 0o600);
    let pid = std::process::id();
    assert_eq!(
        std::fs::read_to_string(lock_path(state.path())).unwrap(),
        format!("{{\"pid\":{pid},\"socket\":\"/run/x.sock\",\"started_at\":\"1970-01-01T00:00:00.007Z\"}}\n")
    );
    assert_eq!(LockRecord::read(state.path()).map(|record| record.pid), Some(pid));
    let message = acquire(state.path()).unwrap_err().to_string();
    assert_eq!(
        message,
        format!("another heddled is running (pid {pid}, socket /run/x.sock); stop it with `heddlectl daemon stop`")
    );
    let clone = lock.clone();
    drop(lock);
    assert!(matches!(acquire(state.path()), Err(LockError::Held(Some(_)))), "K1: a clone holds it");
    drop(clone);
    assert_eq!(LockRecord::read(state.path()), None, "the record ends with the lock");
    drop(acquire(state.path()).unwrap());
    assert!(lock_path(state.path()).exists(), "the file stays");
}

#[test]
fn a_stale_longer_record_and_a_wide_mode_are_replaced() {
    let state = tempfile::tempdir().unwrap();
    let path = lock_path(state.path());
    std::fs::write(&path, "x".repeat(20_000)).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    let lock = acquire(state.path()).unwrap();
    assert!(LockRecord::read(state.path()).is_some());
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert!(std::fs::metadata(&path).unwrap().len() < 200, "nothing of the old record is left");
    drop(lock);
}

#[test]
fn a_held_lock_without_a_record_says_so() {
    let state = tempfile::tempdir().unwrap();
    let lock = acquire(state.path()).unwrap();
    for content in ["", "{\"pid\":1", "nonsense\n"] {
        std::fs::write(lock_path(state.path()), content).unwrap();
        let error = acquire(state.path()).unwrap_err();
        assert!(matches!(error, LockError::Held(None)), "{content:?}");
        assert!(error.to_string().contains("heddlectl daemon stop"));
    }
    drop(lock);
}

#[test]
fn what_is_no_file_of_ours_is_refused_and_left_there() {
    let state = tempfile::tempdir().unwrap();
    let (path, target) = (lock_path(state.path()), state.path().join("target"));
    symlink(&target, &path).unwrap();
    assert!(matches!(acquire(state.path()), Err(LockError::Foreign { .. })), "F2");
    assert!(!target.exists(), "nothing was made through the link");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(acquire(state.path()), Err(LockError::Foreign { .. })), "F2");
    std::fs::remove_dir(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(acquire(state.path()), Err(LockError::Foreign { .. })), "F2: a pipe, without waiting");
    assert!(matches!(acquire(&state.path().join("none")), Err(LockError::Io { .. })));
}

#[test]
fn a_file_that_the_path_no_longer_names_is_not_the_lock() {
    let state = tempfile::tempdir().unwrap();
    let path = lock_path(state.path());
    let file = open(&path).unwrap();
    assert!(is_named(&file, &path));
    std::fs::remove_file(&path).unwrap();
    assert!(!is_named(&file, &path), "K2: removed");
    std::fs::write(&path, "").unwrap();
    assert!(!is_named(&file, &path), "K2: replaced");
}
