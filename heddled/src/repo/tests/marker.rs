//! One registry for a repository.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Barrier;

use nix::fcntl::{Flock, FlockArg};

use super::fixture::Fixture;
use crate::registry::{MarkKey, RepositoryId};
use crate::repo::{Cause, Claim, Error, Identity, MarkSeen, Repo as _, Surroundings, write_key};

fn registry(id: &str, state_dir: &Path) -> Claim {
    std::fs::create_dir_all(state_dir).unwrap();
    let mut key = [0; 32];
    key[..id.len()].copy_from_slice(id.as_bytes());
    let surroundings = Surroundings { boot: "boot".into(), mounts: 1 };
    Claim { id: id.into(), state_dir: state_dir.to_owned(), key: MarkKey(key), surroundings }
}

#[test]
fn the_first_registry_owns_the_repository() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let (ours, other) = (registry("id-1", &f.root.join("one")), registry("id-2", &f.root.join("two")));
    for _ in 0..3 {
        f.repo.claim(&git_dir, &ours, 0, Identity::New).unwrap();
    }
    let content = std::fs::read_to_string(git_dir.join("heddle-registry")).unwrap();
    assert!(content.starts_with(&format!("id-1 0\n{}\nrepository ", f.root.join("one").display())), "{content}");
    let again = f.fresh().claim(&git_dir, &ours, 0, Identity::New).unwrap();
    assert_eq!(f.repo.locate(&git_dir).unwrap().mark, MarkSeen::Id(again), "the repository keeps its id");
    for repo in [&f.repo, &f.fresh()] {
        match repo.claim(&git_dir, &other, 0, Identity::New) {
            Err(Error::Owned { state_dir }) => assert_eq!(state_dir, ours.state_dir),
            unexpected => panic!("{unexpected:?}"),
        }
    }
    f.repo.claim(&git_dir, &ours, 0, Identity::New).unwrap();
    let left = std::fs::read_dir(&git_dir)
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("heddle-registry"));
    assert_eq!(left.count(), 1, "nothing is left beside it");

    // Removed with the repository open: written again, then noticed when another takes its place.
    std::fs::remove_file(git_dir.join("heddle-registry")).unwrap();
    f.fresh().claim(&git_dir, &other, 0, Identity::New).unwrap();
    assert!(matches!(f.repo.claim(&git_dir, &ours, 0, Identity::New), Err(Error::Owned { .. })));
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
                    usize::from(f.fresh().claim(git_dir, &claim, 0, Identity::New).is_ok())
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
    f.repo.claim(&git_dir, &first, 0, Identity::New).unwrap();
    let lock = std::fs::File::create(first.state_dir.join("heddled.lock")).unwrap();
    let running = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error).unwrap();
    assert!(matches!(f.repo.adopt(&git_dir, &second, 0), Err(Error::Owned { .. })));
    f.repo.claim(&git_dir, &first, 0, Identity::New).unwrap();
    drop(running);
    f.repo.adopt(&git_dir, &second, 1).unwrap();
    f.repo.claim(&git_dir, &second, 1, Identity::New).unwrap();
    assert!(matches!(f.repo.claim(&git_dir, &first, 0, Identity::New), Err(Error::Owned { .. })));
    // The state directory is gone altogether.
    std::fs::remove_dir_all(&second.state_dir).unwrap();
    f.repo.adopt(&git_dir, &first, 2).unwrap();
    f.repo.adopt(&git_dir, &first, 2).unwrap();
    f.repo.claim(&git_dir, &first, 2, Identity::New).unwrap();
}

