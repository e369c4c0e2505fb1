//! What is synced before a branch is reported (G2), and that it is synced once. Power cuts themselves are in `tests/power`.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto_schema::{ObjectId, Timestamp};

use super::fixture::{Fixture, thread};
use crate::repo::files::seam;
use crate::repo::{Anchor, Environment, Expected, GitRepo, Repo as _};

fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

/// The file of a loose object.
fn file(git_dir: &Path, id: &str) -> PathBuf {
    git_dir.join("objects").join(&id[..2]).join(&id[2..])
}

/// The files of all that is reachable from a commit and loose.
fn reachable(f: &Fixture, main: &Path, state: ObjectId) -> BTreeSet<PathBuf> {
    let listed = f.git(main, &["rev-list", "--objects", &state.to_string()]);
    let files = listed.lines().map(|line| file(&main.join(".git"), line.split(' ').next().unwrap()));
    files.filter(|file| file.exists()).collect()
}

fn assert_synced(synced: &[u64], files: &BTreeSet<PathBuf>) {
    for file in files {
        assert!(synced.contains(&inode(file)), "{} was not synced", file.display());
        assert!(synced.contains(&inode(file.parent().unwrap())), "the folder of {} was not synced", file.display());
    }
}

/// A daemon that has synced nothing yet, and whose wall clock is that far ahead.
fn later(f: &Fixture, ms: i64) -> GitRepo {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let environment = Environment { path, home: Some(f.root.join("home")), xdg_config_home: None };
    let wall = move || Timestamp::from_unix_ms(super::fixture::wall_time().unix_ms() + ms);
    GitRepo::new(environment, Arc::new(wall))
}

#[test]
fn a_commit_is_synced_with_all_it_leads_to_before_the_ref() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let git_dir = main.join(".git");
    std::fs::create_dir_all(main.join("a/b")).unwrap();
    std::fs::write(main.join("a/b/c"), "c").unwrap();
    f.git(&main, &["add", "."]);
    let state = f.commit(&main, "two");
    let files = reachable(&f, &main, state);
    assert!(files.len() >= 8, "two commits, four trees, three blobs: {files:?}");
    let repo = later(&f, 1_000);
    seam::take();
    repo.compare_and_swap(&git_dir, &thread("new"), Expected::Absent, state, "made").unwrap();
    let synced = seam::take();
    assert_synced(&synced, &files);
    let ref_file = git_dir.join("refs/heads/new");
    let at = |path: &Path| synced.iter().position(|synced| *synced == inode(path)).unwrap();
    assert!(files.iter().all(|file| at(file) < at(&ref_file)), "objects before the ref");
    assert!(at(&ref_file) < at(&git_dir.join("refs/heads")), "the ref before its folder");
    assert!(synced.contains(&inode(&git_dir.join("logs/refs/heads/new"))));
    assert!(synced.contains(&inode(&git_dir.join("logs/refs/heads"))));
    for made in [main.join(".git/HEAD"), main.join(".git/config"), git_dir.clone(), main.clone()] {
        assert!(synced.contains(&inode(&made)), "the repository is new, too: {}", made.display());
    }

    repo.sight(&main, &thread("new"), &Anchor::Tip).unwrap();
    repo.compare_and_swap(&git_dir, &thread("new"), Expected::At(state), state, "again").unwrap();
    assert_eq!(seam::take(), [0; 0], "its own work is remembered");
    repo.compare_and_swap(&git_dir, &thread("other"), Expected::Absent, state, "made").unwrap();
    assert_eq!(seam::take().len(), 4, "lock, folder, reflog and its folder");
}

