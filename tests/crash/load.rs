//! One client's load on one life of the daemon: it goes on until the connection is lost.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::model::{Grant, Journal, Known, Lost};
use crate::support::{Client, Fault, Random, Repo, Stopwatch, key, token};

/// What all clients share.
pub(crate) struct Field<'a> {
    pub(crate) socket: &'a Path,
    pub(crate) repo: &'a Repo,
    /// Two states that a thread is moved between.
    pub(crate) states: [String; 2],
    pub(crate) watch: Stopwatch,
    /// How many calls were acknowledged, all clients together.
    pub(crate) acknowledged: &'a AtomicUsize,
}

struct Run<'a> {
    field: &'a Field<'a>,
    client: Client,
    random: Random,
    journal: Journal,
}

/// Loads the daemon until it is lost.
pub(crate) fn run(field: &Field<'_>, life: usize, number: usize, random: Random) -> Journal {
    let Ok(client) = Client::try_connect(field.socket) else { return Journal::default() };
    let mut run = Run { field, client, random, journal: Journal::default() };
    for turn in 0.. {
        if run.turn(life, number, turn).is_err() {
            break;
        }
    }
    run.journal
}

impl Run<'_> {
    fn call(&mut self, method: &str, params: &Value) -> std::io::Result<Result<Value, Fault>> {
        let answer = self.client.try_call(method, params)?;
        self.field.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.journal.acknowledged += 1;
        Ok(answer)
    }

    fn turn(&mut self, life: usize, number: usize, turn: usize) -> std::io::Result<()> {
        let thread = match self.random.below(8) {
            0 => format!("new/{life}-{number}-{turn}"),
            1..=3 => format!("shared/{}", self.random.below(3)),
            _ => format!("own/{number}"),
        };
        let mut params = json!({"repo": self.field.repo.at(), "thread": thread, "at_tip": true});
        if self.random.one_in(2) {
            params["request_id"] = format!("request-{life}-{number}-{turn}").into();
            params["reservation_token"] = token(&mut self.random).into();
        }
        let Some(mut grant) = self.reserve(params, &thread)? else { return Ok(()) };
        let kept = self.work(&thread, &mut grant);
        self.journal.grants.push(grant);
        kept
    }

    fn reserve(&mut self, params: Value, thread: &str) -> std::io::Result<Option<Grant>> {
        let answer = match self.call("agent.reserve", &params) {
            Ok(answer) => answer,
            Err(error) => {
                self.journal.lost = Some(Lost { params, thread: thread.to_owned() });
                return Err(error);
            }
        };
        match answer {
            Ok(mut result) => {
                let reservation = result["reservation"].take();
                Ok(Some(Grant {
                    thread: thread.to_owned(),
                    fencing: reservation["fencing_token"].as_u64().unwrap(),
                    token: reservation["reservation_token"].as_str().unwrap().to_owned(),
                    reservation,
                    request: params.get("request_id").is_some().then_some(params),
                    granted_at: self.field.watch.elapsed(),
                    release: Known::Not,
                    release_asked_at: None,
                }))
            }
            // Another has it; or it moves while it is being looked at.
            Err(fault) if matches!(fault.kind(), "live_owner" | "anchor_drift") => Ok(None),
            Err(fault) => panic!("{params}: {fault:?}"),
        }
    }

    /// Works under a grant, and mostly gives it back.
    fn work(&mut self, thread: &str, grant: &mut Grant) -> std::io::Result<()> {
        let key = key(&grant.reservation);
        for _ in 0..self.random.below(3) {
            self.call("agent.heartbeat", &key)?.unwrap();
        }
        if thread.starts_with("own/") && self.random.one_in(2) {
            self.move_thread(thread, &key, grant)?;
        }
        if self.random.one_in(6) && !thread.starts_with("shared/") && !thread.starts_with("own/") {
            // Kept: it must be there afterwards.
            return Ok(());
        }
        grant.release_asked_at = Some(self.field.watch.elapsed());
        grant.release = Known::Asked;
        self.call("agent.release", &key)?.unwrap();
        grant.release = Known::Done;
        Ok(())
    }

    fn move_thread(&mut self, thread: &str, key: &Value, grant: &Grant) -> std::io::Result<()> {
        let from = grant.reservation["anchor_state"].as_str().unwrap().to_owned();
        let to = self.field.states.iter().find(|state| **state != from).unwrap().clone();
        let mut params = key.clone();
        params["expected"] = from.clone().into();
        params["new"] = to.clone().into();
        self.journal.moved.insert(thread.to_owned(), (from.clone(), to.clone(), Known::Asked));
        self.call("thread.update", &params)?.unwrap();
        self.journal.moved.insert(thread.to_owned(), (from, to, Known::Done));
        Ok(())
    }
}