/// Of two registries that owned a repository one after the other, the later one's fencing tokens are the higher ones.
#[test]
fn the_marker_says_the_era_of_its_owners_tokens() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let (first, second) = (registry("id-1", &f.root.join("one")), registry("id-2", &f.root.join("two")));
    let era = |registry, era| f.fresh().era_to_adopt(&git_dir, registry, era);
    assert_eq!(era(&first, 0).unwrap(), 0, "nobody was here");
    f.repo.claim(&git_dir, &first, 0, Identity::New).unwrap();
    assert_eq!(era(&first, 0).unwrap(), 0);
    assert_eq!(era(&second, 0).unwrap(), 1);
    assert_eq!(era(&second, 9).unwrap(), 9, "its tokens are higher as they are");
    f.repo.claim(&git_dir, &first, 4, Identity::New).unwrap();
    assert!(matches!(era(&second, 2), Err(Error::Unavailable { cause: Cause::UntrustedMark { .. }, .. })));
    assert_eq!(era(&second, 3).unwrap(), 5, "one step is believed");
    write_key(&first.state_dir, first.key).unwrap();
    assert_eq!(era(&second, 0).unwrap(), 5, "its own state directory proves who made the mark");
    assert!(f.repo.adopt(&git_dir, &second, 4).is_err(), "its tokens would be no higher");
    let before = f.repo.claim(&git_dir, &first, 4, Identity::New).unwrap();
    f.repo.adopt(&git_dir, &second, 5).unwrap();
    let content = std::fs::read_to_string(git_dir.join("heddle-registry")).unwrap();
    assert!(content.starts_with(&format!("id-2 5\n{}\n", f.root.join("two").display())), "{content}");
    let after = f.repo.claim(&git_dir, &second, 5, Identity::Known(Some(before))).unwrap();
    assert_eq!(before, after, "it is the same repository under another registry");
    let told = f.fresh().claim(&git_dir, &second, 3, Identity::New);
    assert!(matches!(told, Err(Error::Unavailable { cause: Cause::LaterEra { era: 5, .. }, .. })), "{told:?}");
}

#[test]
fn who_was_killed_while_it_took_over_is_in_nobodys_way() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let (first, second) = (registry("id-1", &f.root.join("one")), registry("id-2", &f.root.join("two")));
    f.repo.claim(&git_dir, &first, 0, Identity::New).unwrap();
    // Whatever file it made, it has no lock any more.
    for left in ["heddle-registry.lock", &format!("heddle-registry.{}-0", std::process::id()), "heddle-registry.1-0"] {
        std::fs::write(git_dir.join(left), "id").unwrap();
    }
    // The lock is the process's own: while it lives it is waited for, and refused in the end.
    let directory = std::fs::File::open(&git_dir).unwrap();
    let other = Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error).unwrap();
    assert!(matches!(f.repo.adopt(&git_dir, &second, 1), Err(Error::Unavailable { .. })));
    f.repo.claim(&git_dir, &first, 0, Identity::New).unwrap();
    drop(other);
    f.repo.adopt(&git_dir, &second, 1).unwrap();
    f.repo.claim(&git_dir, &second, 1, Identity::New).unwrap();
}

#[test]
fn a_copied_state_directory_is_not_the_same_registry_while_both_run() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let (original, copy) = (registry("id-1", &f.root.join("one")), registry("id-1", &f.root.join("two")));
    f.repo.claim(&git_dir, &original, 0, Identity::New).unwrap();
    let lock = std::fs::File::create(original.state_dir.join("heddled.lock")).unwrap();
    let running = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error).unwrap();
    assert!(matches!(f.repo.claim(&git_dir, &copy, 0, Identity::New), Err(Error::Owned { .. })));
    drop(running);
    f.repo.claim(&git_dir, &copy, 0, Identity::New).unwrap();
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
        for result in [f.repo.claim(&git_dir, &ours, 0, Identity::New).map(drop), f.repo.adopt(&git_dir, &ours, 0)] {
            assert!(matches!(result, Err(Error::Unavailable { .. })), "{result:?}");
        }
        std::fs::remove_file(&marker).unwrap();
    }
    std::fs::create_dir(&marker).unwrap();
    assert!(matches!(f.repo.claim(&git_dir, &ours, 0, Identity::New), Err(Error::Unavailable { .. })));
    std::fs::remove_dir(&marker).unwrap();
    for content in ["", "id-1", "id-1\n", "\n/state\n", "id-1\nrelative\n"] {
        std::fs::write(&marker, content).unwrap();
        assert!(
            matches!(f.repo.claim(&git_dir, &ours, 0, Identity::New), Err(Error::Unavailable { .. })),
            "{content:?}"
        );
    }
}

#[test]
fn a_registry_that_was_restored_is_told_of_the_era_that_it_does_not_know() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let ours = registry("id-1", &f.root.join("one"));
    f.repo.claim(&git_dir, &ours, 3, Identity::New).unwrap();
    let content = std::fs::read(git_dir.join("heddle-registry")).unwrap();
    for repo in [&f.repo, &f.fresh()] {
        repo.claim(&git_dir, &ours, 3, Identity::New).unwrap();
        let told = f.fresh().claim(&git_dir, &ours, 1, Identity::New);
        assert!(
            matches!(told, Err(Error::Unavailable { cause: Cause::LaterEra { era: 3, elsewhere: false }, .. })),
            "R2: its tokens would repeat: {told:?}"
        );
    }
    assert_eq!(std::fs::read(git_dir.join("heddle-registry")).unwrap(), content);
    f.fresh().claim(&git_dir, &ours, 4, Identity::New).unwrap();
}

