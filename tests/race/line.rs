//! 1,000 callers wait for one thread, while the processes of holders and of those who wait are killed at random: it goes from
//! one to the next in the order in which they came, and to each once (Q1).

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ChildStdin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::support::{Actor, Client, Daemon, Place, Process, Random, Stopwatch, eventually, role, say};

const WAITERS: usize = 1000;
/// In how many processes they wait, each in its turn: the kill of one takes several out of the line.
const PROCESSES: usize = 250;

/// What a process says of one of its waits: its number, and what it was given.
type Served = (usize, Value);

/// Processes with callers that wait, each for its own process.
struct Crews {
    /// None where it was killed.
    processes: Vec<Option<(Process, ChildStdin)>>,
    served: Receiver<Served>,
    /// Who still waits.
    line: BTreeMap<usize, usize>,
}

impl Crews {
    fn start(place: &Place, daemon: &Daemon<'_>) -> Self {
        let (sender, served) = channel();
        let start = |_| {
            let Actor { process, input, output } =
                Actor::start("line::crew", place.root.to_str().unwrap(), &daemon.socket());
            let sender: Sender<Served> = sender.clone();
            // It ends with the process.
            std::thread::spawn(move || {
                for line in output.lines().map_while(Result::ok) {
                    // The test harness says things of its own, in the same line.
                    let said = line.split_once("SERVED ").and_then(|(_, said)| said.split_once(' '));
                    let Some((number, answer)) = said else { continue };
                    drop(sender.send((number.parse().unwrap(), serde_json::from_str(answer).unwrap())));
                }
            });
            Some((process, input.unwrap()))
        };
        Self { processes: (0..PROCESSES).map(start).collect(), served, line: BTreeMap::new() }
    }

    fn process_of(number: usize) -> usize {
        number % PROCESSES
    }

    fn wait(&mut self, number: usize) {
        let process = Self::process_of(number);
        writeln!(self.processes[process].as_mut().unwrap().1, "{number}").unwrap();
        self.line.insert(number, process);
    }

    fn is_alive(&self, number: usize) -> bool {
        self.processes[Self::process_of(number)].is_some()
    }

    /// kill -9; sometimes it stays a zombie, until the end.
    fn kill(&mut self, number: usize, zombies: &mut Vec<Process>, random: &mut Random) {
        let process = Self::process_of(number);
        let Some((mut killed, _)) = self.processes[process].take() else { return };
        self.line.retain(|_, of| *of != process);
        if random.one_in(2) {
            killed.kill_only();
            zombies.push(killed);
        } else {
            killed.kill_and_wait();
        }
    }

    /// The next who has the thread.
    fn next(&mut self) -> Served {
        let (number, answer) = self.served.recv_timeout(Duration::from_secs(30)).expect("the next has the thread");
        self.line.remove(&number);
        (number, answer)
    }
}

/// Not a test but a process with callers that wait; its role is the place.
#[test]
fn crew() {
    let Some(place) = role().map(PathBuf::from) else { return };
    let socket = PathBuf::from(std::env::var_os("HEDDLE_SOCKET").unwrap());
    std::thread::scope(|scope| {
        for number in std::io::stdin().lock().lines().map_while(Result::ok) {
            let (socket, repo) = (&socket, place.join("r"));
            scope.spawn(move || {
                let params =
                    json!({"repo": repo, "thread": "t", "wait_ms": 600_000, "hold_for_pid": std::process::id()});
                let mut client = Client::connect(socket);
                client.start("agent.reserve", &params);
                say(&format!("SERVED {number} {}", client.receive()));
            });
        }
    });
}

fn waiters(client: &mut Client) -> usize {
    usize::try_from(client.ok("daemon.info", &json!({}))["counts"]["waiters"].as_u64().unwrap()).unwrap()
}

