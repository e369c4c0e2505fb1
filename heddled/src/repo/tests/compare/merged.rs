//! Whether a target has a thread's work, and by which commit.

use std::path::Path;

use proto_schema::ObjectId;

use super::super::capture::write;
use super::super::fixture::Fixture;
use crate::repo::Repo as _;

impl Fixture {
    fn merged_by(&self, at: &Path, tip: &str, target: &str) -> Option<ObjectId> {
        let git_dir = self.git_dir(at);
        let answers = [0, 1].map(|_| self.repo.merged_by(&git_dir, self.id(at, tip), self.id(at, target)).unwrap());
        assert_eq!(answers[0], answers[1], "what is remembered is the same");
        answers[0]
    }

    /// A branch with two commits, from where main is.
    fn side(&self, at: &Path) {
        self.git(at, &["checkout", "--quiet", "-B", "side", "main"]);
        for number in ["one", "two"] {
            write(at, "side", number);
            self.git(at, &["add", "-A"]);
            self.git(at, &["commit", "--quiet", "-m", number]);
        }
        self.git(at, &["checkout", "--quiet", "main"]);
    }
}

#[test]
fn a_merge_is_named_by_the_first_commit_that_has_it() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    f.side(&at);
    assert_eq!(f.merged_by(&at, "side", "main"), None, "it is not there yet");
    f.commit(&at, "before");
    assert_eq!(f.merged_by(&at, "side", "main"), None);
    f.git(&at, &["merge", "--quiet", "--no-ff", "-m", "merge", "side"]);
    let merge = f.id(&at, "main");
    assert_eq!(f.merged_by(&at, "side", "main"), Some(merge));
    for number in 0..3 {
        f.commit(&at, &format!("after {number}"));
    }
    assert_eq!(f.merged_by(&at, "side", "main"), Some(merge), "not by what came after");
    // By a branch that had it before.
    f.git(&at, &["checkout", "--quiet", "-b", "other", "side"]);
    f.commit(&at, "other");
    f.git(&at, &["checkout", "--quiet", "-b", "second", "main~4"]);
    f.git(&at, &["merge", "--quiet", "-m", "second", "-X", "ours", "other"]);
    assert_eq!(f.merged_by(&at, "side", "second"), Some(f.id(&at, "second")));
}

#[test]
fn a_fast_forward_is_the_tip_itself() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    f.side(&at);
    f.git(&at, &["merge", "--quiet", "--ff-only", "side"]);
    f.commit(&at, "after");
    let side = f.id(&at, "side");
    assert_eq!(f.merged_by(&at, "side", "main"), Some(side));
    assert_eq!(f.merged_by(&at, "side", "side"), Some(side));
    assert_eq!(f.merged_by(&at, "main", "side"), None);
}

#[test]
fn a_squash_is_told_by_its_tree() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    f.side(&at);
    f.git(&at, &["merge", "--quiet", "--squash", "side"]);
    f.git(&at, &["commit", "--quiet", "-m", "squash"]);
    let squash = f.id(&at, "main");
    assert_eq!(f.merged_by(&at, "side", "main"), Some(squash));
    f.git(&at, &["commit", "--quiet", "--allow-empty", "-m", "nothing"]);
    f.commit(&at, "after");
    assert_eq!(f.merged_by(&at, "side", "main"), Some(squash), "it is the first of them");
}

#[test]
fn a_tree_of_the_merge_base_is_no_squash() {
    let f = Fixture::new();
    let at = f.init("main", &[]);
    // A thread that undid what it did, and a target that did the same.
    f.git(&at, &["checkout", "--quiet", "-b", "side"]);
    f.commit(&at, "two");
    f.commit(&at, "one");
    f.git(&at, &["checkout", "--quiet", "main"]);
    f.git(&at, &["commit", "--quiet", "--allow-empty", "-m", "nothing"]);
    assert_eq!(f.git(&at, &["rev-parse", "side^{tree}"]), f.git(&at, &["rev-parse", "main^{tree}"]));
    assert_eq!(f.merged_by(&at, "side", "main"), None);
    // Nor is a commit before the merge base.
    let first = f.git(&at, &["rev-parse", "main^{tree}"]);
    f.commit(&at, "three");
    let thread = f.git(&at, &["commit-tree", "-p", "main", "-m", "back", &first]);
    f.commit(&at, "four");
    assert_eq!(f.merged_by(&at, &thread, "main"), None);
    let unrelated = f.git(&at, &["commit-tree", "-m", "unrelated", &first]);
    assert_eq!(f.merged_by(&at, &unrelated, "main"), None);
}
