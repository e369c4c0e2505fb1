//! 32 contenders, 200 rounds, new and existing threads: one winner each; the others learn who it is, and no secret (R1, R2).

use std::fs::OpenOptions;
use std::io::{BufRead, Read, Write};
use std::path::PathBuf;
use std::sync::Barrier;

use nix::sys::stat::Mode;

use serde_json::{Value, json};

use crate::support::{Actor, Client, Place, Stopwatch, key, role, say};

const CONTENDERS: usize = 32;
const ROUNDS: usize = 200;

/// Every second round asks for a thread that is there already.
fn thread_of(round: usize) -> String {
    format!("race/{}", round / 2)
}

/// Checks one round's answers and gives the winner's fencing token.
fn judge(round: usize, answers: &[Value], before: u64) -> (Value, u64) {
    assert_eq!(answers.len(), CONTENDERS);
    let winners: Vec<&Value> = answers.iter().filter(|answer| answer.get("result").is_some()).collect();
    assert_eq!(winners.len(), 1, "R1: one winner in round {round}: {winners:?}");
    let winner = &winners[0]["result"];
    assert_eq!(winner["thread_created"], json!(round.is_multiple_of(2)), "round {round}");
    let reservation = &winner["reservation"];
    let secret = reservation["reservation_token"].as_str().unwrap();
    for loser in answers.iter().filter(|answer| answer.get("result").is_none()) {
        let data = &loser["error"]["data"];
        assert_eq!((&loser["error"]["code"], &data["kind"]), (&json!(1001), &json!("live_owner")), "{loser}");
        let owner = &data["details"]["owner"];
        assert_eq!(owner["session_id"], reservation["session_id"], "round {round}: the loser is told who won");
        assert_eq!(owner["fencing_token"], reservation["fencing_token"]);
        assert_eq!(owner["reservation_token"], Value::Null, "no secret for a loser");
        assert!(!loser.to_string().contains(secret), "no secret for a loser");
    }
    let fencing = reservation["fencing_token"].as_u64().unwrap();
    assert!(fencing > before, "R2: {fencing} after {before}");
    (reservation.clone(), fencing)
}

#[test]
fn of_32_connections_one_gets_the_thread() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut clients: Vec<Client> = (0..CONTENDERS).map(|_| daemon.client()).collect();
    let mut fencing = 0;
    let barrier = Barrier::new(CONTENDERS);
    for round in 0..ROUNDS {
        let params = json!({"repo": repo.at(), "thread": thread_of(round)});
        let answers: Vec<Value> = std::thread::scope(|scope| {
            let running: Vec<_> = clients
                .iter_mut()
                .map(|client| {
                    scope.spawn(|| {
                        barrier.wait();
                        client.start("agent.reserve", &params);
                        client.receive()
                    })
                })
                .collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (reservation, last) = judge(round, &answers, fencing);
        fencing = last;
        clients[round % CONTENDERS].release(&reservation);
    }
    assert_eq!(repo.branches().len(), 1 + ROUNDS / 2);
}

#[test]
fn of_32_processes_one_gets_the_thread() {
    let place = Place::new();
    let daemon = place.start();
    let _repo = place.repo("r");
    // They all read from one pipe, one byte a round each: what is written at once lets all of them go at once.
    let gate = place.root.join("gate");
    nix::unistd::mkfifo(&gate, Mode::S_IRWXU).unwrap();
    let mut start = OpenOptions::new().read(true).write(true).open(&gate).unwrap();
    let spawn = |_| Actor::start("contest::contender", place.root.to_str().unwrap(), &daemon.socket());
    let mut actors: Vec<Actor> = (0..CONTENDERS).map(spawn).collect();
    let mut referee = daemon.client();
    let mut fencing = 0;
    let watch = Stopwatch::start();
    for round in 0..ROUNDS {
        actors.iter_mut().for_each(|actor| assert_eq!(actor.hear("READY "), round.to_string()));
        start.write_all(&[0; CONTENDERS]).unwrap();
        let answers: Vec<Value> =
            actors.iter_mut().map(|actor| serde_json::from_str(&actor.hear("ANSWER ")).unwrap()).collect();
        let (reservation, last) = judge(round, &answers, fencing);
        fencing = last;
        referee.ok("agent.release", &key(&reservation));
        // The next round begins only now: nobody may get the thread before it was given back, nor take another's byte.
        actors.iter_mut().for_each(|actor| actor.tell("next"));
    }
    eprintln!("{ROUNDS} rounds of {CONTENDERS} processes: {:?}", watch.elapsed());
}

/// Not a test but the contender's entry; its role is the place.
#[test]
fn contender() {
    let Some(place) = role().map(PathBuf::from) else { return };
    let repo = place.join("r");
    let mut client = Client::connect(&PathBuf::from(std::env::var_os("HEDDLE_SOCKET").unwrap()));
    let mut gate = OpenOptions::new().read(true).open(place.join("gate")).unwrap();
    let mut next = std::io::stdin().lock().lines();
    for round in 0..ROUNDS {
        say(&format!("READY {round}"));
        gate.read_exact(&mut [0]).unwrap();
        client.start("agent.reserve", &json!({"repo": repo, "thread": thread_of(round)}));
        say(&format!("ANSWER {}", client.receive()));
        if !matches!(next.next(), Some(Ok(_))) {
            return;
        }
    }
}