#[test]
fn a_branch_that_another_made_is_synced_once_when_it_is_seen() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let git_dir = main.join(".git");
    let state = f.commit(&main, "two");
    let files = reachable(&f, &main, state);
    f.git(&main, &["branch", "deep/er"]);
    let refs = BTreeSet::from([git_dir.join("refs/heads/deep/er")]);
    let repo = later(&f, 1_000);
    for round in 0..3 {
        seam::take();
        let seen = repo.sight(&main, &thread("deep/er"), &Anchor::Tip).unwrap();
        assert_eq!(seen.tip, Some(state));
        let synced = seam::take();
        if round == 0 {
            assert_synced(&synced, &files);
            assert_synced(&synced, &refs);
            assert!(synced.contains(&inode(&git_dir.join("refs/heads"))), "its folder is new, too");
        } else {
            assert_eq!(synced, [0; 0], "round {round}");
        }
    }
    let three = f.commit(&main, "three");
    f.git(&main, &["branch", "-f", "deep/er", "HEAD"]);
    repo.compare_and_swap(&git_dir, &thread("deep/er"), Expected::At(three), three, "there").unwrap();
    let synced = seam::take();
    assert_synced(&synced, &refs);
    assert_synced(&synced, &reachable(&f, &main, three).difference(&files).cloned().collect());

    f.git(&main, &["pack-refs", "--all", "--prune"]);
    for round in 0..2 {
        assert_eq!(repo.sight(&main, &thread("deep/er"), &Anchor::Tip).unwrap().tip, Some(three));
        assert_eq!(seam::take().contains(&inode(&git_dir.join("packed-refs"))), round == 0);
    }
}

#[test]
fn a_branch_elsewhere_than_the_anchor_is_left_alone() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    f.git(&main, &["branch", "other"]);
    f.commit(&main, "two");
    seam::take();
    f.repo.sight(&main, &thread("other"), &Anchor::Head).unwrap();
    assert_eq!(seam::take(), [0; 0]);
}

/// A wall clock that was set forward makes a commit of this moment look old, and one that was set back makes it look new.
#[test]
fn what_looks_old_is_synced_like_the_rest_and_once() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let state = f.commit(&main, "two");
    let files = reachable(&f, &main, state);
    for ahead in [3_600_000, 130_000, -3_600_000] {
        let repo = later(&f, ahead);
        seam::take();
        repo.sight(&main, &thread("main"), &Anchor::Tip).unwrap();
        let synced = seam::take();
        assert_synced(&synced, &files);
        assert_synced(&synced, &BTreeSet::from([main.join(".git/refs/heads/main"), main.join(".git/HEAD")]));
        repo.sight(&main, &thread("main"), &Anchor::Tip).unwrap();
        // The times of what was changed in the future do not tell two versions apart.
        let is_back = ahead < 0;
        assert_eq!(seam::take().contains(&inode(&main.join(".git/HEAD"))), is_back, "{ahead}");
    }
}

#[test]
fn a_log_that_looks_old_is_synced_with_its_folder_once() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let git_dir = main.join(".git");
    let one = f.id(&main, "HEAD");
    f.git(&main, &["branch", "a/b"]);
    let two = f.commit(&main, "two");
    let repo = later(&f, 3_600_000);
    let folder = inode(&git_dir.join("logs/refs/heads/a"));
    for (round, (old, new)) in [(one, two), (two, one)].into_iter().enumerate() {
        seam::take();
        repo.compare_and_swap(&git_dir, &thread("a/b"), Expected::At(old), new, "moved").unwrap();
        assert_eq!(seam::take().contains(&folder), round == 0);
    }
}

/// Git takes a directory whose HEAD a power cut emptied for no repository, and reads nothing of it.
#[test]
fn each_version_of_a_head_is_synced_once() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let linked = f.root.join("linked");
    f.git(&main, &["worktree", "add", "--quiet", "-b", "other", linked.to_str().unwrap()]);
    let repo = later(&f, 60_000);
    let heads = |own: &str| [main.join(".git/HEAD"), main.join(".git").join(own)].map(|head| inode(&head));
    let see = || {
        seam::take();
        repo.sight(&linked, &thread("other"), &Anchor::Tip).unwrap();
        seam::take()
    };
    let synced = see();
    assert!(heads("worktrees/linked/HEAD").iter().all(|head| synced.contains(head)), "{synced:?}");
    assert_eq!(see(), [0; 0]);
    f.git(&main, &["symbolic-ref", "HEAD", "refs/heads/elsewhere"]);
    assert_eq!(see(), [inode(&main.join(".git/HEAD")), inode(&main.join(".git"))]);
    assert_eq!(see(), [0; 0]);
}

#[test]
fn what_was_synced_is_known_when_the_repository_is_opened_anew() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let state = f.commit(&main, "two");
    let repo = later(&f, 60_000);
    repo.sight(&main, &thread("main"), &Anchor::Tip).unwrap();
    f.git(&main, &["config", "user.name", "Grace"]);
    seam::take();
    repo.sight(&main, &thread("main"), &Anchor::Tip).unwrap();
    let synced = seam::take();
    assert!(synced.contains(&inode(&main.join(".git/config"))), "{synced:?}");
    assert!(reachable(&f, &main, state).iter().all(|file| !synced.contains(&inode(file))));
}

