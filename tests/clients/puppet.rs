//! A client on strings: `tests/puppet` of each package.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Process, Stopwatch, ledger};
use crate::tools::Language;

/// How long anything may take before a test gives up.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running puppet; it is killed when this is dropped.
pub(crate) struct Puppet {
    pub(crate) process: Process,
    input: ChildStdin,
    lines: Receiver<Value>,
    /// What was said while something else was waited for.
    heard: Vec<Value>,
    orders: u64,
}

impl Puppet {
    /// Starts one that talks to this socket; none where the language is lacking.
    pub(crate) fn start(language: Language, socket: &Path) -> Option<Self> {
        let mut command = language.command("tests/puppet")?;
        let mut puppet = Self::launch(command.env("HEDDLE_SOCKET", socket));
        puppet.told("connected");
        Some(puppet)
    }

    /// Starts one in an environment that was chosen before.
    pub(crate) fn launch(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (say, lines) = channel();
        // It ends with the puppet, whose output ends then.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                ledger::note(line.as_bytes());
                let message = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
                if say.send(message).is_err() {
                    return;
                }
            }
        });
        Self { process: Process { child }, input, lines, heard: Vec::new(), orders: 0 }
    }

    #[track_caller]
    fn hear(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.heard.iter().position(&is_it) {
            return self.heard.remove(at);
        }
        let watch = Stopwatch::start();
        loop {
            let left = DEADLINE.saturating_sub(watch.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(message) if is_it(&message) => return message,
                Ok(message) => self.heard.push(message),
                Err(end) => panic!("{end} before {what}; it said {:?}", self.heard),
            }
        }
    }

    /// The next thing of that kind that it tells by itself.
    #[track_caller]
    pub(crate) fn told(&mut self, what: &str) -> Value {
        self.hear(what, |message| message["told"] == what)
    }

    /// Whether it has told such a thing, as far as it was heard.
    pub(crate) fn has_told(&self, what: &str) -> bool {
        self.heard.iter().any(|message| message["told"] == what)
    }

    /// Gives an order; its answer comes later.
    pub(crate) fn order(&mut self, mut order: Value) -> u64 {
        self.orders += 1;
        order["id"] = json!(self.orders);
        writeln!(self.input, "{order}").unwrap();
        self.orders
    }

    /// The answer to an order: what came of it, or `{error, kind, text}`.
    #[track_caller]
    pub(crate) fn answer(&mut self, order: u64) -> Result<Value, Value> {
        let mut answer = self.hear("the answer", |message| message["id"] == order);
        match answer.get_mut("ok") {
            Some(result) => Ok(result.take()),
            None => Err(answer),
        }
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, order: Value) -> Result<Value, Value> {
        let order = self.order(order);
        self.answer(order)
    }

    #[track_caller]
    pub(crate) fn ok(&mut self, order: Value) -> Value {
        self.ask(order).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Reserves a thread, which it then holds by this name; gives the reservation.
    #[track_caller]
    pub(crate) fn reserve(&mut self, name: &str, params: &Value) -> Value {
        self.ok(json!({"do": "reserve", "as": name, "params": params}))
    }
}
