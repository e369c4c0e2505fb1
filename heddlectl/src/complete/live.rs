//! The threads and sessions that are there at this moment, as far as they can be told before somebody notices waiting.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use anstream::ColorChoice;
use clap_complete::engine::CompletionCandidate;
use proto_schema::{ListParams, ListResult, Reservation, SessionStatus, Thread, ThreadListParams, ThreadListResult};

use crate::app::App;
use crate::clock;
use crate::doctor::bounded;
use crate::env::Env;
use crate::global::Global;
use crate::output::{Output, sessions, text};

/// How long a shell may wait for all of it.
const PATIENCE: Duration = Duration::from_millis(150);
/// The most that are asked for: the daemon gives no more at once, and nobody looks through more.
const MOST: u64 = 1_000;

/// Where to look.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The repository, if it is named.
    pub(super) repo: Option<PathBuf>,
    /// The socket, if it is named.
    pub(super) socket: Option<PathBuf>,
}

/// Who knows a thread: the first knows most of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Session,
    Record,
    Branch,
}

/// A thread, who knows it, and what there is to say of it.
type Known = (String, Source, String);

/// One who can be asked: it sends what it finds.
type Way<T> = fn(&App, &Sender<T>) -> Option<()>;

impl Place {
    /// The threads of the repository: those that are held, those that were, and all other branches.
    pub(super) fn threads(&self) -> Vec<CompletionCandidate> {
        let mut known = BTreeMap::new();
        for (name, source, what) in self.ask(&[held_threads, all_threads, branches]) {
            let best = known.entry(name).or_insert((source, String::new()));
            if source <= best.0 {
                *best = (source, what);
            }
        }
        known.into_iter().map(|(name, (_, what))| candidate(name, &what)).collect()
    }

    /// The active sessions of the repository, or of all where there is none; newest first.
    pub(super) fn sessions(&self) -> Vec<CompletionCandidate> {
        let found = self.ask(&[active_sessions]);
        found.into_iter().map(|one| candidate(one.session_id.to_string(), &says(one.thread.as_str(), &one))).collect()
    }

    /// Asks all of them at once, and takes what has come when the time is up. Who does not answer in time is left behind: the
    /// process ends when it has printed what it has.
    fn ask<T: Send + 'static>(&self, ways: &[Way<T>]) -> Vec<T> {
        let (sender, receiver) = channel();
        let deadline = clock::now() + PATIENCE;
        for way in ways {
            let (way, sender) = (*way, sender.clone());
            let global = Global::at(self.repo.clone(), self.socket.clone());
            let work = move || {
                let out = Output { json: false, quiet: true, color: ColorChoice::Never };
                App::new(&global, out, Env::of_process()).ok().and_then(|app| way(&app, &sender));
            };
            // Where no thread can be started, there is nothing to complete.
            drop(thread::Builder::new().spawn(work));
        }
        drop(sender);
        let mut found = Vec::new();
        while let Ok(one) = receiver.recv_timeout(deadline.saturating_duration_since(clock::now())) {
            found.push(one);
        }
        found
    }
}

fn candidate(value: String, what: &str) -> CompletionCandidate {
    let what = text::clean(what).into_owned();
    CompletionCandidate::new(value).help((!what.is_empty()).then(|| what.into()))
}

/// The active sessions, as the running daemon knows them.
fn active(app: &App) -> Option<Vec<Reservation>> {
    let params = ListParams {
        repo: if app.is_in_repository() { Some(app.repo().ok()?) } else { None },
        status: Some(SessionStatus::Active),
        limit: Some(MOST),
        ..ListParams::default()
    };
    let answer = app.connector.running().ok()??.call_within("agent.list", &params, PATIENCE).ok()?;
    Some(answer.read::<ListResult>().ok()?.reservations)
}

fn active_sessions(app: &App, found: &Sender<Reservation>) -> Option<()> {
    active(app)?.into_iter().try_for_each(|one| found.send(one).ok())
}

fn held_threads(app: &App, found: &Sender<Known>) -> Option<()> {
    let mut sessions = active(app)?.into_iter().filter(|_| app.is_in_repository());
    sessions.try_for_each(|one| found.send((one.thread.to_string(), Source::Session, says("held", &one))).ok())
}

fn all_threads(app: &App, found: &Sender<Known>) -> Option<()> {
    let params = ThreadListParams { repo: app.repo().ok()?, state: None, limit: Some(MOST), cursor: None };
    let answer = app.connector.running().ok()??.call_within("thread.list", &params, PATIENCE).ok()?;
    let threads = answer.read::<ThreadListResult>().ok()?.threads;
    threads.iter().try_for_each(|one| found.send((one.thread.to_string(), Source::Record, described(one))).ok())
}

/// The branches, as Git lists them: a thread that nobody has reserved yet is one of these.
fn branches(app: &App, found: &Sender<Known>) -> Option<()> {
    let repo = app.repo().ok()?;
    let mut git = Command::new("git");
    git.arg("-C").arg(Path::new(repo.as_str())).args(["for-each-ref", "--count=1000", "--format=%(refname:lstrip=2)"]);
    // Ended before this process is: nothing must be left behind of a repository that does not answer.
    let said = bounded::run_within(git.arg("refs/heads/"), PATIENCE.mul_f32(0.8)).ok()?;
    let names = std::str::from_utf8(&said.stdout).ok()?.lines().filter(|name| is_thread(name));
    names.map(|name| (name.to_owned(), Source::Branch, "a branch".to_owned())).try_for_each(|one| found.send(one).ok())
}

/// Whether a branch can be a thread. Others can, in Git, be called `$(reboot)`, and are not put on anybody's command line.
fn is_thread(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./@:+=-".contains(&byte);
    !name.is_empty() && name.len() <= 200 && !name.starts_with('-') && name.bytes().all(is_plain)
}

/// What is said of a session: a word, who holds it, and what for.
fn says(word: &str, session: &Reservation) -> String {
    let agent = sessions::agent(session).map(|agent| format!(" by {agent}")).unwrap_or_default();
    let task = session.task.as_ref().map(|task| format!(": {task}")).unwrap_or_default();
    format!("{word}{agent}{task}")
}

fn described(thread: &Thread) -> String {
    let task = thread.task.as_ref().map(|task| format!(": {task}")).unwrap_or_default();
    format!("{}{task}", thread.state.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_that_cannot_be_a_thread_is_not_offered() {
        assert!(is_thread("fix/login@2") && is_thread("a+b=c"));
        for name in ["", "-x", "$(reboot)", "a b", "a;b", "a'b", "gr\u{fc}n", &"a".repeat(201)] {
            assert!(!is_thread(name), "{name}");
        }
    }

    #[test]
    fn whoever_does_not_answer_is_not_waited_for() {
        fn never(_: &App, found: &Sender<u8>) -> Option<()> {
            found.send(1).ok()?;
            loop {
                thread::park();
            }
        }
        let place = Place { repo: None, socket: Some("/nonexistent/s".into()) };
        let begun = clock::now();
        assert_eq!(place.ask(&[never as Way<u8>, |_, found| found.send(1).ok()]), [1, 1]);
        let took = begun.elapsed();
        assert!(took >= PATIENCE && took < PATIENCE * 20, "{took:?}");
    }
}