#[test]
fn packs_are_synced_with_their_folder() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    f.commit(&main, "two");
    f.git(&main, &["repack", "-q", "-a", "-d"]);
    let folder = main.join(".git/objects/pack");
    seam::take();
    f.repo.sight(&main, &thread("main"), &Anchor::Tip).unwrap();
    let synced = seam::take();
    let packs: BTreeSet<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(packs.len() >= 2, "{packs:?}");
    assert_synced(&synced, &packs);
}

#[test]
fn objects_of_an_alternate_are_synced_there() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let borrower = f.root.join("borrower");
    f.git(&f.root, &["clone", "--quiet", "--shared", main.to_str().unwrap(), borrower.to_str().unwrap()]);
    let state = f.id(&main, "HEAD");
    seam::take();
    f.repo.compare_and_swap(&borrower.join(".git"), &thread("new"), Expected::Absent, state, "made").unwrap();
    assert_synced(&seam::take(), &reachable(&f, &main, state));
}

#[test]
fn a_great_deal_is_synced_as_a_whole() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    for number in 0..600 {
        std::fs::write(main.join(format!("file-{number}")), number.to_string()).unwrap();
    }
    f.git(&main, &["-c", "core.fsync=none", "add", "."]);
    f.commit(&main, "many");
    seam::take();
    f.repo.sight(&main, &thread("main"), &Anchor::Tip).unwrap();
    let synced = seam::take();
    assert!(synced.len() < 20 && synced.contains(&inode(&main.join(".git/objects"))), "{}", synced.len());

    // All of it is known then: the next commit costs what it adds.
    let files = reachable(&f, &main, f.id(&main, "HEAD"));
    let state = f.commit(&main, "one more");
    seam::take();
    f.repo.sight(&main, &thread("main"), &Anchor::Tip).unwrap();
    let synced = seam::take();
    let added = reachable(&f, &main, state).difference(&files).cloned().collect::<BTreeSet<_>>();
    assert_eq!(added.len(), 3);
    assert_synced(&synced, &added);
    assert!(files.iter().all(|file| !synced.contains(&inode(file))));
}

#[test]
fn a_commit_whose_file_a_power_cut_emptied_is_not_reported() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let git_dir = main.join(".git");
    let state = f.commit(&main, "two");
    let blob = file(&git_dir, &f.git(&main, &["rev-parse", "HEAD:file"]));
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, "").unwrap();
    let made = f.repo.compare_and_swap(&git_dir, &thread("new"), Expected::Absent, state, "made");
    assert!(matches!(made, Err(crate::repo::Error::Unavailable { .. })), "{made:?}");
    assert!(!git_dir.join("refs/heads/new").exists());
}

#[test]
fn only_the_lock_that_says_what_this_daemon_wrote_is_removed() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let git_dir = main.join(".git");
    let state = f.id(&main, "HEAD");
    let lock = git_dir.join("refs/heads/a.lock");
    let clear = || f.repo.clear_lock(&git_dir, &thread("a"), state).unwrap();
    assert!(!clear(), "there is none");
    for content in ["x", &format!("{state}\n\n"), &format!("{}\n", "1".repeat(40))] {
        std::fs::write(&lock, content).unwrap();
        assert!(!clear() && lock.exists(), "{content:?}");
    }
    // A kill comes between making the file and writing it, and between the id and its line's end, too.
    for content in ["", &format!("{state}")] {
        std::fs::write(&lock, content).unwrap();
        assert!(clear() && !lock.exists(), "{content:?}");
    }
    std::fs::write(f.root.join("target"), format!("{state}\n")).unwrap();
    std::os::unix::fs::symlink(f.root.join("target"), &lock).unwrap();
    assert!(!clear() && lock.is_symlink());
    std::fs::remove_file(&lock).unwrap();
    for content in [String::new(), format!("{state}"), format!("{state}\n")] {
        std::fs::write(&lock, &content).unwrap();
        assert!(clear() && !lock.exists(), "{content:?}: cut off while it was written, or whole");
    }
    f.repo.compare_and_swap(&git_dir, &thread("a"), Expected::Absent, state, "made").unwrap();
}
