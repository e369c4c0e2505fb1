//! One registry for a repository.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Barrier;

use nix::fcntl::{Flock, FlockArg};

use super::fixture::Fixture;
use crate::repo::{Cause, Claim, Error, Repo as _};

fn registry(id: &str, state_dir: &Path) -> Claim {
    std::fs::create_dir_all(state_dir).unwrap();
    Claim { id: id.into(), state_dir: state_dir.to_owned() }
}

#[test]
fn the_first_registry_owns_the_repository() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let (ours, other) = (registry("id-1", &f.root.join("one")), registry("id-2", &f.root.join("two")));
    for _ in 0..3 {
        f.repo.claim(&git_dir, &ours, 0).unwrap();
    }
    let content = std::fs::read_to_string(git_dir.join("heddle-registry")).unwrap();
    assert_eq!(content, format!("id-1\n{}\n", f.root.join("one").display()));
    for repo in [&f.repo, &f.fresh()] {
        match repo.claim(&git_dir, &other, 0) {
            Err(Error::Owned { state_dir }) => assert_eq!(state_dir, ours.state_dir),
            unexpected => panic!("{unexpected:?}"),
        }
    }
    f.repo.claim(&git_dir, &ours, 0).unwrap();
    let left = std::fs::read_dir(&git_dir)
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("heddle-registry"));
    assert_eq!(left.count(), 1, "nothing is left beside it");

    // Removed with the repository open: written again, then noticed when another takes its place.
    std::fs::remove_file(git_dir.join("heddle-registry")).unwrap();
    f.fresh().claim(&git_dir, &other, 0).unwrap();
    assert!(matches!(f.repo.claim(&git_dir, &ours, 0), Err(Error::Owned { .. })));
}

#[test]
fn of_many_registries_one_wins() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let barrier = Barrier::new(8);
    let won: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|number| {
                let (f, git_dir, barrier) = (&f, &git_dir, &barrier);
                scope.spawn(move || {
                    let claim = registry(&format!("id-{number}"), &f.root.join(format!("state-{number}")));
                    barrier.wait();
                    usize::from(f.fresh().claim(git_dir, &claim, 0).is_ok())
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(won, 1);
}

#[test]
fn it_is_taken_over_only_when_no_daemon_runs_there() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let (first, second) = (registry("id-1", &f.root.join("one")), registry("id-2", &f.root.join("two")));
    f.repo.claim(&git_dir, &first, 0).unwrap();
    let lock = std::fs::File::create(first.state_dir.join("heddled.lock")).unwrap();
    let running = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error).unwrap();
    assert!(matches!(f.repo.adopt(&git_dir, &second, 0), Err(Error::Owned { .. })));
    f.repo.claim(&git_dir, &first, 0).unwrap();
    drop(running);
    f.repo.adopt(&git_dir, &second, 1).unwrap();
    f.repo.claim(&git_dir, &second, 1).unwrap();
    assert!(matches!(f.repo.claim(&git_dir, &first, 0), Err(Error::Owned { .. })));
    // The state directory is gone altogether.
    std::fs::remove_dir_all(&second.state_dir).unwrap();
    f.repo.adopt(&git_dir, &first, 2).unwrap();
    f.repo.adopt(&git_dir, &first, 2).unwrap();
    f.repo.claim(&git_dir, &first, 2).unwrap();
}

/// Of two registries that owned a repository one after the other, the later one's fencing tokens are the higher ones.
#[test]
fn the_marker_says_the_era_of_its_owners_tokens() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let (first, second) = (registry("id-1", &f.root.join("one")), registry("id-2", &f.root.join("two")));
    assert_eq!(f.repo.next_era(&git_dir, &first).unwrap(), 0, "nobody was here");
    f.repo.claim(&git_dir, &first, 0).unwrap();
    assert_eq!(f.repo.next_era(&git_dir, &first).unwrap(), 0);
    assert_eq!(f.repo.next_era(&git_dir, &second).unwrap(), 1);
    f.repo.claim(&git_dir, &first, 4).unwrap();
    assert_eq!(f.fresh().next_era(&git_dir, &second).unwrap(), 5, "its owner took another repository over");
    assert!(f.repo.adopt(&git_dir, &second, 4).is_err(), "its tokens would be no higher");
    f.repo.claim(&git_dir, &first, 4).unwrap();
    f.repo.adopt(&git_dir, &second, 5).unwrap();
    let content = std::fs::read_to_string(git_dir.join("heddle-registry")).unwrap();
    assert_eq!(content, format!("id-2 5\n{}\n", f.root.join("two").display()));
    f.repo.claim(&git_dir, &second, 3).unwrap();
    assert_eq!(f.fresh().next_era(&git_dir, &second).unwrap(), 5, "it is never lowered");
}

