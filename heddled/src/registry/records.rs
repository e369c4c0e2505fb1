//! The registry as records, for a store to keep: all of them, or those in which two states differ.

use std::sync::Arc;

use imbl::ordmap::DiffItem;
use proto_schema::FencingToken;

use super::record::{AgentRecord, RepoId, RepoRecord, SessionRecord, ThreadKey, ThreadRecord};
use super::state::{Counters, Registry};

/// Everything a store keeps of the registry; the indexes are made anew from it.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// The numbers that only ever rise.
    pub counters: Counters,
    /// Every repository.
    pub repos: Vec<Arc<RepoRecord>>,
    /// Every session.
    pub sessions: Vec<Arc<SessionRecord>>,
    /// Every thread.
    pub threads: Vec<Arc<ThreadRecord>>,
}

/// One record that two states of the registry do not have in common.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// The repository is new or changed. Repositories are never forgotten.
    Repo(Arc<RepoRecord>),
    /// The session is new or changed.
    Session(Arc<SessionRecord>),
    /// The session was forgotten.
    SessionForgotten(FencingToken),
    /// The thread is new or changed. Threads are never forgotten.
    Thread(Arc<ThreadRecord>),
}

impl Registry {
    /// Makes the registry of what a store kept. Total: whatever combination of records is there, R1 holds afterwards,
    /// for of two active sessions of one thread only the later one holds it, and of two repositories with one place the one
    /// with the higher id has it.
    #[must_use]
    pub fn restore(records: Records) -> Self {
        let mut registry = Self { counters: records.counters, ..Self::default() };
        let mut repos = records.repos;
        repos.sort_by_key(|repo| repo.id);
        for repo in repos {
            registry.see(&repo);
        }
        for thread in records.threads {
            registry.counters.thread = registry.counters.thread.max(thread.id);
            registry.threads.insert((thread.repo, thread.thread.clone()), thread);
        }
        let mut sessions = records.sessions;
        sessions.sort_by_key(|session| session.fencing_token);
        let mut agent = None;
        for mut session in sessions {
            registry.counters.fencing = registry.counters.fencing.max(session.fencing_token.0);
            share(&mut agent, &mut session);
            registry.put(&session);
        }
        registry
    }

    /// What is new, changed or gone in this state since `before`. Costs what differs, not what is there.
    pub fn since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = Difference> + 'a {
        let repos = before.repos.diff(&self.repos).filter_map(|item: DiffItem<'_, '_, RepoId, _>| match item {
            DiffItem::Add(_, repo) | DiffItem::Update { new: (_, repo), .. } => {
                Some(Difference::Repo(Arc::clone(repo)))
            }
            DiffItem::Remove(..) => None,
        });
        let threads =
            before.threads.diff(&self.threads).filter_map(|item: DiffItem<'_, '_, ThreadKey, _>| match item {
                DiffItem::Add(_, thread) | DiffItem::Update { new: (_, thread), .. } => {
                    Some(Difference::Thread(Arc::clone(thread)))
                }
                DiffItem::Remove(..) => None,
            });
        let sessions = before.sessions.diff(&self.sessions).map(|item| match item {
            DiffItem::Add(_, session) | DiffItem::Update { new: (_, session), .. } => {
                Difference::Session(Arc::clone(session))
            }
            DiffItem::Remove(token, _) => Difference::SessionForgotten(*token),
        });
        repos.chain(threads).chain(sessions)
    }
}

/// Lets a session that was made by the same agent as the one before have that one's record: most are alike, and each that was
/// read has one of its own.
fn share(agent: &mut Option<Arc<AgentRecord>>, session: &mut Arc<SessionRecord>) {
    if let Some(agent) = agent.as_ref().filter(|agent| ***agent == *session.agent) {
        Arc::make_mut(session).agent = Arc::clone(agent);
    } else {
        *agent = Some(Arc::clone(&session.agent));
    }
}
