//! How long the hot paths take. Ignored by default: `cargo test --release -p heddled --lib repo -- --ignored --nocapture`.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use proto_schema::ObjectId;

use super::fixture::{Fixture, thread};
use crate::registry::MarkKey;
use crate::repo::{
    Anchor, Capture, CaptureRequest, Claim, Expected, GitRepo, Identity, MergeRequest, Pair, Repo as _, StatusRequest,
    Surroundings,
};

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn seconds(run: impl FnOnce()) -> f64 {
    let start = std::time::Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

fn measure(what: &str, rounds: u32, mut run: impl FnMut(u32)) {
    let mut times: Vec<f64> = (0..rounds).map(|round| seconds(|| run(round)) * 1e6).collect();
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    println!("{what:<40} p50 {:8.2} us  p99 {:8.2} us", at(50), at(99));
}

#[test]
#[ignore = "a measurement"]
fn hot_paths() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let linked = f.root.join("linked");
    f.git(&main, &["worktree", "add", "--quiet", "-b", "side", linked.to_str().unwrap()]);
    std::fs::create_dir_all(main.join("a/b")).unwrap();
    f.git(&main, &["branch", "loose"]);
    f.git(&main, &["branch", "packed"]);
    f.git(&main, &["pack-refs", "--all", "--prune"]);
    f.git(&main, &["branch", "-f", "loose", "main"]);
    f.commit(&main, "two");
    f.git(&main, &["branch", "-f", "loose"]);
    let sub = main.join("a/b");
    let git_dir = main.join(".git");
    let cases: [(&str, &Path, &str, Anchor); 6] = [
        ("sight loose, tip", &main, "loose", Anchor::Tip),
        ("sight loose, head", &main, "loose", Anchor::Head),
        ("sight packed, tip", &main, "packed", Anchor::Tip),
        ("sight loose, two folders down", &sub, "loose", Anchor::Tip),
        ("sight loose, linked worktree", &linked, "loose", Anchor::Tip),
        ("sight loose, HEAD~1", &main, "loose", Anchor::Revision("HEAD~1".to_owned())),
    ];
    for (what, path, name, anchor) in cases {
        let name = thread(name);
        measure(what, 20_000, |_| drop(f.repo.sight(path, &name, &anchor).unwrap()));
    }
    let claim = Claim {
        id: "id".into(),
        state_dir: f.root.clone(),
        key: MarkKey([1; 32]),
        surroundings: Surroundings::default(),
    };
    measure("claim", 20_000, |_| drop(f.repo.claim(&git_dir, &claim, 0, Identity::New)));
    measure("locate, cold", 200, |_| drop(f.fresh().locate(&main).unwrap()));
    let state = f.id(&main, "HEAD");
    let swap = |name: &str| f.repo.compare_and_swap(&git_dir, &thread(name), Expected::Absent, state, "made").unwrap();
    measure("compare_and_swap, create", 1_000, |round| swap(&format!("t{round}")));
    measure("compare_and_swap, create two deep", 1_000, |round| swap(&format!("d/e/t{round}")));
    measure("git update-ref, a process each", 200, |round| {
        f.git(&main, &["update-ref", "-m", "made", &format!("refs/heads/g{round}"), &state.to_string()]);
    });
}

#[test]
#[ignore = "a measurement"]
fn capture_of_ten_files_among_twenty_thousand() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    for folder in 0..200 {
        std::fs::create_dir_all(main.join(format!("folder/{folder}"))).unwrap();
        for file in 0..100 {
            std::fs::write(main.join(format!("folder/{folder}/{file}")), format!("{folder} {file}")).unwrap();
        }
    }
    f.git(&main, &["add", "-A"]);
    f.git(&main, &["commit", "--quiet", "-m", "many"]);
    let change = |round: u32| {
        for number in 0..10 {
            let path = main.join(format!("folder/{}/{}", number * 17, round % 100));
            std::fs::write(path, format!("round {round}, {number}")).unwrap();
        }
    };
    // In turn, so that what else the machine does falls on both.
    let (mut by_git, mut captured) = (Vec::new(), Vec::new());
    for round in 0..20 {
        change(2 * round);
        by_git.push(seconds(|| {
            f.git(&main, &["add", "-A"]);
            f.git(&main, &["commit", "--quiet", "-m", "by Git"]);
        }));
        change(2 * round + 1);
        let recorded_state = f.id(&main, "HEAD");
        captured.push(seconds(|| capture(&f.repo, &main, recorded_state)));
    }
    for (what, mut times) in [("git add -A && git commit", by_git), ("capture", captured)] {
        times.sort_by(f64::total_cmp);
        println!("{what:<40} p50 {:8.2} ms", times[times.len() / 2] * 1e3);
    }
}

