//! P7: a check of a thread, against `git status` and `git merge-tree`; once of a thread that merges, once of one that conflicts.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::Bench;
use super::capture::{Work, git, times_of};
use crate::clock;
use crate::contenders::heddled::Heddled;
use crate::report::{Goal, Report, Subject};
use crate::repository::{self, Repository};
use crate::schedule::{self, Contender};

/// The files of a large worktree.
const FILES: usize = 20_000;

/// Runs it.
pub(crate) fn run(bench: &Bench<'_>, report: &mut Report) -> anyhow::Result<()> {
    let window = bench.options.slice();
    for (what, measure, conflicts) in
        [("clean", "P7 ready, 20,000 files", false), ("conflict", "P7 ready, conflicting", true)]
    {
        let directory = bench.root.join("p7").join(what);
        let files = bench.options.amount(FILES);
        let peer = Repository::make_with(&directory.join("git"), files)?;
        git(&peer.path, &["switch", "--quiet", "--create", "work"])?;
        part(&peer, files, conflicts)?;
        let own = Repository::make_with(&directory.join("repo"), files)?;
        let heddled = (!bench.options.peers_only).then(|| Heddled::start(&directory.join("heddled"))).transpose()?;
        let mut contenders =
            vec![Contender::new("git status, merge-tree", |_| times_of(window, || look(&peer, conflicts)))];
        if let Some(heddled) = &heddled {
            let work = Work::begin(heddled, &own, None, "work")?;
            part(&own, files, conflicts)?;
            let expected = if conflicts { "blocked" } else { "completed" };
            contenders.push(Contender::new("ready", move |_| times_of(window, || check(&work, heddled, expected))));
        }
        let found = schedule::rotate(bench.options, contenders)?;
        report.noise += found.noise;
        let about = Subject { measure, connections: None, unit: "ms" };
        report.compare(about, "ready", &[("git status, merge-tree", Some(Goal::RatioAtMost(1.0)))], &found);
    }
    Ok(())
}

/// Commits on the thread, which is checked out, and on its target, from where they are.
fn part(repository: &Repository, files: usize, conflicts: bool) -> anyhow::Result<()> {
    let write = |number: usize, text: &str| std::fs::write(repository.path.join(repository::file(number)), text);
    let commit = |text: &str| {
        git(&repository.path, &["commit", "--quiet", "--all", "--message", text])?;
        git(&repository.path, &["status", "--porcelain"])
    };
    git(&repository.path, &["switch", "--quiet", "main"])?;
    write(files / 2, "theirs\n")?;
    commit("theirs")?;
    git(&repository.path, &["switch", "--quiet", "work"])?;
    write(if conflicts { files / 2 } else { files / 3 }, "ours\n")?;
    commit("ours")
}

/// What people do today.
fn look(repository: &Repository, conflicts: bool) -> anyhow::Result<Duration> {
    let began = clock::now();
    let run = |arguments: &[&str]| {
        let mut command = repository::git(&repository.path);
        command.args(arguments).stdin(std::process::Stdio::null()).output().context("git")
    };
    let status = run(&["status", "--porcelain"])?;
    let merged = run(&["merge-tree", "--write-tree", "main", "work"])?;
    let span = began.elapsed();
    ensure!(status.status.success() && status.stdout.is_empty(), "the worktree is clean");
    ensure!(merged.status.code() == Some(i32::from(conflicts)), "the merge is not as it was meant");
    Ok(span)
}

fn check(work: &Work, heddled: &Heddled, expected: &str) -> anyhow::Result<Duration> {
    let mut key = work.key.clone();
    if let Some(key) = key.as_object_mut() {
        key.remove("message");
    }
    let began = clock::now();
    let answer = heddled.call("agent.ready", &key)?;
    let span = began.elapsed();
    ensure!(answer.get("status").and_then(Value::as_str) == Some(expected), "it is not {expected}: {answer}");
    Ok(span)
}
