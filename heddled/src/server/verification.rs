//! How a repository is, in the wire's words: each check with what it found, and the commands that help.
//!
//! A command names real paths and is quoted for a shell; it does what it says wherever it is pasted, and the first one never
//! throws work away.

use std::sync::Arc;

use proto_schema::{RemoteDrift, Verification, VerificationCheck, VerificationStatus};

use super::advice::capture::active_operation;
use super::advice::git::{LEFT_BEHIND_MS, running};
use crate::coordinator::{OrphanReason, Verified};
use crate::repo::{self, BranchFound, CaptureRefused, GitOperation, Head, Inspection, shown};

/// How many names a summary has; the rest is counted.
const NAMED: usize = 3;

/// In which order the commands of the checks are recommended: first what keeps the others from helping.
const FIRST: [&str; 8] = ["repository", "registry", "operation", "threads", "sessions", "worktree", "upstream", "head"];

/// What one check found.
struct Finding {
    name: &'static str,
    clean: bool,
    broken: bool,
    summary: String,
    commands: Vec<String>,
}

impl Finding {
    fn clean(name: &'static str, summary: impl Into<String>) -> Self {
        Self { name, clean: true, broken: false, summary: summary.into(), commands: Vec::new() }
    }

    fn problem(name: &'static str, summary: impl Into<String>, commands: Vec<String>) -> Self {
        Self { name, clean: false, broken: false, summary: summary.into(), commands }
    }

    fn broken(name: &'static str, summary: impl Into<String>, commands: Vec<String>) -> Self {
        Self { broken: true, ..Self::problem(name, summary, commands) }
    }
}

/// Where commands are to work.
struct Place(String);

impl Place {
    fn git(&self, words: &[&str]) -> String {
        shell_words::join(["git", "-C", &self.0].iter().chain(words))
    }

    fn heddlectl(&self, words: &[&str]) -> String {
        shell_words::join(["heddlectl", "--repo", &self.0].iter().chain(words))
    }
}

/// Tells what was found.
pub(super) fn tell(found: &Verified) -> Verification {
    let top = found.repo.worktree.as_deref().map_or_else(|| Arc::clone(&found.repo.shown), shown);
    let place = Place(top.to_string());
    let findings = match &found.inspection {
        Ok(inspection) => vec![
            Finding::clean("repository", "Git's own files of it can be read"),
            registry(found, inspection, &place),
            head(found, inspection, &place),
            worktree(found, &place),
            operation(inspection, &place),
            upstream(inspection, &place),
            sessions(found, inspection, &place),
            threads(inspection, &place),
        ],
        Err(error) => {
            let unknown = |name| Finding::problem(name, "it cannot be told", Vec::new());
            let fsck = place.git(&["fsck", "--connectivity-only"]);
            let mut findings = vec![Finding::broken("repository", error.to_string(), vec![fsck])];
            findings.extend(["registry", "head"].map(unknown));
            findings.push(worktree(found, &place));
            findings.extend(["operation", "upstream", "sessions", "threads"].map(unknown));
            findings
        }
    };
    let inspection = found.inspection.as_ref().ok();
    let branch = match inspection.map(|inspection| &inspection.head) {
        Some(Head::Branch { name, .. }) if found.repo.worktree.is_some() => Some(Arc::from(name.as_str())),
        _ => None,
    };
    let status = match &findings {
        all if all.iter().any(|finding| finding.broken) => VerificationStatus::Broken,
        all if all.iter().any(|finding| !finding.clean) => VerificationStatus::Attention,
        _ => VerificationStatus::Clean,
    };
    let commands = commands(&findings);
    Verification {
        verified: status == VerificationStatus::Clean,
        status,
        git_branch: branch,
        worktree_dirty: found
            .status
            .as_ref()
            .and_then(|status| status.as_ref().ok())
            .map(repo::WorktreeStatus::is_dirty),
        active_operation: inspection.and_then(|inspection| inspection.operation).map(|one| active_operation(one).0),
        remote_drift: inspection.and_then(|inspection| inspection.upstream.as_ref()).map(|upstream| RemoteDrift {
            upstream: upstream.name.as_str().into(),
            ahead: upstream.apart.map(|apart| apart.0),
            behind: upstream.apart.map(|apart| apart.1),
        }),
        summary: summary(&findings, &top).into(),
        recommended_action: commands.first().cloned(),
        recovery_commands: commands,
        checks: findings
            .into_iter()
            .map(|finding| VerificationCheck {
                name: finding.name.into(),
                clean: finding.clean,
                summary: finding.summary.into(),
            })
            .collect(),
    }
}

fn summary(findings: &[Finding], top: &str) -> String {
    let mut problems = findings.iter().filter(|finding| !finding.clean);
    let Some(first) = problems.next() else { return format!("{top} is clean") };
    match problems.count() {
        0 => format!("{}: {}", first.name, first.summary),
        more => format!("{}: {}; and {more} more of {} checks", first.name, first.summary, findings.len()),
    }
}

