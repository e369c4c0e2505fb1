//! What a repository says of itself, with Git as the oracle; nothing is changed by asking.

use std::path::Path;

use super::fixture::{Fixture, thread};
use crate::repo::{BranchFound, Error, Head, Inspection, Repo as _, ThreadToInspect};

impl Fixture {
    fn inspect(&self, path: &Path) -> Inspection {
        self.repo.inspect(path, &[]).unwrap()
    }

    /// The upstream, compared with what Git says of it.
    fn assert_upstream(&self, worktree: &Path, expected: Option<(&str, Option<(u64, u64)>)>) {
        let found = self.inspect(worktree).upstream;
        let found = found.as_ref().map(|upstream| (upstream.name.as_str(), upstream.apart));
        assert_eq!(found, expected);
        let git = self.run(worktree, &["rev-list", "--left-right", "--count", "HEAD...@{upstream}"]);
        let counts = String::from_utf8(git.stdout).unwrap();
        let counts: Vec<u64> = counts.split_whitespace().map(|count| count.parse().unwrap()).collect();
        let gits = (counts.len() == 2).then(|| (counts[0], counts[1]));
        assert_eq!(found.and_then(|found| found.1), gits, "Git counts the same");
    }
}

#[test]
fn a_branch_is_compared_with_its_upstream_as_git_does() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    f.assert_upstream(&main, None);
    let copy = f.root.join("copy");
    f.git(&f.root, &["clone", "--quiet", main.to_str().unwrap(), copy.to_str().unwrap()]);
    f.assert_upstream(&copy, Some(("origin/main", Some((0, 0)))));
    f.commit(&main, "two");
    f.git(&main, &["switch", "--quiet", "-c", "side", "HEAD~"]);
    f.git(&main, &["commit", "--quiet", "--allow-empty", "-m", "side"]);
    f.git(&main, &["switch", "--quiet", "main"]);
    f.git(&main, &["merge", "--quiet", "--no-edit", "side"]);
    f.git(&copy, &["fetch", "--quiet"]);
    f.assert_upstream(&copy, Some(("origin/main", Some((0, 3)))));
    f.git(&copy, &["commit", "--quiet", "--allow-empty", "-m", "mine"]);
    f.assert_upstream(&copy, Some(("origin/main", Some((1, 3)))));
    f.git(&copy, &["pack-refs", "--all"]);
    f.assert_upstream(&copy, Some(("origin/main", Some((1, 3)))));
    // In a linked worktree, on a branch of another name, by another refspec, of the same repository.
    let linked = f.root.join("linked");
    f.git(&copy, &["worktree", "add", "--quiet", "-b", "feature/x", linked.to_str().unwrap(), "origin/main~"]);
    f.git(&copy, &["config", "--add", "remote.origin.fetch", "+refs/heads/side:refs/remotes/elsewhere/side"]);
    f.git(&copy, &["config", "--unset", "remote.origin.fetch", "heads/\\*"]);
    f.git(&copy, &["fetch", "--quiet"]);
    f.git(&copy, &["config", "branch.feature/x.remote", "origin"]);
    f.git(&copy, &["config", "branch.feature/x.merge", "refs/heads/side"]);
    f.assert_upstream(&linked, Some(("elsewhere/side", Some((1, 1)))));
    f.git(&linked, &["branch", "--quiet", "--set-upstream-to=main"]);
    f.assert_upstream(&linked, Some(("main", Some((1, 1)))));
    f.git(&copy, &["update-ref", "-d", "refs/remotes/elsewhere/side"]);
    f.git(&copy, &["config", "branch.feature/x.remote", "origin"]);
    f.git(&copy, &["config", "branch.feature/x.merge", "refs/heads/side"]);
    f.assert_upstream(&linked, Some(("elsewhere/side", None)));
    // Histories without a common commit.
    f.git(&copy, &["switch", "--quiet", "--orphan", "apart"]);
    f.git(&copy, &["branch", "--quiet", "kept", "main"]);
    f.commit(&copy, "apart");
    f.git(&copy, &["branch", "--quiet", "--set-upstream-to=kept"]);
    f.assert_upstream(&copy, Some(("kept", Some((1, 2)))));
}

#[test]
fn a_head_is_told_from_one_that_leads_nowhere() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let tip = f.id(&main, "HEAD");
    assert_eq!(f.inspect(&main).head, Head::Branch { name: "main".to_owned(), tip: Some(tip) });
    f.git(&main, &["switch", "--quiet", "--detach"]);
    assert_eq!(f.inspect(&main).head, Head::Detached(tip));
    f.git(&main, &["switch", "--quiet", "--orphan", "new/one"]);
    assert_eq!(f.inspect(&main).head, Head::Branch { name: "new/one".to_owned(), tip: None });
    std::fs::create_dir_all(main.join(".git/refs/heads/new")).unwrap();
    std::fs::write(main.join(".git/refs/heads/new/one"), format!("{}\n", "1".repeat(40))).unwrap();
    assert!(matches!(f.repo.inspect(&main, &[]), Err(Error::Unavailable { .. })), "its commit is missing");
}

#[test]
fn a_branch_is_where_its_holder_left_it_or_further_on() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let one = f.id(&main, "HEAD");
    f.git(&main, &["branch", "t"]);
    let look = |recorded| {
        let asked = ThreadToInspect { thread: thread("t"), recorded };
        f.repo.inspect(&main, &[asked]).unwrap().threads.pop().map(|found| (found.branch, found.lock))
    };
    assert_eq!(look(Some(one)), None);
    let two = f.commit(&main, "two");
    f.git(&main, &["branch", "--force", "t"]);
    assert_eq!(look(Some(one)), None, "an agent may commit by itself");
    assert_eq!(look(Some(two)), None);
    f.git(&main, &["branch", "--force", "t", "HEAD~"]);
    assert_eq!(look(Some(two)), Some((BranchFound::Moved, None)));
    f.git(&main, &["branch", "-D", "t"]);
    assert_eq!(look(Some(two)), Some((BranchFound::Gone, None)));
    assert_eq!(look(None), None, "nobody holds it");
    let lock = main.join(".git/refs/heads/t.lock");
    std::fs::write(&lock, "").unwrap();
    std::fs::File::options().write(true).open(&lock).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(matches!(look(None), Some((BranchFound::Kept, Some((path, age)))) if path == lock && age > 1_000_000));
}
