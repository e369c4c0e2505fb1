//! After the power cut: what Git has before the daemon is started, and what the daemon has.

use std::collections::HashSet;

use serde_json::json;

use crate::client::Client;
use crate::daemon::Connection;
use crate::git::Repository;
use crate::model::{Standing, Thread};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Acknowledged changes that were looked for.
    pub(crate) checked: usize,
    /// Those that are not there.
    pub(crate) lost: Vec<String>,
    /// Unanswered requests that were repeated and granted.
    pub(crate) completed: usize,
    /// Branches with a lock file of a change that was cut off.
    pub(crate) locks: usize,
}

impl Found {
    fn expect(&mut self, kept: bool, what: impl FnOnce() -> String) {
        self.checked += 1;
        if !kept {
            self.lost.push(what());
        }
    }
}

/// Looks at the repository as the power cut left it.
pub(crate) fn on_disk(repository: &Repository, clients: &mut [Client], found: &mut Found) {
    for (name, content) in repository.loose() {
        if let Some(name) = name.strip_suffix(".lock") {
            let mut threads = clients.iter_mut().flat_map(|client| &mut client.threads);
            let thread = threads.find(|thread| thread.name == name).unwrap();
            assert!(thread.stuck || thread.states.len() > 1, "a lock file of an acknowledged change: {name}");
            found.locks += usize::from(!thread.stuck);
            thread.stuck = true;
        } else {
            let is_whole = content.len() == 41 && content.ends_with(b"\n") && content[..40].is_ascii();
            found.expect(is_whole, || format!("branch {name} holds {:?}", String::from_utf8_lossy(&content)));
        }
    }
    // What is broken here Git only complains of.
    if !found.lost.is_empty() {
        return;
    }
    let read = repository.read_all("--branches");
    found.expect(read.is_ok(), || format!("what the branches lead to cannot be read: {read:?}"));
    if read.is_err() {
        return;
    }
    branches(repository, clients, found);
    let marker = std::fs::read_to_string(repository.path.join(".git/heddle-registry")).unwrap_or_default();
    found.expect(marker.lines().count() == 6, || format!("the repository's marker: {marker:?}"));
}

fn branches(repository: &Repository, clients: &mut [Client], found: &mut Found) {
    let branches = repository.branches();
    for thread in clients.iter_mut().flat_map(|client| &mut client.threads) {
        let actual = branches.get(&thread.name).cloned();
        found.expect(thread.states.contains(&actual), || {
            format!("branch {} is at {actual:?}, but must be at one of {:?}", thread.name, thread.states)
        });
        let logged = repository.logged(&thread.name);
        let is_logged = !thread.was_moved() || actual.as_ref().is_none_or(|actual| logged.contains(actual));
        found.expect(is_logged, || format!("the reflog of {} lacks {actual:?}: {logged:?}", thread.name));
    }
}

/// Looks at what the daemon has after its start, and completes what was not answered.
pub(crate) fn in_store(
    repository: &Repository,
    clients: &mut [Client],
    connection: &mut Connection,
    found: &mut Found,
) {
    let mut seen = HashSet::new();
    let mut highest = 0;
    for thread in clients.iter_mut().flat_map(|client| &mut client.threads) {
        sessions(thread, connection, found);
        for session in &thread.sessions {
            highest = highest.max(session.fencing);
            assert!(seen.insert(session.fencing), "fencing token {} was granted twice", session.fencing);
        }
        let rises = thread.sessions.is_sorted_by_key(|session| session.fencing);
        assert!(rises, "the fencing tokens of {} do not rise", thread.name);
    }
    // The start may have brought a branch to its end that was not acknowledged, and nothing else.
    branches(repository, clients, found);
    if !found.lost.is_empty() {
        return;
    }
    for thread in clients.iter_mut().flat_map(|client| &mut client.threads) {
        let Some(request) = thread.unanswered.clone() else { continue };
        match connection.call("agent.reserve", &request) {
            Ok(answer) => {
                let fencing = answer["reservation"]["fencing_token"].as_u64().unwrap();
                let is_fresh = answer["replayed"] == false;
                assert!(!is_fresh || fencing > highest, "fencing token {fencing} is not over {highest}");
                assert!(seen.insert(fencing), "fencing token {fencing} was granted twice");
                highest = highest.max(fencing);
                thread.answered(&answer, request);
                found.completed += 1;
            }
            Err(failed) if thread.stuck => {
                let kinds = ["repository_unavailable", "agent_session_inactive"];
                assert!(kinds.contains(&failed.kind()), "{}: {failed:?}", thread.name);
            }
            // It was never acknowledged, and the commit that it names did not survive, for nobody had synced it.
            Err(failed) if request["anchor"].as_str().is_some_and(|anchor| repository.read_all(anchor).is_err()) => {
                let kinds = ["repository_unavailable", "agent_session_inactive", "anchor_not_found"];
                assert!(kinds.contains(&failed.kind()), "{}: {failed:?}", thread.name);
            }
            Err(failed) => panic!("{} is free, but cannot be reserved: {failed:?}", thread.name),
        }
    }
    let branches = repository.branches();
    for thread in clients.iter_mut().flat_map(|client| &mut client.threads) {
        thread.states = vec![branches.get(&thread.name).cloned()];
        thread.unanswered = None;
    }
}

/// Compares every session of the thread with what its client was told.
fn sessions(thread: &mut Thread, connection: &mut Connection, found: &mut Found) {
    for session in &mut thread.sessions {
        let shown = connection.call("agent.show", &json!({"session_id": session.id}));
        let Ok(shown) = shown else {
            found.expect(false, || format!("session {} of {}: {shown:?}", session.id, thread.name));
            continue;
        };
        let shown = &shown["reservation"];
        let is_active = shown["status"] == "active";
        if session.standing == Standing::Unsure {
            session.standing = if is_active { Standing::Active } else { Standing::Ended };
        }
        let is_same = shown["fencing_token"] == session.fencing && shown["thread"] == thread.name.as_str();
        let ended_well = is_active || shown["end_reason"] == "released";
        let is_kept = is_same && ended_well && is_active == (session.standing == Standing::Active);
        found.expect(is_kept, || format!("session {} of {} is {shown}", session.id, thread.name));

        let repeated = connection.call("agent.reserve", &session.request);
        let is_repeated = match (&repeated, session.standing) {
            (Ok(answer), Standing::Active) => {
                answer["replayed"] == true && answer["reservation"]["session_id"] == session.id.as_str()
            }
            (Err(failed), Standing::Ended) => failed.kind() == "agent_session_inactive",
            _ => false,
        };
        found.expect(is_repeated, || format!("repeating {} gives {repeated:?}", session.request));
    }
}

impl Thread {
    /// Whether the daemon has ever moved its branch, for all that is known.
    fn was_moved(&self) -> bool {
        !self.sessions.is_empty() && !self.name.starts_with("before/")
    }
}
