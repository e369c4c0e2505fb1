//! The crowd: thousands of open connections that send at a pace of their own, whatever is answered (an open loop), and
//! subscribers that are told what happens meanwhile.
//!
//! It is one thread. What is due is sent when it wakes up, once a millisecond; a time is taken from then to the answer. So a
//! slow daemon cannot slow the pace down, and how well the pace was kept is told.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;

use crate::contenders::calls::{Cycle, Grant, Heartbeat, Repeat};
use crate::contenders::heddled::Heddled;
use crate::poller::Poller;
use crate::script::{Script, find};
use crate::{clock, driver};

/// Heartbeats a second, all connections together.
pub(crate) const HEARTBEATS: u32 = 1_000;
/// Reserves and releases a second: each is an event for every subscriber.
pub(crate) const CHANGES: u32 = 50;
/// What a subscriber or a caller takes at once.
const READ_SIZE: usize = 256 * 1024;
/// The last word to a subscriber that is too far behind is shorter than this.
const LAST: usize = 400;

/// Calls that go out at a pace.
struct Pace {
    span: Duration,
    next: Instant,
}

impl Pace {
    fn new(per_second: u32, now: Instant) -> Self {
        Self { span: Duration::from_secs(1) / per_second, next: now }
    }

    /// Whether one more is due.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.next <= now;
        if is_due {
            self.next += self.span;
        }
        is_due
    }
}

/// What a crowd did.
pub(crate) struct Done {
    /// How long each heartbeat took, in nanoseconds.
    pub(crate) latencies: Histogram<u64>,
    /// Changes that were made.
    pub(crate) changes: u64,
    /// Events that were read, all subscribers together.
    pub(crate) events: u64,
    /// How often a subscriber was told that it was too far behind.
    pub(crate) lagged: u64,
    /// Answered heartbeats as a part of those that were due.
    pub(crate) kept: f64,
}

/// Connections that send heartbeats, then subscribers, then one that makes changes.
pub(crate) struct Crowd {
    streams: Vec<UnixStream>,
    poller: Poller,
    beating: usize,
    heartbeat: Heartbeat,
    cycle: Cycle,
    subscribe: Repeat,
    /// When each connection has sent what is not answered yet.
    sent: Vec<Option<Instant>>,
    partial: Vec<Vec<u8>>,
    input: Vec<u8>,
    output: Vec<u8>,
    turn: usize,
}

impl Crowd {
    /// Opens `beating` connections, each of a session of its own of `grants`, and lets each send one heartbeat.
    pub(crate) fn connect(heddled: &Heddled, grants: &[Grant], beating: usize) -> anyhow::Result<Vec<UnixStream>> {
        let mut heartbeat = Heartbeat::new(grants);
        let mut streams = Vec::with_capacity(beating);
        for connection in 0..beating {
            let stream = heddled.open()?;
            exchange(&stream, &mut heartbeat, connection)?;
            streams.push(stream);
        }
        Ok(streams)
    }

    /// Opens `count` connections, each with one subscription to everything from `after` on, or from now on.
    pub(crate) fn subscribe(heddled: &Heddled, count: usize, after: Option<u64>) -> anyhow::Result<Vec<UnixStream>> {
        let params = after.map_or_else(|| serde_json::json!({}), |after| serde_json::json!({ "after": after }));
        let mut subscribe = Repeat::new("events.subscribe", &params);
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count {
            let stream = heddled.open()?;
            exchange(&stream, &mut subscribe, 0)?;
            streams.push(stream);
        }
        Ok(streams)
    }

    /// Puts a crowd together; its changes are made to the thread `<prefix>0` of `repo`.
    pub(crate) fn gather(
        heddled: &Heddled,
        grants: &[Grant],
        beating: Vec<UnixStream>,
        subscribers: Vec<UnixStream>,
        changes: (&Path, &str),
    ) -> anyhow::Result<Self> {
        let count = beating.len();
        let mut streams = beating;
        streams.extend(subscribers);
        streams.push(heddled.open()?);
        for stream in &streams {
            stream.set_nonblocking(true)?;
        }
        Ok(Self {
            poller: Poller::new(&streams)?,
            beating: count,
            heartbeat: Heartbeat::new(grants),
            cycle: Cycle::new(changes.0, changes.1, 1),
            subscribe: Repeat::new("events.subscribe", &serde_json::json!({})),
            sent: vec![None; streams.len()],
            partial: vec![Vec::new(); streams.len()],
            streams,
            input: vec![0; READ_SIZE],
            output: Vec::new(),
            turn: 0,
        })
    }

    /// Does `work` while the crowd is busy.
    pub(crate) fn beside<T>(&mut self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Done)> {
        self.during(work, true)
    }

