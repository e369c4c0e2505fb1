//! Why a worktree stays, in a sentence.

use crate::coordinator::Stays;
use crate::repo::{Finding, GitOperation, Kept, LinkedWorktree, shown};

/// Why that worktree was not removed.
pub(in crate::server) fn stays(worktree: &LinkedWorktree, why: &Stays) -> String {
    match why {
        Stays::Held(session) => format!("{session} holds the thread"),
        Stays::InUse { session, thread } => format!("{session} works in it, on the thread '{thread}'"),
        Stays::AskedFrom => "it is where this was asked from: ask from another worktree".to_owned(),
        Stays::BranchGone => "its branch is not there any more".to_owned(),
        Stays::NoTarget => "nobody said what it is meant for, so whether it is merged cannot be told".to_owned(),
        Stays::TargetGone(target) => format!("it is meant for '{target}', and there is no such branch"),
        Stays::Unchanged => "nothing was committed on it since it was first reserved".to_owned(),
        Stays::NotMerged { target, ahead } => {
            format!("not merged into '{target}' yet: {} ahead", count(*ahead, "commit"))
        }
        Stays::Git(kept) => self::kept(worktree, kept),
        Stays::Unreadable(error) => format!("it cannot be looked at or not be removed: {error}"),
    }
}

fn kept(worktree: &LinkedWorktree, kept: &Kept) -> String {
    match kept {
        Kept::Gone => "no worktree is there; `git worktree prune` makes Git forget it".to_owned(),
        Kept::Locked { reason } if reason.is_empty() => "it is locked".to_owned(),
        Kept::Locked { reason } => format!("it is locked: {reason}"),
        Kept::Busy { lock } => format!("another program is at work in it, or has left {} behind", shown(lock)),
        Kept::Operation(operation) => format!("a {} is under way in it", word(*operation)),
        Kept::Moved => "its branch, or its HEAD, was moved just now".to_owned(),
        Kept::Conflicted { count: paths } => format!("{} with conflicts", count(*paths as u64, "path")),
        Kept::Changed { path, count: 1 } => format!("'{path}' is not committed"),
        Kept::Changed { path, count } => format!("{count} paths are not committed, '{path}' the first of them"),
        Kept::Ignored { count: 1 } => "an ignored path is in it, which may be work".to_owned(),
        Kept::Ignored { count } => format!("{count} ignored paths are in it, which may be work"),
        Kept::Refs => "it has refs of its own, which would be lost with it".to_owned(),
        Kept::Filter { filter, path } => {
            format!("whether '{path}' was changed cannot be told: the content filter '{filter}' may not run")
        }
        Kept::Found { finding, path } => found(*finding, path),
        Kept::Disturbed { path } => {
            let restore = shell_words::join(["git", "-C", &shown(&worktree.path), "restore", "--", ":/"]);
            format!(
                "it was changed while it was removed, at '{path}'; `{restore}` brings back what was removed by then"
            )
        }
    }
}

fn found(finding: Finding, path: &str) -> String {
    match finding {
        Finding::Unlisted => format!("'{path}' is in it, and not in its branch"),
        Finding::Repository => format!("a repository of its own is in it, at '{path}'"),
        Finding::Special => format!("'{path}' is no file that Git could bring back"),
        Finding::Unwatched => {
            format!("Git does not look whether '{path}' was changed (assume-unchanged, skip-worktree)")
        }
        Finding::Mounted => format!("another file system is mounted in it, at '{path}'"),
        Finding::Deep => format!("its folders are too deep to be looked at, at '{path}'"),
        Finding::ReadOnly if path.is_empty() => "nothing may be removed in it".to_owned(),
        Finding::ReadOnly => format!("nothing may be removed in '{path}'"),
        Finding::Changed if path.is_empty() => "it was changed just now".to_owned(),
        Finding::Changed => format!("'{path}' was changed just now"),
    }
}

fn word(operation: GitOperation) -> &'static str {
    match operation {
        GitOperation::Merge => "merge",
        GitOperation::Rebase => "rebase",
        GitOperation::CherryPick => "cherry-pick",
        GitOperation::Revert => "revert",
        GitOperation::Bisect => "bisect",
    }
}

fn count(number: u64, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}