fn capture(repo: &GitRepo, main: &Path, recorded_state: ObjectId) {
    let (git_dir, thread) = (main.join(".git"), thread("main"));
    let request = CaptureRequest {
        git_dir: &git_dir,
        worktree: main,
        thread: &thread,
        recorded_state,
        message: "captured",
        trailers: &[],
        allowed_filters: &[],
        cancelled: &AtomicBool::new(false),
    };
    let Capture::Prepared { prepared, .. } = repo.prepare_capture(&request).unwrap() else { panic!("nothing") };
    repo.compare_and_swap(&git_dir, &thread, Expected::At(recorded_state), prepared.new, "capture").unwrap();
    repo.finish_capture(&git_dir, &prepared, "capture").unwrap();
}

/// A look at a clean worktree of 20,000 files, beside what Git takes for the same.
#[test]
#[ignore = "a measurement"]
fn status() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    for number in 0..20_000 {
        let path = main.join(format!("d{}/e{}/f{number}", number % 20, number % 400));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{number}\n")).unwrap();
    }
    f.git(&main, &["add", "-A"]);
    f.git(&main, &["commit", "--quiet", "-m", "many"]);
    f.git(&main, &["-c", "gc.auto=0", "repack", "-adq"]);
    f.git(&main, &["status"]);
    let git_dir = main.join(".git");
    let (cancelled, filters) = (AtomicBool::new(false), []);
    let request = StatusRequest {
        git_dir: &git_dir,
        worktree: &main,
        ignored: false,
        allowed_filters: &filters,
        cancelled: &cancelled,
    };
    // In turns, so that what else the machine does is the same for both.
    for _ in 0..3 {
        measure("git status", 20, |_| drop(f.git(&main, &["status", "--porcelain=v2", "-uall"])));
        measure("status", 20, |_| assert_eq!(f.repo.status(&request).unwrap().changed_count, 0));
    }
}

#[test]
#[ignore = "a measurement"]
fn comparing_and_merging() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    for number in 0..2_000 {
        let file = main.join(format!("{}/{number}", number % 50));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, format!("{number}\n")).unwrap();
    }
    let commit = |branch: &str, from: &str, file: &str, content: &str| {
        f.git(&main, &["checkout", "--quiet", "-b", branch, from]);
        std::fs::write(main.join(file), content).unwrap();
        f.git(&main, &["add", "-A"]);
        f.git(&main, &["commit", "--quiet", "-m", branch]);
        f.id(&main, "HEAD")
    };
    let base = commit("base", "main", "7/7", "base\n");
    let target = commit("target", "base", "1/1", "target\n");
    let (tip, clash) = (commit("tip", "base", "2/2", "tip\n"), commit("clash", "base", "1/1", "clash\n"));
    let git_dir = main.join(".git");
    let cancelled = AtomicBool::new(false);
    let conflicts = |tip| {
        let request = MergeRequest { git_dir: &git_dir, target, tip, cancelled: &cancelled };
        f.repo.conflicts(&request).unwrap().count
    };
    let pair = Pair { tip, target: Some(target), base };
    measure("compare, not remembered", 200, |_| drop(f.fresh().compare(&git_dir, pair).unwrap()));
    measure("compare, remembered", 20_000, |_| drop(f.repo.compare(&git_dir, pair).unwrap()));
    measure("conflicts, in process", 2_000, |_| assert_eq!(conflicts(tip), 0));
    measure("conflicts, by git", 200, |_| assert_eq!(conflicts(clash), 1));
    for (what, tip) in [("git merge-tree, clean", "tip"), ("git merge-tree, conflicts", "clash")] {
        measure(what, 200, |_| drop(f.run(&main, &["merge-tree", "--write-tree", "target", tip])));
    }
}
