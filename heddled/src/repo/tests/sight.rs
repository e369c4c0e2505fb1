//! What a reservation reads (G3: what cannot be read never counts as absent).

use std::os::unix::fs::symlink;

use super::fixture::{Fixture, thread};
use crate::repo::{Anchor, Cause, Error, Repo as _};

fn revision(text: &str) -> Anchor {
    Anchor::Revision(text.to_owned())
}

#[test]
fn head_tip_and_revisions_resolve_as_git_resolves_them() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    f.commit(&main, "two");
    f.git(&main, &["tag", "-a", "-m", "a tag", "v1", "HEAD~1"]);
    f.git(&main, &["branch", "other", "HEAD~1"]);
    let short = f.git(&main, &["rev-parse", "--short", "HEAD~1"]);
    let full_tag = f.git(&main, &["rev-parse", "v1"]);
    for text in ["HEAD", "HEAD~1", "v1", "main", "other", "refs/heads/other", &short, "@", "main^0", &full_tag, "v1^{}"]
    {
        let seen = f.repo.sight(&main, &thread("new"), &revision(text)).unwrap();
        assert_eq!(seen.anchor, f.id(&main, &format!("{text}^{{commit}}")), "{text}");
        assert_eq!(seen.root, f.id(&main, &format!("{text}^{{tree}}")), "{text}");
        assert_eq!(seen.tip, None);
        assert_eq!(seen.checked_out, Some(thread("main")));
    }
    let seen = f.repo.sight(&main, &thread("other"), &Anchor::Head).unwrap();
    assert_eq!((seen.anchor, seen.tip), (f.id(&main, "HEAD"), Some(f.id(&main, "other"))));
    let seen = f.repo.sight(&main, &thread("other"), &Anchor::Tip).unwrap();
    assert_eq!((seen.anchor, seen.tip), (f.id(&main, "other"), Some(f.id(&main, "other"))));
    let seen = f.repo.sight(&main, &thread("new"), &Anchor::Tip).unwrap();
    assert_eq!((seen.anchor, seen.tip), (f.id(&main, "HEAD"), None));
    assert_eq!(f.repo.commit_root(&main.join(".git"), seen.anchor).unwrap(), seen.root);
}

#[test]
fn what_names_no_commit_is_refused() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let tree = f.git(&main, &["rev-parse", "HEAD^{tree}"]);
    let zeros = "0".repeat(40);
    let missing = "1".repeat(40);
    let wide = "1".repeat(64);
    for text in [
        "",
        " ",
        "-",
        "--all",
        "--exec=x",
        "nothing",
        "HEAD~99",
        "HEAD^{tree}",
        "HEAD:file",
        &tree,
        &zeros,
        &missing,
        &wide,
        "main..main",
        "^main",
        "@{-1}",
        "@{upstream}",
        "..",
        "\0",
        "\u{fc}",
        "main@{99999}",
        ":/nothing such",
        "a b",
    ] {
        match f.repo.sight(&main, &thread("new"), &revision(text)) {
            Err(Error::AnchorNotFound { anchor }) => assert_eq!(anchor, text),
            other => panic!("{text:?}: {other:?}"),
        }
    }
    match f.repo.commit_root(&main.join(".git"), tree.parse().unwrap()) {
        Err(Error::AnchorNotFound { anchor }) => assert_eq!(anchor, tree),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_replaced_commit_keeps_its_own_tree() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let root = f.id(&main, "HEAD^{tree}");
    let first = f.id(&main, "HEAD");
    f.commit(&main, "two");
    f.git(&main, &["replace", &first.to_string(), "HEAD"]);
    assert_eq!(f.fresh().commit_root(&main.join(".git"), first).unwrap(), root);
}

