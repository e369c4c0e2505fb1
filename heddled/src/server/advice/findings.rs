//! What `agent.ready` says of what it found: each blocker and warning in a sentence, with the command that gets rid of it, and
//! the command to run next.

use std::path::Path;
use std::sync::Arc;

use proto_schema::{Finding, FindingKind};

use super::capture;
use crate::coordinator::{Blocker, Readiness};
use crate::repo::shown;

/// The most paths that one finding names.
const NAMED: usize = 1000;

/// What was found, in words.
pub(in crate::server) struct Said {
    /// What stands in the way.
    pub(in crate::server) blockers: Vec<Finding>,
    /// What is worth knowing.
    pub(in crate::server) warnings: Vec<Finding>,
    /// The command to run next.
    pub(in crate::server) next: Arc<str>,
}

/// Says what a check found.
pub(in crate::server) fn of(found: &Readiness) -> Said {
    let blockers: Vec<Finding> = found.blockers.iter().map(|blocker| blocking(found, blocker)).collect();
    let next = blockers.iter().find_map(|finding| finding.command.clone()).unwrap_or_else(|| integrate(found).into());
    Said { blockers, warnings: warnings(found), next }
}

fn finding(kind: FindingKind, summary: impl Into<Arc<str>>, command: Option<String>) -> Finding {
    Finding { kind, summary: summary.into(), paths: Vec::new(), command: command.map(Arc::from) }
}

fn blocking(found: &Readiness, blocker: &Blocker) -> Finding {
    let (thread, target) = (found.view.session.thread.as_str(), target(found));
    match blocker {
        Blocker::OperationInProgress(operation) => {
            let (word, commands) = capture::ways_out(*operation, |words| git(&worktree(found), words));
            let summary = format!("a {word} is under way in the worktree: complete it or give it up");
            finding(FindingKind::OperationInProgress, summary, commands.into_iter().next())
        }
        Blocker::IndexConflicted(paths) => {
            let summary =
                format!("{} in the worktree's index: solve and add them", count(paths.len() as u64, "conflict"));
            let paths = paths.iter().take(NAMED).map(|path| shown(path)).collect();
            let command = git(&worktree(found), &["status", "--short"]);
            Finding { paths, ..finding(FindingKind::IndexConflicted, summary, Some(command)) }
        }
        Blocker::WorktreeDirty(paths, changed) => {
            let are = if *changed == 1 { "is" } else { "are" };
            let summary = format!("{} in the worktree that {are} not captured", count(*changed, "changed path"));
            let command = heddlectl(found, &["capture", "--session", &found.view.session.id.to_string()]);
            Finding { paths: paths.clone(), ..finding(FindingKind::WorktreeDirty, summary, Some(command)) }
        }
        Blocker::TargetMissing => {
            let base = found.thread.record.base_state.to_string();
            let summary = format!("there is no branch '{target}' to integrate it into");
            finding(FindingKind::TargetMissing, summary, Some(git(&main(found), &["branch", target, &base])))
        }
        Blocker::UnrelatedHistories => {
            let summary = format!("'{thread}' and '{target}' have no commit in common");
            let words = ["merge", "--allow-unrelated-histories", "--no-edit", target];
            finding(FindingKind::UnrelatedHistories, summary, Some(git(&worktree(found), &words)))
        }
        Blocker::Conflicts(conflicts) => {
            let summary = format!("merging it into '{target}' conflicts at {}", count(conflicts.count, "path"));
            // Solved on the thread, by whoever knows its work; the target stays as it is.
            let command = git(&worktree(found), &["merge", "--no-edit", target]);
            Finding { paths: conflicts.paths.clone(), ..finding(FindingKind::Conflicts, summary, Some(command)) }
        }
    }
}

fn warnings(found: &Readiness) -> Vec<Finding> {
    let (comparison, checked) = (&found.comparison, found.thread.record.checked);
    let mut warnings = Vec::new();
    match found.target() {
        None => {
            let summary =
                "no target is known, so it was compared with nothing: reserve it with a target to change that";
            warnings.push(finding(FindingKind::NoTarget, summary, None));
        }
        Some(_) if !found.thread.has_target || comparison.merge_base.is_none() => {}
        Some(target) => {
            if comparison.ahead == 0 {
                let summary = format!("'{target}' has every commit of it: there is nothing to integrate");
                warnings.push(finding(FindingKind::NothingToIntegrate, summary, None));
            }
            if comparison.behind > 0 {
                let summary = format!("'{target}' has {} that it lacks", count(comparison.behind, "commit"));
                let command = git(&worktree(found), &["merge", "--no-edit", target.as_str()]);
                warnings.push(finding(FindingKind::Stale, summary, Some(command)));
            }
        }
    }
    let failed = checked.and_then(|checked| checked.verification).and_then(|verification| verification.tests_failed);
    if let Some(failed) = failed.filter(|failed| *failed > 0) {
        let summary = format!("the agent reports {} that failed", count(failed, "test"));
        warnings.push(finding(FindingKind::TestsFailed, summary, None));
    }
    if let Some(confidence) = checked.and_then(|checked| checked.confidence).filter(|confidence| *confidence < 0.5) {
        let summary = format!("the agent's confidence is {confidence}");
        warnings.push(finding(FindingKind::LowConfidence, summary, None));
    }
    warnings
}

/// The command that integrates a thread in whose way nothing stands.
fn integrate(found: &Readiness) -> String {
    let (thread, comparison) = (found.view.session.thread.as_str(), &found.comparison);
    let Some(target) = found.target().filter(|_| comparison.ahead > 0) else {
        return heddlectl(found, &["release", "--session", &found.view.session.id.to_string()]);
    };
    match &found.target_at {
        Some(place) => git(place, &["merge", "--no-edit", thread]),
        // Nobody has its files: the branch alone is moved forward.
        None if comparison.behind == 0 => {
            let refspec = format!("refs/heads/{thread}:refs/heads/{target}");
            git(&main(found), &["fetch", "--no-write-fetch-head", ".", &refspec])
        }
        None => {
            let place = format!("{}.worktrees/{target}", main(found).display());
            let add = git(&main(found), &["worktree", "add", &place, target.as_str()]);
            format!("{add} && {}", git(Path::new(&place), &["merge", "--no-edit", thread]))
        }
    }
}

fn target(found: &Readiness) -> &str {
    found.target().map_or("<target>", |target| target.as_str())
}

/// The worktree that was looked at, else the repository.
fn worktree(found: &Readiness) -> std::path::PathBuf {
    found.worktree.clone().unwrap_or_else(|| main(found))
}

/// The repository: its main worktree, or its Git directory where there is none.
fn main(found: &Readiness) -> std::path::PathBuf {
    found.thread.repo.as_ref().map(|repo| Path::new(&*repo.shown).to_owned()).unwrap_or_default()
}

fn git(place: &Path, words: &[&str]) -> String {
    let place = shown(place);
    shell_words::join(["git", "-C", &place].into_iter().chain(words.iter().copied()))
}

/// From anywhere: a session may be acted for from its own worktree.
fn heddlectl(found: &Readiness, words: &[&str]) -> String {
    let place = worktree(found);
    let place = shown(&place);
    shell_words::join(["heddlectl"].into_iter().chain(words.iter().copied()).chain(["--repo", &place]))
}

fn count(number: u64, of: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {of}{ending}")
}
