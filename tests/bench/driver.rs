//! The client: many connections from one process and one thread, each with one call outstanding (a closed loop).
//!
//! It must cost less than any server it drives: one wait for all connections, one read and one write a call, no
//! allocation and no parsing beyond what the script looks for.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;

use crate::clock;
use crate::poller::Poller;
use crate::script::Script;

/// Every answer of a loop fits in one read of this size, or is put together from several.
const READ_SIZE: usize = 256 * 1024;

/// What one run came to.
pub(crate) struct Outcome {
    /// Cycles that ended within the run.
    pub(crate) cycles: u64,
    /// How long the run was.
    pub(crate) elapsed: Duration,
    /// How long each cycle took, in nanoseconds.
    pub(crate) latencies: Histogram<u64>,
}

impl Outcome {
    /// Cycles a second.
    #[expect(clippy::cast_precision_loss, reason = "a count of cycles is far below 2^53")]
    pub(crate) fn rate(&self) -> f64 {
        self.cycles as f64 / self.elapsed.as_secs_f64()
    }
}

/// An empty histogram of nanoseconds.
pub(crate) fn latencies() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}

/// The connections to one server.
pub(crate) struct Driver {
    streams: Vec<UnixStream>,
    poller: Poller,
    partial: Vec<Vec<u8>>,
    began: Vec<Instant>,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Driver {
    /// Opens `count` connections.
    pub(crate) fn connect(socket: &Path, count: usize) -> anyhow::Result<Self> {
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count {
            let stream =
                UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
            stream.set_nonblocking(true)?;
            streams.push(stream);
        }
        let poller = Poller::new(&streams)?;
        let partial = vec![Vec::new(); count];
        let began = vec![clock::now(); count];
        Ok(Self { streams, poller, partial, began, input: vec![0; READ_SIZE], output: Vec::with_capacity(4_096) })
    }

    /// Runs for `window`, or until the script has no more where there is none.
    ///
    /// A cycle that is under way at the end of the window is finished, and not counted.
    pub(crate) fn run(&mut self, script: &mut dyn Script, window: Option<Duration>) -> anyhow::Result<Outcome> {
        let mut latencies = latencies()?;
        let mut ready = Vec::with_capacity(self.streams.len());
        let start = clock::now();
        let end = window.map(|window| start + window);
        let mut last = start;
        let mut busy = 0;
        for connection in 0..self.streams.len() {
            if script.has_more(connection) {
                self.began[connection] = clock::now();
                self.send(script, connection)?;
                busy += 1;
            }
        }
        while busy > 0 {
            self.poller.wait(&mut ready, 1_000)?;
            if ready.is_empty() {
                crate::interrupt::check()?;
            }
            for &connection in &ready {
                let Some(cycle_ended) = self.receive(script, connection)? else { continue };
                if cycle_ended {
                    let now = clock::now();
                    let open = end.is_none_or(|end| now < end);
                    if open {
                        last = now;
                        latencies.record(nanoseconds(now - self.began[connection]))?;
                    }
                    if !open || !script.has_more(connection) {
                        busy -= 1;
                        continue;
                    }
                    self.began[connection] = now;
                }
                self.send(script, connection)?;
            }
        }
        Ok(Outcome { cycles: latencies.len(), elapsed: window.unwrap_or(last - start), latencies })
    }

    fn send(&mut self, script: &mut dyn Script, connection: usize) -> anyhow::Result<()> {
        self.output.clear();
        script.request(connection, &mut self.output);
        // An empty socket buffer takes any request of these loops whole.
        (&self.streams[connection]).write_all(&self.output).context("cannot send a request")
    }

    /// Reads what is there: nothing while the answer is incomplete, else whether it ended a cycle.
    fn receive(&mut self, script: &mut dyn Script, connection: usize) -> anyhow::Result<Option<bool>> {
        let count = (&self.streams[connection]).read(&mut self.input).context("cannot read an answer")?;
        let chunk = &self.input[..count];
        match chunk.last() {
            None => bail!("the server closed connection {connection}"),
            Some(b'\n') => {}
            Some(_) => {
                self.partial[connection].extend_from_slice(chunk);
                return Ok(None);
            }
        }
        let partial = &mut self.partial[connection];
        if partial.is_empty() {
            return script.answer(connection, chunk).map(Some);
        }
        partial.extend_from_slice(chunk);
        let ended = script.answer(connection, partial)?;
        partial.clear();
        Ok(Some(ended))
    }
}

/// A span as whole nanoseconds, at least one.
pub(crate) fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).max(1)
}