/// All operations on the thread, oldest first.
fn operations(client: &mut Client) -> Vec<Value> {
    let (mut all, mut after): (Vec<Value>, u64) = (Vec::new(), 0);
    loop {
        let page = client.ok("oplog.list", &json!({"thread": "t", "after": after, "limit": 1000}));
        let page = page["operations"].as_array().unwrap();
        let Some(last) = page.last() else { return all };
        after = last["revision"].as_u64().unwrap();
        all.extend(page.iter().cloned());
    }
}

/// What the log says of the waits: the places that were granted, in that order, as numbers of arrival.
fn granted(client: &mut Client) -> Vec<usize> {
    let (mut places, mut outcomes) = (BTreeMap::new(), BTreeMap::new());
    let mut granted = Vec::new();
    for operation in operations(client) {
        let session = operation["session_id"].as_str().unwrap_or_default().to_owned();
        match operation["kind"].as_str() {
            Some("waiting") => drop(places.insert(session, places.len())),
            Some("wait_ended") => {
                let outcome = operation["detail"]["outcome"].as_str().unwrap().to_owned();
                granted.extend((outcome == "granted").then(|| places[&session]));
                assert_eq!(outcomes.insert(session, outcome), None, "Q1: a wait ends once");
            }
            _ => {}
        }
    }
    assert_eq!((places.len(), outcomes.len()), (WAITERS, WAITERS));
    granted
}

#[test]
fn a_thousand_who_wait_are_served_in_order_each_once_whoever_is_killed() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut random = Random::new(40);
    let mut referee = daemon.client();
    let mut held = referee.reserve(repo.at(), "t");
    let watch = Stopwatch::start();
    let mut crews = Crews::start(&place, &daemon);
    for number in 0..WAITERS {
        crews.wait(number);
        eventually("it waits", || (waiters(&mut referee) == number + 1).then_some(()));
    }
    let over = json!({"repo": repo.at(), "thread": "t", "wait_ms": 600_000});
    referee.refused("limit_exceeded", "agent.reserve", &over);
    eprintln!("{WAITERS} wait in {PROCESSES} processes after {:?}", watch.elapsed());

    let (mut served, mut killed, mut zombies) = (Vec::new(), 0, Vec::new());
    let mut holder = None;
    while !crews.line.is_empty() {
        if random.one_in(8) {
            // Some of them at the very moment at which the thread becomes theirs.
            let gone = if random.one_in(2) { 0 } else { random.below(crews.line.len()) };
            let gone = *crews.line.keys().nth(gone).unwrap();
            crews.kill(gone, &mut zombies, &mut random);
            killed += 1;
        }
        match holder {
            // It was killed, and has the thread no more.
            Some(number) if !crews.is_alive(number) => {}
            Some(number) if random.one_in(8) => {
                crews.kill(number, &mut zombies, &mut random);
                killed += 1;
            }
            _ if random.one_in(8) => {
                referee.ok("agent.evict", &json!({"session_id": held["session_id"], "reason": "a test"}));
            }
            _ => drop(referee.release(&held)),
        }
        if crews.line.is_empty() {
            break;
        }
        let (number, answer) = crews.next();
        let reservation = &answer["result"]["reservation"];
        assert_eq!(reservation["status"], "active", "{number}: {answer}");
        assert!(reservation["fencing_token"].as_u64() > held["fencing_token"].as_u64(), "R2");
        served.push(number);
        (held, holder) = (reservation.clone(), Some(number));
    }
    eprintln!("{} were served, and {killed} processes killed, after {:?}", served.len(), watch.elapsed());
    eventually("nobody waits", || (waiters(&mut referee) == 0).then_some(()));
    let granted = granted(&mut referee);
    assert!(granted.is_sorted_by(|one, next| one < next), "Q1: {granted:?}");
    let mut rest = granted.iter();
    assert!(served.iter().all(|number| rest.any(|one| one == number)), "everybody who was served was granted it");
    assert!(served.len() > WAITERS / 4 && killed > PROCESSES / 8, "{} served, {killed} killed", served.len());
}