#[test]
fn head_may_be_detached_unborn_or_of_a_linked_worktree() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let first = f.id(&main, "HEAD");
    let linked = f.root.join("linked");
    f.git(&main, &["worktree", "add", "--quiet", "-b", "side", linked.to_str().unwrap()]);
    let second = f.commit(&linked, "on the side");
    for (path, state, branch) in [(&main, first, "main"), (&linked, second, "side")] {
        let seen = f.repo.sight(path, &thread("new"), &Anchor::Head).unwrap();
        assert_eq!((seen.anchor, seen.checked_out), (state, Some(thread(branch))));
        let seen = f.repo.sight(path, &thread("new"), &revision("HEAD")).unwrap();
        assert_eq!(seen.anchor, state, "a revision is resolved in the worktree that was named");
    }
    f.git(&main, &["checkout", "--quiet", "--detach"]);
    let seen = f.repo.sight(&main, &thread("new"), &Anchor::Head).unwrap();
    assert_eq!((seen.anchor, seen.checked_out), (first, None));

    f.git(&main, &["checkout", "--quiet", "--orphan", "unborn"]);
    for anchor in [Anchor::Head, Anchor::Tip] {
        let seen = f.repo.sight(&main, &thread("new"), &anchor);
        assert!(matches!(seen, Err(Error::NoHead)), "{seen:?}");
    }
    let seen = f.repo.sight(&main, &thread("side"), &Anchor::Tip).unwrap();
    assert_eq!((seen.anchor, seen.checked_out), (second, Some(thread("unborn"))), "HEAD is not needed");
}

#[test]
fn a_head_that_moves_is_noticed_each_time() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    f.git(&main, &["branch", "mine"]);
    for round in 0..200 {
        let branch = if round % 2 == 0 { "mine" } else { "main" };
        // Written in place and at once, and every tenth time as Git does it.
        if round % 10 == 0 {
            f.git(&main, &["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")]);
        } else {
            std::fs::write(main.join(".git/HEAD"), format!("ref: refs/heads/{branch}\n")).unwrap();
        }
        for _ in 0..3 {
            let seen = f.repo.sight(&main, &thread("main"), &Anchor::Head).unwrap();
            assert_eq!(seen.checked_out, Some(thread(branch)));
        }
    }
}

#[test]
fn packing_and_collecting_between_calls_is_noticed() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let first = f.id(&main, "HEAD");
    f.git(&main, &["branch", "packed"]);
    assert_eq!(f.repo.tip(&main.join(".git"), &thread("packed")).unwrap(), Some(first));
    f.git(&main, &["pack-refs", "--all", "--prune"]);
    assert!(!main.join(".git/refs/heads/packed").exists());
    assert_eq!(f.repo.tip(&main.join(".git"), &thread("packed")).unwrap(), Some(first));
    for number in 0..20 {
        let state = f.commit(&main, &number.to_string());
        f.git(&main, &["branch", "-f", "packed"]);
        if number % 5 == 4 {
            f.git(&main, &["gc", "--quiet", "--prune=now"]);
        } else {
            f.git(&main, &["pack-refs", "--all"]);
        }
        let seen = f.repo.sight(&main, &thread("packed"), &Anchor::Tip).unwrap();
        assert_eq!((seen.anchor, seen.root), (state, f.id(&main, "HEAD^{tree}")));
    }
    f.git(&main, &["branch", "-D", "--quiet", "packed"]);
    assert_eq!(f.repo.tip(&main.join(".git"), &thread("packed")).unwrap(), None);
    assert!(f.repo.commit_root(&main.join(".git"), first).is_ok(), "it is still in a pack");
}

#[test]
fn a_name_that_git_cannot_hold_is_refused_with_what_stands_in_its_way() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    f.git(&main, &["branch", "a"]);
    f.git(&main, &["branch", "x/y/z"]);
    for packed in [false, true] {
        if packed {
            f.git(&main, &["pack-refs", "--all", "--prune"]);
        }
        for (name, stands) in [("a/b", "a"), ("a/b/c", "a"), ("x", "x/y/z"), ("x/y", "x/y/z"), ("x/y/z/1", "x/y/z")] {
            match f.repo.sight(&main, &thread(name), &Anchor::Head) {
                Err(Error::NameConflict { existing }) => assert_eq!(existing, thread(stands), "{name}"),
                other => panic!("{name}: {other:?}"),
            }
            assert!(!f.run(&main, &["branch", name]).status.success(), "Git cannot make {name} either");
        }
        for name in ["ab", "x/yy", "x/y/zz", "a-b"] {
            assert!(f.repo.sight(&main, &thread(name), &Anchor::Head).is_ok(), "{name}");
        }
    }
    // Empty directories are no branches.
    std::fs::create_dir_all(main.join(".git/refs/heads/left/behind")).unwrap();
    assert!(f.repo.sight(&main, &thread("left"), &Anchor::Head).is_ok());
}