/// The commands of all checks, each once. The first of each check come before the second ones.
fn commands(findings: &[Finding]) -> Vec<Arc<str>> {
    let by_name = |name: &&str| findings.iter().find(|finding| finding.name == *name);
    let ordered: Vec<&Finding> = FIRST.iter().filter_map(by_name).collect();
    let mut commands: Vec<Arc<str>> = Vec::new();
    let most = ordered.iter().map(|finding| finding.commands.len()).max().unwrap_or(0);
    for command in (0..most).flat_map(|number| ordered.iter().filter_map(move |finding| finding.commands.get(number))) {
        if !commands.iter().any(|known| **known == **command) {
            commands.push(command.as_str().into());
        }
    }
    commands
}

fn registry(found: &Verified, inspection: &Inspection, place: &Place) -> Finding {
    const NAME: &str = "registry";
    match &inspection.owner {
        Ok(None) => Finding::clean(NAME, "no registry has it yet; the first reserve marks it"),
        Ok(Some(owner)) if owner.id == found.claim.id => {
            Finding::clean(NAME, "this daemon's registry decides about it")
        }
        Ok(Some(owner)) => {
            let adopt = place.heddlectl(&["repo", "adopt", "--reason", "its registry is not used any more"]);
            let stop = running(&owner.state_dir).map(|daemon| {
                let socket = daemon.socket.display().to_string();
                shell_words::join(["heddlectl", "--socket", &socket, "daemon", "stop"])
            });
            let summary = format!("the registry in {} decides about it", shown(&owner.state_dir));
            Finding::problem(NAME, summary, stop.into_iter().chain([adopt]).collect())
        }
        Err(error) => {
            let marker = shown(&found.repo.git_dir.join("heddle-registry"));
            Finding::problem(NAME, error.to_string(), vec![shell_words::join(["ls", "-l", "--", &marker])])
        }
    }
}

fn head(found: &Verified, inspection: &Inspection, place: &Place) -> Finding {
    const NAME: &str = "head";
    match &inspection.head {
        _ if found.repo.worktree.is_none() => {
            Finding::clean(NAME, "it is seen from its Git directory, without a worktree")
        }
        Head::Branch { name, tip: Some(_) } => Finding::clean(NAME, format!("on {name}")),
        Head::Branch { name, tip: None } => {
            let commit = place.git(&["commit", "--allow-empty", "-m", "Begin"]);
            Finding::problem(NAME, format!("{name} has no commit yet"), vec![commit])
        }
        Head::Detached(state) => {
            let short = &state.to_string()[..12];
            if inspection.operation.is_some() {
                return Finding::clean(NAME, format!("detached at {short} by what is under way"));
            }
            let switch = place.git(&["switch", "--create", &format!("from-{short}")]);
            Finding::problem(NAME, format!("detached at {short}: what is committed is on no branch"), vec![switch])
        }
        Head::Missing => {
            Finding::broken(NAME, "HEAD names neither a branch nor a commit", vec![place.git(&["worktree", "list"])])
        }
    }
}

fn worktree(found: &Verified, place: &Place) -> Finding {
    const NAME: &str = "worktree";
    let look = || vec![place.git(&["status"])];
    match &found.status {
        None => Finding::clean(NAME, "none is looked at"),
        Some(Ok(status)) if !status.is_dirty() => Finding::clean(NAME, "nothing to commit"),
        Some(Ok(status)) => {
            let count = match status.changed_count {
                1 => "1 path is not committed".to_owned(),
                count => format!("{count} paths are not committed"),
            };
            let conflicts = match status.conflicted.len() {
                0 => String::new(),
                count => format!(", {count} of them in conflict"),
            };
            let paths = few(&status.changed_paths, status.changed_count);
            Finding::problem(NAME, format!("{count}{conflicts}: {paths}"), look())
        }
        Some(Err(error)) => {
            // Only the repository can say where a worktree is whose own pointer is wrong.
            let commands = if matches!(**error, repo::Error::WorktreeNotFound { .. }) {
                vec![shell_words::join(["git", "-C", &found.repo.shown, "worktree", "list"])]
            } else {
                look()
            };
            Finding::problem(NAME, format!("it cannot be told: {}", unknown(error)), commands)
        }
    }
}

/// Why a worktree could not be looked at.
fn unknown(error: &repo::Error) -> String {
    if let repo::Error::Capture(CaptureRefused::FilterNotAllowed { filter, path }) = error {
        return format!("the filter '{filter}' of {} may not run", shown(path));
    }
    if let repo::Error::Capture(CaptureRefused::Cancelled) = error {
        return "to look at it takes too long".to_owned();
    }
    if let repo::Error::WorktreeNotFound { .. } = error {
        return "its .git leads elsewhere than the repository's record of it".to_owned();
    }
    error.to_string()
}