#[test]
fn who_was_killed_while_it_took_over_is_in_nobodys_way() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let (first, second) = (registry("id-1", &f.root.join("one")), registry("id-2", &f.root.join("two")));
    f.repo.claim(&git_dir, &first, 0).unwrap();
    // Whatever file it made, it has no lock any more.
    for left in ["heddle-registry.lock", &format!("heddle-registry.{}-0", std::process::id()), "heddle-registry.1-0"] {
        std::fs::write(git_dir.join(left), "id").unwrap();
    }
    // The lock is the process's own: while it lives it is waited for, and refused in the end.
    let directory = std::fs::File::open(&git_dir).unwrap();
    let other = Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error).unwrap();
    assert!(matches!(f.repo.adopt(&git_dir, &second, 1), Err(Error::Unavailable { .. })));
    f.repo.claim(&git_dir, &first, 0).unwrap();
    drop(other);
    f.repo.adopt(&git_dir, &second, 1).unwrap();
    f.repo.claim(&git_dir, &second, 1).unwrap();
}

#[test]
fn a_copied_state_directory_is_not_the_same_registry_while_both_run() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let (original, copy) = (registry("id-1", &f.root.join("one")), registry("id-1", &f.root.join("two")));
    f.repo.claim(&git_dir, &original, 0).unwrap();
    let lock = std::fs::File::create(original.state_dir.join("heddled.lock")).unwrap();
    let running = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error).unwrap();
    assert!(matches!(f.repo.claim(&git_dir, &copy, 0), Err(Error::Owned { .. })));
    drop(running);
    f.repo.claim(&git_dir, &copy, 0).unwrap();
    assert!(std::fs::read_to_string(git_dir.join("heddle-registry")).unwrap().contains("two"));
}

#[test]
fn a_marker_that_is_no_plain_file_is_never_followed() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let ours = registry("id-1", &f.root.join("one"));
    let marker = git_dir.join("heddle-registry");
    let outside = f.root.join("outside");
    for content in [None, Some("id-1\n/state\n")] {
        if let Some(content) = content {
            std::fs::write(&outside, content).unwrap();
        }
        symlink(&outside, &marker).unwrap();
        for result in [f.repo.claim(&git_dir, &ours, 0), f.repo.adopt(&git_dir, &ours, 0)] {
            assert!(matches!(result, Err(Error::Unavailable { .. })), "{result:?}");
        }
        std::fs::remove_file(&marker).unwrap();
    }
    std::fs::create_dir(&marker).unwrap();
    assert!(matches!(f.repo.claim(&git_dir, &ours, 0), Err(Error::Unavailable { .. })));
    std::fs::remove_dir(&marker).unwrap();
    for content in ["", "id-1", "id-1\n", "\n/state\n", "id-1\nrelative\n"] {
        std::fs::write(&marker, content).unwrap();
        assert!(matches!(f.repo.claim(&git_dir, &ours, 0), Err(Error::Unavailable { .. })), "{content:?}");
    }
}

#[test]
fn a_registry_that_was_restored_is_told_of_the_era_that_it_does_not_know() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let ours = registry("id-1", &f.root.join("one"));
    f.repo.claim(&git_dir, &ours, 3).unwrap();
    let content = std::fs::read(git_dir.join("heddle-registry")).unwrap();
    for repo in [&f.repo, &f.fresh()] {
        repo.claim(&git_dir, &ours, 3).unwrap();
        let told = f.fresh().claim(&git_dir, &ours, 1);
        assert!(
            matches!(told, Err(Error::Unavailable { cause: Cause::LaterEra { era: 3, elsewhere: false }, .. })),
            "R2: its tokens would repeat: {told:?}"
        );
    }
    assert_eq!(std::fs::read(git_dir.join("heddle-registry")).unwrap(), content);
    f.fresh().claim(&git_dir, &ours, 4).unwrap();
}

#[test]
fn a_registry_without_tokens_left_marks_nothing() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let ours = registry("id-1", &f.root.join("one"));
    assert!(f.repo.claim(&git_dir, &ours, 8192).is_err());
    assert!(!git_dir.join("heddle-registry").exists());
    f.fresh().claim(&git_dir, &registry("id-2", &f.root.join("two")), 8191).unwrap();
}

#[test]
fn a_mark_that_would_use_the_eras_up_is_refused() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let ours = registry("id-1", &f.root.join("one"));
    for era in ["1002", "8191", "8192", "18446744073709551615"] {
        let mark = format!("id-1 {era}\n{}\n", ours.state_dir.display());
        std::fs::write(git_dir.join("heddle-registry"), mark).unwrap();
        let told = f.fresh().claim(&git_dir, &ours, 1);
        assert!(
            matches!(told, Err(Error::Unavailable { cause: Cause::Malformed { .. }, .. })),
            "whoever may write there must not decide that: {era}: {told:?}"
        );
    }
}
