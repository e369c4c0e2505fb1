//! One registry for a repository.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Barrier;

use nix::fcntl::{Flock, FlockArg};

use super::fixture::Fixture;
use crate::repo::{Claim, Error, Repo as _};

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
        f.repo.claim(&git_dir, &ours).unwrap();
    }
    let content = std::fs::read_to_string(git_dir.join("heddle-registry")).unwrap();
    assert_eq!(content, format!("id-1\n{}\n", f.root.join("one").display()));
    for repo in [&f.repo, &f.fresh()] {
        match repo.claim(&git_dir, &other) {
            Err(Error::Owned { state_dir }) => assert_eq!(state_dir, ours.state_dir),
            unexpected => panic!("{unexpected:?}"),
        }
    }
    f.repo.claim(&git_dir, &ours).unwrap();
    let left = std::fs::read_dir(&git_dir)
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("heddle-registry"));
    assert_eq!(left.count(), 1, "nothing is left beside it");

    // Removed with the repository open: written again, then noticed when another takes its place.
    std::fs::remove_file(git_dir.join("heddle-registry")).unwrap();
    f.fresh().claim(&git_dir, &other).unwrap();
    assert!(matches!(f.repo.claim(&git_dir, &ours), Err(Error::Owned { .. })));
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
                    usize::from(f.fresh().claim(git_dir, &claim).is_ok())
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
    f.repo.claim(&git_dir, &first).unwrap();
    let lock = std::fs::File::create(first.state_dir.join("heddled.lock")).unwrap();
    let running = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error).unwrap();
    assert!(matches!(f.repo.adopt(&git_dir, &second), Err(Error::Owned { .. })));
    f.repo.claim(&git_dir, &first).unwrap();
    drop(running);
    f.repo.adopt(&git_dir, &second).unwrap();
    f.repo.claim(&git_dir, &second).unwrap();
    assert!(matches!(f.repo.claim(&git_dir, &first), Err(Error::Owned { .. })));
    // The state directory is gone altogether.
    std::fs::remove_dir_all(&second.state_dir).unwrap();
    f.repo.adopt(&git_dir, &first).unwrap();
    f.repo.adopt(&git_dir, &first).unwrap();
    f.repo.claim(&git_dir, &first).unwrap();
}

#[test]
fn a_copied_state_directory_is_not_the_same_registry_while_both_run() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let (original, copy) = (registry("id-1", &f.root.join("one")), registry("id-1", &f.root.join("two")));
    f.repo.claim(&git_dir, &original).unwrap();
    let lock = std::fs::File::create(original.state_dir.join("heddled.lock")).unwrap();
    let running = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error).unwrap();
    assert!(matches!(f.repo.claim(&git_dir, &copy), Err(Error::Owned { .. })));
    drop(running);
    f.repo.claim(&git_dir, &copy).unwrap();
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
        for result in [f.repo.claim(&git_dir, &ours), f.repo.adopt(&git_dir, &ours)] {
            assert!(matches!(result, Err(Error::Unavailable { .. })), "{result:?}");
        }
        std::fs::remove_file(&marker).unwrap();
    }
    std::fs::create_dir(&marker).unwrap();
    assert!(matches!(f.repo.claim(&git_dir, &ours), Err(Error::Unavailable { .. })));
    std::fs::remove_dir(&marker).unwrap();
    for content in ["", "id-1", "id-1\n", "\n/state\n", "id-1\nrelative\n"] {
        std::fs::write(&marker, content).unwrap();
        assert!(matches!(f.repo.claim(&git_dir, &ours), Err(Error::Unavailable { .. })), "{content:?}");
    }
}