fn operation(inspection: &Inspection, place: &Place) -> Finding {
    const NAME: &str = "operation";
    let Some(operation) = inspection.operation else { return Finding::clean(NAME, "none is under way") };
    let (_, word) = active_operation(operation);
    let end = if operation == GitOperation::Bisect { "reset" } else { "--abort" };
    // Git says there how it goes on.
    Finding::problem(NAME, format!("a {word} is under way"), vec![place.git(&["status"]), place.git(&[word, end])])
}

fn upstream(inspection: &Inspection, place: &Place) -> Finding {
    const NAME: &str = "upstream";
    let Some(upstream) = &inspection.upstream else { return Finding::clean(NAME, "none is configured") };
    let name = &upstream.name;
    match upstream.apart {
        Some((0, 0)) => Finding::clean(NAME, format!("level with {name}")),
        // Work that is not pushed yet is nothing out of order.
        Some((ahead, 0)) => Finding::clean(NAME, format!("{ahead} ahead of {name}")),
        Some((0, behind)) => {
            let merge = place.git(&["merge", "--ff-only", "@{upstream}"]);
            Finding::problem(NAME, format!("{behind} behind {name}"), vec![merge])
        }
        Some((ahead, behind)) => {
            let log = place.git(&["log", "--oneline", "--left-right", "HEAD...@{upstream}"]);
            Finding::problem(NAME, format!("{ahead} ahead of {name} and {behind} behind"), vec![log])
        }
        None if matches!(inspection.head, Head::Branch { tip: None, .. }) => {
            Finding::clean(NAME, format!("{name}, of a branch without commits"))
        }
        None => {
            let unset = place.git(&["branch", "--unset-upstream"]);
            Finding::problem(NAME, format!("{name} is gone"), vec![unset])
        }
    }
}

fn sessions(found: &Verified, inspection: &Inspection, place: &Place) -> Finding {
    const NAME: &str = "sessions";
    let (mut orphans, mut commands) = (Vec::new(), Vec::new());
    for orphan in &found.orphans {
        let id = orphan.session.id.to_string();
        let (why, command) = match orphan.reason {
            OrphanReason::Dead => ("its process is dead", place.heddlectl(&["list", "--alive-only"])),
            OrphanReason::NoWorktree => {
                let evict = ["evict", &id, "--reason", "its worktree is gone"];
                ("its worktree is gone", place.heddlectl(&evict))
            }
        };
        orphans.push(format!("{id} on {}: {why}", orphan.session.thread));
        commands.push(command);
    }
    for thread in inspection.threads.iter().filter(|found| found.branch == BranchFound::Gone) {
        orphans.push(format!("the holder of {}: its branch is gone", thread.thread));
        commands.extend(again(thread, place));
    }
    if orphans.is_empty() {
        return Finding::clean(NAME, "none is orphaned");
    }
    let count = orphans.len() as u64;
    Finding::problem(NAME, few(&orphans, count), commands)
}

fn threads(inspection: &Inspection, place: &Place) -> Finding {
    const NAME: &str = "threads";
    let (mut problems, mut commands) = (Vec::new(), Vec::new());
    for found in &inspection.threads {
        match found.branch {
            BranchFound::Kept => {}
            BranchFound::Moved => {
                problems.push(format!("{} was moved under its holder", found.thread));
                commands.push(place.heddlectl(&["thread", "show", found.thread.as_str()]));
            }
            BranchFound::Gone => {
                problems.push(format!("{} was deleted under its holder", found.thread));
                commands.extend(again(found, place));
            }
        }
        // A younger one is that of a process at work.
        if let Some((lock, _)) = found.lock.as_ref().filter(|(_, age_ms)| *age_ms >= LEFT_BEHIND_MS) {
            problems.push(format!("{} was left locked", found.thread));
            commands.push(shell_words::join(["rm", "--", &shown(lock)]));
        }
    }
    if problems.is_empty() {
        return Finding::clean(NAME, "every branch that is held is where it was left");
    }
    let count = problems.len() as u64;
    Finding::problem(NAME, few(&problems, count), commands)
}

/// Makes a branch again that was deleted.
fn again(found: &repo::ThreadFound, place: &Place) -> Option<String> {
    let state = found.recorded?.to_string();
    Some(place.git(&["branch", found.thread.as_str(), &state]))
}

/// The first of some names, and how many more there are.
fn few(names: &[impl AsRef<str>], count: u64) -> String {
    let first: Vec<&str> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    let more = count.saturating_sub(first.len() as u64);
    if more == 0 { first.join(", ") } else { format!("{} and {more} more", first.join(", ")) }
}
