//! How far two commits are apart, and what lies between them.

use std::path::Path;
use std::sync::Arc;

use proto_schema::{ImpactCategory, ObjectId};

use super::super::capture::write;
use super::super::fixture::Fixture;
use super::rename;
use crate::repo::{Comparison, Error, Pair, Repo as _};

impl Fixture {
    fn compare(&self, at: &Path, pair: Pair) -> Arc<Comparison> {
        self.repo.compare(&self.git_dir(at), pair).unwrap()
    }

    /// Compares two revisions with each other and with what Git says.
    #[track_caller]
    fn assert_compares_like_git(&self, at: &Path, target: &str, tip: &str) -> Arc<Comparison> {
        let [target_id, tip_id] = [target, tip].map(|revision| self.id(at, revision));
        let pair = Pair { tip: tip_id, target: Some(target_id), base: target_id };
        let found = self.compare(at, pair);
        let counts = self.git(at, &["rev-list", "--left-right", "--count", &format!("{target}...{tip}")]);
        assert_eq!(format!("{}\t{}", found.behind, found.ahead), counts, "{target} and {tip}");
        let bases = String::from_utf8(self.run(at, &["merge-base", "--all", target, tip]).stdout).unwrap();
        let bases: Vec<ObjectId> = bases.lines().map(|line| line.parse().unwrap()).collect();
        match found.merge_base {
            Some(base) => assert!(bases.contains(&base), "{target} and {tip}: {base} is one of {bases:?}"),
            None => assert_eq!(bases, []),
        }
        let empty = self.git(at, &["hash-object", "-t", "tree", "/dev/null"]);
        let base = found.merge_base.map_or(empty, |base| base.to_string());
        let changed = self.git(at, &["diff-tree", "-r", "--no-renames", "--name-only", &base, tip]);
        let mut changed: Vec<&str> = changed.lines().collect();
        assert_eq!(found.changed_count, changed.len() as u64);
        changed.sort_unstable();
        let mut told: Vec<&str> = found.changed_paths.iter().map(|path| &**path).collect();
        told.sort_unstable();
        assert!(told.len() == changed.len().min(100) && told.iter().all(|path| changed.contains(path)), "{told:?}");
        found
    }
}

/// Branches that were merged in all directions: a commit is made of two others, `time` says when.
fn woven(f: &Fixture, at: &Path, time: impl Fn(u32) -> u32) -> Vec<String> {
    let mut made: Vec<String> = Vec::new();
    for number in 0..40_usize {
        let parents = match number {
            0 => vec![],
            1..=3 => vec![0],
            _ if number % 3 == 0 => vec![number - 1 - number * 7 % 3, number - 2 - number * 5 % 2],
            _ => vec![number - 1 - number * 5 % 4],
        };
        let parents: Vec<String> = parents.into_iter().map(|parent: usize| made[parent].clone()).collect();
        let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
        made.push(commit_at(f, at, &parents, time(u32::try_from(number).unwrap()), &number.to_string()));
    }
    made
}

/// Writes a commit of main's tree that was made at a time.
fn commit_at(f: &Fixture, at: &Path, parents: &[&str], seconds: u32, message: &str) -> String {
    let tree = f.git(at, &["rev-parse", "main^{tree}"]);
    let parents: String = parents.iter().flat_map(|parent| ["parent ", parent, "\n"]).collect();
    let who = format!("A <a@b> {seconds} +0000");
    let input = format!("tree {tree}\n{parents}author {who}\ncommitter {who}\n\n{message}\n");
    write(&f.root, "commit", input);
    f.git(at, &["hash-object", "-t", "commit", "-w", f.root.join("commit").to_str().unwrap()])
}

#[test]
fn a_commit_that_is_reached_late_counts_as_common() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    // The target leads to the oldest commit by a short way, and both do by a long one, in which a clock is wrong.
    for (oldest, middle) in [(50, 50), (50, 10)] {
        for attempt in 0..8 {
            let oldest = commit_at(&f, &at, &[], oldest, &format!("oldest {attempt}"));
            let middle = commit_at(&f, &at, &[&oldest], middle, &format!("middle {attempt}"));
            let base = commit_at(&f, &at, &[&middle], 60, "base");
            let (tip, target) =
                (commit_at(&f, &at, &[&base], 70, "tip"), commit_at(&f, &at, &[&base, &oldest], 80, "target"));
            let found = f.assert_compares_like_git(&at, &target, &tip);
            assert_eq!((found.ahead, found.behind), (1, 1));
        }
    }
}

fn assert_all_pairs(f: &Fixture, at: &Path, commits: &[String]) {
    for target in commits.iter().step_by(7) {
        for tip in commits.iter().skip(1).step_by(6) {
            f.assert_compares_like_git(at, target, tip);
        }
    }
}

#[test]
fn woven_histories_with_and_without_a_commit_graph() {
    let mut f = Fixture::new();
    let at = f.init("main", &[]);
    let rising = woven(&f, &at, |number| 1000 + number);
    assert_all_pairs(&f, &at, &rising);
    let same = woven(&f, &at, |_| 1000);
    assert_all_pairs(&f, &at, &same);
    // With a commit graph even clocks that run backwards do no harm.
    let falling = woven(&f, &at, |number| 1000 - number);
    for (name, commits) in [("same", &same), ("falling", &falling), ("rising", &rising)] {
        for (number, commit) in commits.iter().enumerate() {
            f.git(&at, &["update-ref", &format!("refs/heads/{name}{number}"), commit]);
        }
    }
    f.git(&at, &["commit-graph", "write", "--reachable"]);
    f.repo = f.fresh();
    for commits in [&rising, &same, &falling] {
        assert_all_pairs(&f, &at, commits);
    }
}

