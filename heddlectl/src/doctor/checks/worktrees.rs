//! The linked worktrees of the repository: those whose directory is gone, and those that are locked for a session that ended.

use proto_schema::{Chain, Kind, SessionId, SessionStatus, ShowParams};

use super::git::git;
use crate::client::Client;
use crate::doctor::bounded::Silent;
use crate::doctor::probe;
use crate::doctor::{Finding, Scene};
use crate::error::Error;

/// How many sessions are asked about.
const ASKED: usize = 100;

/// A linked worktree, as Git lists it.
#[derive(Default, Debug, PartialEq)]
struct Listed {
    path: String,
    prunable: bool,
    /// The session that it is locked for, where the lock is ours.
    locked_for: Option<SessionId>,
}

/// What is left over of them.
pub(super) fn worktrees(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "worktrees";
    let Some(worktree) = &scene.worktree else {
        return vec![Finding::skipped(NAME, "this is no worktree of a repository")];
    };
    let top = worktree.top.display().to_string();
    let listed = match git(&scene.env, &worktree.top, &["worktree", "list", "--porcelain", "-z"]) {
        Ok(said) if said.success => parse(&said.stdout),
        Err(Silent::Late) => {
            let summary =
                format!("`git worktree list` does not end in {top}: a file of the repository does not answer");
            return vec![Finding::error(NAME, summary).fix_words(["find", &top, "-maxdepth", "2", "-type", "p"])];
        }
        _ => return vec![Finding::skipped(NAME, "Git does not list them")],
    };
    let mut findings = Vec::new();
    let gone: Vec<&str> = listed.iter().filter(|one| one.prunable).map(|one| one.path.as_str()).collect();
    if let [first, rest @ ..] = gone.as_slice() {
        let more = if rest.is_empty() { String::new() } else { format!(" and of {} more", rest.len()) };
        let summary = format!("the directory of the worktree {first}{more} is gone, and Git still has its record");
        let finding = Finding::warning(NAME, summary).fix_words(["git", "-C", &top, "worktree", "prune"]);
        findings.push(finding.detail("paths", gone.clone()));
    }
    let mut client = scene.daemon().and_then(|daemon| probe::again(daemon, scene.uid));
    let ours = listed.iter().filter_map(|one| Some((one, one.locked_for?))).take(ASKED);
    for (one, session) in ours {
        if client.as_mut().is_some_and(|client| has_ended(client, session)) {
            let summary = format!("{} is locked for {session}, which has ended", one.path);
            let unlock = ["git", "-C", &top, "worktree", "unlock", &one.path];
            findings.push(Finding::warning(NAME, summary).fix_words(unlock).detail("session_id", session.to_string()));
        }
    }
    if findings.is_empty() {
        let count = listed.len().saturating_sub(1);
        findings.push(Finding::ok(NAME, format!("{count} linked, none left over")).detail("count", count));
    }
    findings
}

/// Whether a session is known to have ended, or not known at all. What cannot be found out is no.
fn has_ended(client: &mut Client, session: SessionId) -> bool {
    let time = crate::doctor::bounded::ANSWER;
    match client.call_within("agent.show", &ShowParams { session_id: session.into() }, time) {
        Ok(answer) => answer.read::<Chain>().is_ok_and(|chain| chain.reservation.status != SessionStatus::Active),
        Err(error) => Error::from(error).kind() == Some(Kind::AgentSessionNotFound),
    }
}

/// Reads `git worktree list --porcelain -z`: lines that end with NUL, an empty one after each worktree.
fn parse(listed: &[u8]) -> Vec<Listed> {
    let mut all = Vec::new();
    for line in listed.split(|byte| *byte == 0) {
        let line = String::from_utf8_lossy(line);
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "worktree" => all.push(Listed { path: rest.to_owned(), ..Listed::default() }),
            "prunable" => all.iter_mut().last().into_iter().for_each(|one: &mut Listed| one.prunable = true),
            "locked" => {
                let session = rest.strip_prefix("reserved by ").and_then(|session| session.parse().ok());
                all.iter_mut().last().into_iter().for_each(|one: &mut Listed| one.locked_for = session);
            }
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_as_git_writes_it() {
        let session = format!("agent-{}", "a".repeat(20));
        let text = format!(
            "worktree /r\0HEAD 1\0branch refs/heads/main\0\0worktree /r a\nb\0HEAD 1\0detached\0locked reserved by {session}\0\0\
             worktree /gone\0HEAD 1\0detached\0prunable gitdir file points to non-existent location\0\0\
             worktree /l\0HEAD 1\0detached\0locked\0\0"
        );
        let listed = parse(text.as_bytes());
        assert_eq!(listed.len(), 4);
        assert_eq!((listed[1].path.as_str(), listed[1].locked_for), ("/r a\nb", session.parse().ok()));
        assert!(listed[2].prunable && !listed[1].prunable && listed[3].locked_for.is_none());
    }
}