#[test]
fn symbolic_and_broken_refs_are_not_absent() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let heads = main.join(".git/refs/heads");
    f.git(&main, &["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
    symlink("refs/heads/main", heads.join("linked")).unwrap();
    for name in ["alias", "linked"] {
        let seen = f.repo.sight(&main, &thread(name), &Anchor::Head);
        assert!(matches!(seen, Err(Error::SymbolicThread)), "{seen:?}");
    }
    nix::unistd::mkfifo(&heads.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::write(heads.join("empty"), "").unwrap();
    std::fs::write(heads.join("short"), "1234\n").unwrap();
    std::fs::write(heads.join("zeros"), format!("{}\n", "0".repeat(40))).unwrap();
    std::fs::write(heads.join("wide"), format!("{}\n", "1".repeat(64))).unwrap();
    symlink("/etc/hostname", heads.join("outside")).unwrap();
    for name in ["fifo", "empty", "short", "zeros", "wide", "outside"] {
        let tip = f.repo.tip(&main.join(".git"), &thread(name));
        assert!(matches!(tip, Err(Error::Unavailable { .. })), "{name}: {tip:?}");
    }
    std::fs::write(heads.join("dangling"), format!("{}\n", "1".repeat(40))).unwrap();
    let seen = f.repo.sight(&main, &thread("dangling"), &Anchor::Tip);
    assert!(matches!(seen, Err(Error::Unavailable { cause: Cause::NoCommit { .. }, .. })), "{seen:?}");
}

#[test]
fn sha256_repositories_work() {
    let f = Fixture::new();
    let main = f.init("main", &["--object-format=sha256"]);
    let state = f.commit(&main, "two");
    assert_eq!(state.as_bytes().len(), 32);
    f.git(&main, &["branch", "packed", "HEAD~1"]);
    f.git(&main, &["gc", "--quiet"]);
    let seen = f.repo.sight(&main, &thread("packed"), &revision("HEAD~1")).unwrap();
    assert_eq!((seen.anchor, seen.tip), (f.id(&main, "packed"), Some(f.id(&main, "packed"))));
    assert_eq!(seen.root, f.id(&main, "HEAD~1^{tree}"));
    f.repo.compare_and_swap(&main.join(".git"), &thread("new"), crate::repo::Expected::Absent, state, "made").unwrap();
    assert_eq!(f.branch(&main, "new"), Some(state));
    assert!(f.git(&main, &["reflog", "show", "new"]).contains("made"));
    f.assert_sound(&main);
}

/// G3: what cannot be read is an error, and never "no such commit".
#[test]
fn an_anchor_that_cannot_be_read_is_not_absent() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    f.git(&main, &["branch", "whole"]);
    let state = f.commit(&main, "two").to_string();
    f.git(&main, &["tag", "-a", "-m", "tag", "tagged"]);
    let tag = f.git(&main, &["rev-parse", "tagged"]);
    let file = |id: &str| main.join(".git/objects").join(&id[..2]).join(&id[2..]);
    let ask = |text: &str| f.fresh().sight(&main, &thread("new"), &revision(text));
    symlink("loop", main.join(".git/refs/heads/loop")).unwrap();
    for broken in [&state, &tag] {
        let content = std::fs::read(file(broken)).unwrap();
        std::fs::remove_file(file(broken)).unwrap();
        std::fs::write(file(broken), b"no object").unwrap();
        let names =
            if *broken == state { vec![state.as_str(), "main", "main~1", "tagged"] } else { vec!["tagged", &tag] };
        for text in names {
            let seen = ask(text);
            assert!(matches!(seen, Err(Error::Unavailable { .. })), "{text} with a broken object: {seen:?}");
        }
        assert!(ask("whole").is_ok(), "others are as good as before");
        std::fs::write(file(broken), content).unwrap();
    }
    for text in ["loop", "loop~1"] {
        let seen = ask(text);
        assert!(matches!(seen, Err(Error::Unavailable { .. })), "{text}: {seen:?}");
    }
    for text in [
        "no-such",
        "whole~7",
        "refs/heads",
        "heads",
        "whole/below",
        "whole:file/below",
        &"0".repeat(40),
        &"x".repeat(300),
    ] {
        let seen = ask(text);
        assert!(matches!(seen, Err(Error::AnchorNotFound { .. })), "{text}: {seen:?}");
    }
}