    /// Does `work` while the crowd sends nothing: its subscribers read what the work makes them be told.
    pub(crate) fn around<T>(&mut self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        Ok(self.during(work, false)?.0)
    }

    fn during<T>(&mut self, work: impl FnOnce() -> anyhow::Result<T>, is_sending: bool) -> anyhow::Result<(T, Done)> {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let busy = scope.spawn(|| self.keep_busy(&over, is_sending));
            let worked = work();
            over.store(true, Ordering::Release);
            let done = busy.join().map_err(|_| anyhow::anyhow!("the crowd panicked"))?;
            Ok((worked?, done?))
        })
    }

    /// Sends and reads until it is over, and then until everything is answered.
    fn keep_busy(&mut self, over: &AtomicBool, is_sending: bool) -> anyhow::Result<Done> {
        let mut done = Done { latencies: driver::latencies()?, changes: 0, events: 0, lagged: 0, kept: 0.0 };
        let began = clock::now();
        let (mut heartbeats, mut changes) = (Pace::new(HEARTBEATS, began), Pace::new(CHANGES, began));
        let maker = self.streams.len() - 1;
        let (mut due, mut ready) = (0_u32, Vec::new());
        while !over.load(Ordering::Acquire) || self.sent.iter().any(Option::is_some) {
            self.poller.wait(&mut ready, 1)?;
            for &connection in &ready {
                self.receive(connection, &mut done)?;
            }
            let now = clock::now();
            if !is_sending || over.load(Ordering::Acquire) {
                continue;
            }
            while heartbeats.is_due(now) {
                due += 1;
                let connection = self.turn;
                self.turn = (self.turn + 1) % self.beating;
                // Whoever has no answer yet is not asked again: it is missing in what was kept.
                if self.sent[connection].is_none() {
                    self.send(connection)?;
                }
            }
            if changes.is_due(now) && self.sent[maker].is_none() {
                self.send(maker)?;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of calls is far below 2^53")]
        let answered = done.latencies.len() as f64;
        done.kept = if due == 0 { 1.0 } else { answered / f64::from(due) };
        Ok(done)
    }

    fn send(&mut self, connection: usize) -> anyhow::Result<()> {
        self.output.clear();
        if connection < self.beating {
            self.heartbeat.request(connection, &mut self.output);
        } else {
            self.cycle.request(0, &mut self.output);
        }
        self.sent[connection] = Some(clock::now());
        (&self.streams[connection]).write_all(&self.output).context("cannot send a request")
    }

    /// Reads what is there: an answer, part of one, or events, which are counted and not looked at.
    fn receive(&mut self, connection: usize, done: &mut Done) -> anyhow::Result<()> {
        let count = (&self.streams[connection]).read(&mut self.input).context("cannot read")?;
        ensure!(count > 0, "the server closed connection {connection} of the crowd");
        let chunk = &self.input[..count];
        let maker = self.streams.len() - 1;
        if (self.beating..maker).contains(&connection) {
            done.events += u64::try_from(chunk.iter().filter(|&&byte| byte == b'\n').count())?;
            // Nothing comes after it until there is another subscription.
            let last = &chunk[count.saturating_sub(LAST)..];
            if chunk.last() == Some(&b'\n') && find(last, b"\"lagged\"").is_some() {
                done.lagged += 1;
                self.output.clear();
                self.subscribe.request(0, &mut self.output);
                (&self.streams[connection]).write_all(&self.output).context("cannot subscribe again")?;
            }
            return Ok(());
        }
        let partial = &mut self.partial[connection];
        partial.extend_from_slice(chunk);
        if partial.last() != Some(&b'\n') {
            return Ok(());
        }
        if connection == maker {
            self.cycle.answer(0, partial)?;
            done.changes += 1;
        } else {
            self.heartbeat.answer(connection, partial)?;
        }
        partial.clear();
        if let Some(sent) = self.sent[connection].take()
            && connection != maker
        {
            done.latencies.record(driver::nanoseconds(clock::now() - sent))?;
        }
        Ok(())
    }
}

/// One call and its answer, on a connection that waits for it.
fn exchange(stream: &UnixStream, script: &mut dyn Script, connection: usize) -> anyhow::Result<()> {
    let (mut request, mut line, mut byte) = (Vec::new(), Vec::new(), [0]);
    script.request(connection, &mut request);
    (&*stream).write_all(&request)?;
    // To its end and no further: what follows may be events.
    while byte != [b'\n'] {
        (&*stream).read_exact(&mut byte).context("there was no answer")?;
        line.push(byte[0]);
    }
    script.answer(connection, &line)?;
    Ok(())
}