#[test]
fn a_registry_without_tokens_left_marks_nothing() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let ours = registry("id-1", &f.root.join("one"));
    assert!(f.repo.claim(&git_dir, &ours, 8192, Identity::New).is_err());
    assert!(!git_dir.join("heddle-registry").exists());
    f.fresh().claim(&git_dir, &registry("id-2", &f.root.join("two")), 8191, Identity::New).unwrap();
}

/// Whoever may write in a repository must not decide about the fencing tokens of all others.
#[test]
fn a_mark_that_this_registry_did_not_sign_moves_no_counter() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let ours = registry("id-1", &f.root.join("one"));
    let marker = git_dir.join("heddle-registry");
    f.repo.claim(&git_dir, &ours, 1, Identity::New).unwrap();
    let signed = std::fs::read_to_string(&marker).unwrap();
    for (what, mark) in [
        ("unsigned", format!("id-1 2\n{}\n", ours.state_dir.display())),
        ("farther", format!("id-1 8191\n{}\n", ours.state_dir.display())),
        ("too far", format!("id-1 8192\n{}\n", ours.state_dir.display())),
        ("changed", signed.replacen("id-1 1\n", "id-1 2\n", 1)),
        ("another repository", signed.replacen("repository ", "repository 0", 1)),
        ("another code", signed.replacen("mac ", "mac 00", 1)),
    ] {
        std::fs::write(&marker, mark).unwrap();
        for identity in [Identity::New, Identity::Known(None), Identity::Copy] {
            let told = f.fresh().claim(&git_dir, &ours, 1, identity);
            let is_refused = matches!(
                told,
                Err(Error::Unavailable { cause: Cause::UntrustedMark { .. } | Cause::Malformed { .. }, .. })
            );
            assert!(is_refused, "{what}: {told:?}");
        }
        assert_eq!(f.fresh().own_era(&git_dir, &ours).unwrap_or(None), None, "{what}");
        assert!(f.fresh().era_to_adopt(&git_dir, &ours, 1).is_err() || !what.contains("far"), "{what}");
    }
    std::fs::write(&marker, &signed).unwrap();
    f.fresh().claim(&git_dir, &ours, 1, Identity::New).unwrap();
}

/// Marks of version 0.1.0 are read, and become such of this version.
#[test]
fn a_mark_without_a_signature_is_brought_up_to_date() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let ours = registry("id-1", &f.root.join("one"));
    let marker = git_dir.join("heddle-registry");
    for first in ["id-1", "id-1 3"] {
        std::fs::write(&marker, format!("{first}\n{}\n", ours.state_dir.display())).unwrap();
        assert_eq!(f.fresh().locate(&git_dir).unwrap().mark, MarkSeen::Unsigned);
        let id = f.fresh().claim(&git_dir, &ours, 3, Identity::Known(None)).unwrap();
        assert_eq!(f.fresh().locate(&git_dir).unwrap().mark, MarkSeen::Id(id));
        assert_eq!(f.fresh().own_era(&git_dir, &ours).unwrap(), Some(3));
    }
}

/// What a session was granted in is told by its id, not by its place.
#[test]
fn a_repository_is_claimed_as_what_it_is() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let ours = registry("id-1", &f.root.join("one"));
    let id = f.repo.claim(&git_dir, &ours, 0, Identity::New).unwrap();
    assert_eq!(f.repo.claim(&git_dir, &ours, 0, Identity::Known(Some(id))).unwrap(), id);
    let other = Identity::Known(Some(RepositoryId([7; 16])));
    for repo in [&f.repo, &f.fresh()] {
        assert!(matches!(repo.claim(&git_dir, &ours, 0, other), Err(Error::Replaced { .. })));
    }
    let copied = f.repo.claim(&git_dir, &ours, 0, Identity::Copy).unwrap();
    assert_ne!(copied, id, "a copy has an id of its own");
    assert!(matches!(f.fresh().claim(&git_dir, &ours, 0, Identity::Known(Some(id))), Err(Error::Replaced { .. })));
    std::fs::remove_file(git_dir.join("heddle-registry")).unwrap();
    for known in [None, Some(copied)] {
        let told = f.fresh().claim(&git_dir, &ours, 0, Identity::Known(known));
        assert!(matches!(told, Err(Error::Replaced { .. })), "what is known has its mark: {told:?}");
    }
}