#[test]
fn no_target_one_without_relation_and_sha256() {
    for arguments in [&[][..], &["--object-format=sha256"]] {
        let f = Fixture::new();
        let at = f.init("main", arguments);
        let base = f.commit_step(&at, "main", &|at| write(at, "a/b", "1"));
        f.commit_step(&at, &base.to_string(), &|at| write(at, "a/b", "2"));
        let tip = f.commit_step(&at, "HEAD", &|at| {
            rename(at, "a/b", "c");
            write(at, "Cargo.lock", "3");
        });
        let found = f.compare(&at, Pair { tip, target: None, base });
        assert_eq!((found.merge_base, found.ahead, found.behind), (Some(base), 2, 0));
        let paths: Vec<&str> = found.changed_paths.iter().map(|path| &**path).collect();
        assert_eq!((paths, found.changed_count), (vec!["Cargo.lock", "a/b", "c"], 3));
        assert_eq!(found.impact, [ImpactCategory::DependencyGraph]);
        let same = f.compare(&at, Pair { tip: base, target: None, base });
        assert_eq!((same.ahead, same.changed_count, same.merge_base), (0, 0, Some(base)));
        let tree = f.git(&at, &["rev-parse", "main^{tree}"]);
        let unrelated = f.git(&at, &["commit-tree", "-m", "unrelated", &tree]);
        let found = f.assert_compares_like_git(&at, &unrelated, &tip.to_string());
        assert_eq!(found.merge_base, None);
        assert_eq!(found.changed_count, 3, "all that it has");
    }
}

#[test]
fn the_impact_is_that_of_all_paths_and_not_of_the_first_hundred() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    let tip = f.commit_step(&at, "main", &|at| {
        (0..200).for_each(|number| write(at, &format!("a/{number}"), "1"));
        write(at, "z/Dockerfile", "2");
    });
    let found = f.assert_compares_like_git(&at, "main", &tip.to_string());
    assert_eq!((found.changed_paths.len(), found.changed_count), (100, 201));
    assert_eq!(found.impact, [ImpactCategory::BuildRuntimeConfig]);
}

#[test]
fn a_state_that_is_no_commit_is_the_callers_mistake() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    let (git_dir, main) = (f.git_dir(&at), f.id(&at, "main"));
    for wrong in ["1".repeat(40), f.git(&at, &["rev-parse", "main^{tree}"]), "1".repeat(64)] {
        let wrong: ObjectId = wrong.parse().unwrap();
        for (tip, target) in [(wrong, main), (main, wrong)] {
            let named = |error: Option<Error>| match error {
                Some(Error::AnchorNotFound { anchor }) => assert_eq!(anchor, wrong.to_string()),
                other => panic!("{other:?}"),
            };
            named(f.repo.compare(&git_dir, Pair { tip, target: Some(target), base: main }).err());
            named(f.repo.merged_by(&git_dir, tip, target).err());
            named(f.conflicts(&at, target, tip).err());
        }
        let without = Pair { tip: main, target: None, base: wrong };
        assert!(matches!(f.repo.compare(&git_dir, without), Err(Error::AnchorNotFound { .. })));
    }
}

#[test]
fn what_was_compared_is_remembered_but_not_of_a_shallow_clone() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    for number in 0..3 {
        f.commit(&at, &format!("more {number}"));
    }
    let pair = |at| {
        let [tip, target] = ["main", "main~2"].map(|revision| f.id(at, revision));
        Pair { tip, target: Some(target), base: target }
    };
    let found = f.compare(&at, pair(&at));
    assert!(Arc::ptr_eq(&found, &f.compare(&at, pair(&at))), "it was not compared again");

    let url = format!("file://{}", at.display());
    f.git(&f.root, &["clone", "--quiet", "--depth", "3", &url, "shallow"]);
    let shallow = f.root.join("shallow");
    f.assert_compares_like_git(&shallow, "main~2", "main");
    let one = f.compare(&shallow, pair(&shallow));
    assert!(!Arc::ptr_eq(&one, &f.compare(&shallow, pair(&shallow))));
    f.git(&shallow, &["checkout", "--quiet", "-b", "side", "main~2"]);
    f.commit(&shallow, "side");
    f.git(&shallow, &["fetch", "--quiet", "--depth", "1"]);
    let cut = f.assert_compares_like_git(&shallow, "main", "side");
    assert_eq!(cut.merge_base, None, "what they have in common lies behind the boundary");
    let (main, side) = (f.id(&shallow, "main"), f.id(&shallow, "side"));
    assert_eq!(f.conflicts(&shallow, main, side).unwrap().count, 0);
    f.git(&shallow, &["fetch", "--quiet", "--unshallow"]);
    let whole = f.assert_compares_like_git(&shallow, "main", "side");
    assert_eq!((whole.ahead, whole.behind), (1, 2));
    assert_eq!(f.assert_merges_like_git(&shallow, main, side, "not shallow any more"), ["file"]);
}

#[test]
fn commits_are_read_as_they_are_and_not_as_they_are_replaced() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    f.commit(&at, "two");
    f.commit(&at, "three");
    let [main, first] = ["main", "main~2"].map(|revision| f.id(&at, revision));
    f.git(&at, &["replace", "--graft", "main"]);
    assert_eq!(f.git(&at, &["rev-list", "--count", "main"]), "1", "Git counts as it is replaced");
    let found = f.compare(&at, Pair { tip: main, target: Some(first), base: first });
    assert_eq!((found.merge_base, found.ahead), (Some(first), 2));
}
