//! One client: it changes its own threads until the power is gone, and keeps what it was told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use proto_schema::ReservationToken;
use serde_json::{Value, json};

use crate::daemon::{Connection, Failed};
use crate::git::Repository;
use crate::model::{Random, Session, Standing, Thread};

/// Longer than any test: no session may expire.
const TTL_MS: u64 = 86_400_000;

/// What every client of a round has in common.
pub(crate) struct Round<'a> {
    pub(crate) repository: &'a Repository,
    /// Whether the clients only reserve and release, with long texts, to fill the journal.
    pub(crate) fills: bool,
    pub(crate) acknowledged: Sender<()>,
    /// Whether the power is cut: only then a call may fail.
    pub(crate) is_cut: &'a AtomicBool,
}

/// A client and its threads.
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) threads: Vec<Thread>,
    random: Random,
    requests: usize,
}

impl Client {
    /// A client with threads that are at `state` already.
    pub(crate) fn new(name: String, seed: u64, threads: &[String], state: &str) -> Self {
        let thread =
            |name: &String| Thread { name: name.clone(), states: vec![Some(state.to_owned())], ..Thread::default() };
        Self { name, threads: threads.iter().map(thread).collect(), random: Random::new(seed), requests: 0 }
    }

    /// Works until the power is gone. Gives how many calls were acknowledged.
    pub(crate) fn work(&mut self, round: &Round<'_>, mut connection: Connection) -> usize {
        let mut acknowledged = 0;
        loop {
            match self.step(round, &mut connection) {
                Ok(()) => {
                    acknowledged += 1;
                    // Nobody counts any more once the power is cut.
                    round.acknowledged.send(()).ok();
                }
                Err(failed) => {
                    let allowed = ["gone", "store_unavailable", "repository_unavailable", "anchor_not_found"]
                        .contains(&failed.kind());
                    assert!(allowed && round.is_cut.load(Ordering::Acquire), "{}: {failed:?}", self.name);
                    return acknowledged;
                }
            }
        }
    }

    fn step(&mut self, round: &Round<'_>, connection: &mut Connection) -> Result<(), Failed> {
        if !round.fills && self.random.below(5) < 2 {
            let depth = ["", "deep/", "deep/er/"][self.random.below(3)];
            let name = format!("{}/{depth}{}", self.name, self.requests);
            self.threads.push(Thread { name, states: vec![None], ..Thread::default() });
            let last = self.threads.len() - 1;
            return self.reserve(round, connection, last);
        }
        let free: Vec<_> = (0..self.threads.len()).filter(|at| !self.threads[*at].stuck).collect();
        let at = free[self.random.below(free.len())];
        match self.threads[at].holder() {
            None => self.reserve(round, connection, at),
            Some(_) if !round.fills && self.random.below(3) > 0 => self.update(round, connection, at),
            Some(_) => self.release(connection, at),
        }
    }

    fn reserve(&mut self, round: &Round<'_>, connection: &mut Connection, at: usize) -> Result<(), Failed> {
        self.requests += 1;
        let mut secret = [0; 32];
        secret.fill_with(|| self.random.next().to_le_bytes()[3]);
        let thread = &mut self.threads[at];
        let mut request = json!({
            "repo": round.repository.path,
            "thread": thread.name,
            "ttl_ms": TTL_MS,
            "task": "x".repeat(if round.fills { 4000 } else { 40 }),
            "request_id": format!("{}:{}", self.name, self.requests),
            "reservation_token": ReservationToken::from_bytes(secret).expose(),
        });
        let is_new = thread.state().is_none();
        if is_new {
            let anchor = &fresh(round, &mut self.random)?;
            request["anchor"] = Value::from(anchor.as_str());
            thread.states = vec![None, Some(anchor.clone())];
        } else {
            request["at_tip"] = Value::from(true);
        }
        thread.unanswered = Some(request.clone());
        let answer = connection.call("agent.reserve", &request)?;
        thread.answered(&answer, request);
        assert_eq!(answer["thread_created"], is_new, "{answer}");
        assert_eq!(answer["replayed"], false, "{answer}");
        Ok(())
    }

    fn update(&mut self, round: &Round<'_>, connection: &mut Connection, at: usize) -> Result<(), Failed> {
        let new = &fresh(round, &mut self.random)?;
        let thread = &mut self.threads[at];
        let before = thread.state().map(str::to_owned);
        let mut call = thread.authorized();
        call["expected"] = Value::from(before.as_deref());
        call["new"] = Value::from(new.as_str());
        thread.states = vec![before, Some(new.clone())];
        connection.call("thread.update", &call)?;
        thread.states = vec![Some(new.clone())];
        Ok(())
    }

    fn release(&mut self, connection: &mut Connection, at: usize) -> Result<(), Failed> {
        let thread = &mut self.threads[at];
        let call = thread.authorized();
        let session = thread.holder().unwrap();
        session.standing = Standing::Unsure;
        connection.call("agent.release", &call)?;
        session.standing = Standing::Ended;
        Ok(())
    }
}

/// A commit to move to: every second time one that was made just now and that nobody has synced.
fn fresh(round: &Round<'_>, random: &mut Random) -> Result<String, Failed> {
    let known = &round.repository.commits[random.below(round.repository.commits.len())];
    if random.below(2) == 0 {
        return Ok(known.clone());
    }
    let content = format!("{}-{}\n", random.next(), random.next());
    let made = round.repository.unsynced(known, &content);
    assert!(made.is_some() || round.is_cut.load(Ordering::Acquire), "Git cannot make a commit");
    made.ok_or(Failed::Gone)
}

impl Thread {
    /// Takes down what an acknowledged reserve says.
    pub(crate) fn answered(&mut self, answer: &Value, request: Value) {
        let reservation = &answer["reservation"];
        let anchor = reservation["anchor_state"].as_str().unwrap().to_owned();
        assert!(self.states.contains(&Some(anchor.clone())), "{}: {:?}, but {anchor}", self.name, self.states);
        self.states = vec![Some(anchor)];
        self.unanswered = None;
        self.sessions.push(Session {
            id: reservation["session_id"].as_str().unwrap().to_owned(),
            fencing: reservation["fencing_token"].as_u64().unwrap(),
            request,
            standing: Standing::Active,
        });
    }

    /// The parameters that authorize the holder.
    fn authorized(&mut self) -> Value {
        let session = self.holder().unwrap();
        json!({"session_id": session.id, "reservation_token": session.request["reservation_token"]})
    }
}