#[test]
fn a_copy_of_a_directory_is_not_the_directory() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let link = f.root.join("link");
    symlink(&git_dir, &link).unwrap();
    assert!(f.repo.is_one(&git_dir, &link).unwrap());
    let copy = f.root.join("copy");
    let copied = std::process::Command::new("cp").arg("-a").args([&git_dir, &copy]).status().unwrap();
    assert!(copied.success());
    assert!(!f.repo.is_one(&git_dir, &copy).unwrap());
    let left = std::fs::read_dir(&git_dir).unwrap().flatten();
    assert_eq!(left.filter(|entry| entry.file_name().to_string_lossy().contains("probe")).count(), 0);
}

/// A path says nothing about a daemon that has other mounts: another directory is behind it there.
#[test]
fn a_repository_is_not_taken_from_a_daemon_that_cannot_be_seen() {
    let f = Fixture::new();
    let git_dir = f.init("main", &[]).join(".git");
    let state_dir = f.root.join("one");
    let first = registry("id-1", &state_dir);
    let elsewhere = |boot: &str, mounts| {
        let surroundings = Surroundings { boot: boot.into(), mounts };
        Claim { surroundings, ..registry("id-2", &state_dir) }
    };
    let far = 0xf000_1000;
    let first = Claim { surroundings: Surroundings { boot: "boot".into(), mounts: far }, ..first };
    f.repo.claim(&git_dir, &first, 0, Identity::New).unwrap();
    for second in [elsewhere("boot", far + 1), elsewhere("boot", 1), elsewhere("another", far)] {
        for told in [f.repo.era_to_adopt(&git_dir, &second, 0).map(drop), f.repo.adopt(&git_dir, &second, 1)] {
            assert!(matches!(told, Err(Error::OwnerHidden { .. })), "{:?}: {told:?}", second.surroundings);
        }
    }
    f.fresh().claim(&git_dir, &first, 0, Identity::New).unwrap();
    // Its state directory can be seen here: the key in it is the one that the mark was signed with.
    write_key(&state_dir, first.key).unwrap();
    f.repo.adopt(&git_dir, &elsewhere("boot", far + 1), 1).unwrap();
    // And with the same mounts a path is the same directory.
    f.repo.adopt(&git_dir, &Claim { surroundings: elsewhere("boot", far + 1).surroundings, ..first }, 2).unwrap();
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// No series of marks moves the era of a registry: what is adopted moves it by two at most, and only when an operator asks.
    #[test]
    fn no_series_of_hostile_marks_uses_the_eras_up(
        marks in proptest::collection::vec((0u8..4, 0u64..9000, proptest::bool::ANY), 1..12),
    ) {
        let f = Fixture::new();
        let git_dir = f.init("main", &[]).join(".git");
        let ours = registry("id-1", &f.root.join("one"));
        let hostile = registry("id-2", &f.root.join("two"));
        let marker = git_dir.join("heddle-registry");
        let (mut era, mut adopted) = (0, 0);
        for (kind, far, adopts) in marks {
            let (id, state_dir) = if kind % 2 == 0 { (&ours.id, &ours.state_dir) } else { (&hostile.id, &hostile.state_dir) };
            let signed = format!("repository {far:032x}\nboot b\nmounts 1\nmac {far:064x}\n");
            let signed = if kind >= 2 { signed.as_str() } else { "" };
            let mark = format!("{id} {far}\n{}\n{signed}", state_dir.display());
            std::fs::write(&marker, mark).unwrap();
            // As a reserve does: a later era of its own is entered.
            let claimed = f.fresh().claim(&git_dir, &ours, era, Identity::New);
            if let Err(Error::Unavailable { cause: Cause::LaterEra { era: later, .. }, .. }) = claimed {
                era = later + 1;
            }
            if adopts && let Ok(next) = f.fresh().era_to_adopt(&git_dir, &ours, era) {
                era = next;
                adopted += 1;
            }
            proptest::prop_assert!(era <= 2 * adopted, "{era} after {adopted}");
        }
    }
}
