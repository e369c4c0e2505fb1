//! One connection: takes messages, runs their calls side by side, writes the answers and the events as they come. What the
//! messages are wrapped in is `protocol`'s: all else is the same for lines, HTTP and WebSocket.
//!
//! A call that was taken is always brought to its end, also when its caller is gone: a decided change is not taken back. A
//! caller that is lost before it has read a grant that it could not ask for again gets that session ended. Calls that wait
//! for a thread end when their caller hangs up, and when the daemon stops.
//!
//! A connection that holds sessions is lost when its peer has hung up, or this side has closed it; a peer that has only ended
//! its input is still there, and the connection stays for as long as it holds any.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use jsonrpsee::types::Id;
use proto_schema::SessionId;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::WriteHalf;
use tokio::sync::watch;
use tokio::task::coop::consume_budget;
use tracing::debug;

use super::budget::Share;
use super::dispatch::{self, Admission, Answer, Caller};
use super::error;
use super::events::Events;
use super::framing::Frame;
use super::input::read_in;
use super::limits::Limits;
use super::lingering::Lingering;
use super::order::Order;
use super::peer::{HangUp, Peer, has_read_all};
use super::protocol::{Protocol, Via};
use super::service::{Service, Stopping};
use crate::coordinator::{Connected, Stay};

/// Answers that may wait for a slow reader before no more of its calls are taken, in bytes.
const MAX_WAITING: usize = 1024 * 1024;

/// Answers and events that may wait for a slow reader before no more events are taken, in bytes: they are in the log.
const MAX_EVENTS_WAITING: usize = 64 * 1024;

/// How long a peer that has answers waiting may read nothing while all connections have too much waiting, in milliseconds.
const UNREAD_AT_MOST_MS: u64 = 30_000;

/// How often a half-closed connection is asked whether its grant was read.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// How long it is asked.
const ASK_AT_MOST: u32 = 6000;

/// Why a connection is over.
enum Over {
    /// The peer has read everything it was sent, as far as can be known.
    Read,
    /// It was lost.
    Lost,
}

struct Connection<'a> {
    service: &'a Service,
    /// Those in force when it began (T1).
    limits: Limits,
    caller: Caller,
    /// Tells the calls whether their caller is still there.
    stay: watch::Sender<Stay>,
    /// Its part in holding sessions; none once it is lost.
    connected: Option<Connected>,
    protocol: Protocol,
    order: Order,
    calls: FuturesUnordered<BoxFuture<'static, Answer>>,
    out: Vec<u8>,
    written: usize,
    /// What waits for the peer, as part of what waits for all.
    share: Share,
    /// Since when the peer has read nothing of what waits for it.
    unread_since: Option<u64>,
    /// Sessions whose grant is not known to have been read.
    unread: Vec<SessionId>,
    /// Sessions whose grant could not even be said.
    unsaid: Vec<SessionId>,
    /// No more input is taken: it has ended, or something in it was too wrong to go on, or the daemon is stopping.
    ended: bool,
    /// The peer has ended its input, and may still read.
    is_half_closed: bool,
    /// What is told without being asked for.
    events: Events,
    /// It stays for the last events only.
    lingering: Option<Lingering<'a>>,
    partial_since: Option<u64>,
}

/// Serves one connection until it is over.
pub(super) async fn serve(
    service: Arc<Service>,
    mut stream: UnixStream,
    peer: Peer,
    admission: Admission,
    stopping: Stopping,
) {
    let limits = service.terms.now().limits;
    let protocol = Protocol::new(&limits, Arc::clone(&service.clock));
    let (stay, stays) = watch::channel(Stay::Here);
    let events = Events::new(service.coordinator.clone(), Arc::clone(&service.telling));
    let connected = service.coordinator.connected();
    let mut connection = Connection {
        service: &service,
        limits,
        caller: Caller {
            peer,
            connected_at_ms: service.monotonic_ms(),
            admission,
            via: protocol.via(),
            stay: stays,
            connection: connected.id(),
            subscriptions: events.subscriptions(),
            names: service.names.clone(),
            budget: service.budget.clone(),
        },
        stay,
        connected: Some(connected),
        protocol,
        order: Order::default(),
        calls: FuturesUnordered::new(),
        out: Vec::new(),
        written: 0,
        share: service.budget.share(),
        unread_since: None,
        unread: Vec::new(),
        unsaid: Vec::new(),
        ended: false,
        is_half_closed: false,
        events,
        lingering: None,
        partial_since: None,
    };
    let over = connection.run(&mut stream, stopping).await.unwrap_or(Over::Lost);
    connection.finish(over).await;
}

impl Connection<'_> {
    async fn run(&mut self, stream: &mut UnixStream, mut stopping: Stopping) -> io::Result<Over> {
        let (mut input, output) = stream.split();
        let after = stopping.clone();
        let mut told_to_stop = std::pin::pin!(stopping.stop());
        let (mut is_stopping, mut hang_up) = (false, None);
        loop {
            self.collect();
            self.collect_events(input.as_ref());
            self.take_calls().await;
            // Input is wanted only once every message that has come in was taken: its end must not overtake them.
            let wants_input = self.wants_input();
            self.write(&output)?;
            if !wants_input && self.wants_input() {
                continue;
            }
            if self.ended && self.calls.is_empty() {
                if self.events.are_live() {
                    self.linger();
                } else if self.out.is_empty() && !self.stays() {
                    self.protocol.farewell(&mut self.out);
                    if self.out.is_empty() {
                        return self.wait_until_read(input.as_ref(), after).await;
                    }
                    continue;
                }
            }
            let wants_events = self.wants_events();
            let (incomplete, unread) = (self.incomplete_for(), self.unread_for());
            // Its end cannot be seen where no input is wanted.
            let stays = self.stays();
            let is_awaited = !self.calls.is_empty() && *self.stay.borrow() == Stay::Here;
            let is_unseen = !self.wants_input() && (is_awaited || stays);
            if is_unseen && hang_up.is_none() {
                hang_up = HangUp::of(input.as_ref()).ok();
            }
            self.protocol.settle();
            // Beside input: room where there is output, or that the peer is lost.
            let interest = if self.out.is_empty() { Interest::ERROR } else { Interest::WRITABLE };
            tokio::select! {
                biased;
                read = read_in(&mut input, &mut self.protocol), if wants_input => match read? {
                    0 => self.end_input(),
                    _ => self.note_read(input.as_ref()),
                },
                ready = output.ready(interest), if !wants_input || !self.out.is_empty() => {
                    let ready = ready?;
                    if ready.is_error() || (self.ended && ready.is_write_closed()) {
                        return Ok(Over::Lost);
                    }
                }
                Some(answer) = self.calls.next() => self.push(answer),
                event = self.events.next(), if wants_events => {
                    if let Some(event) = event {
                        self.tell(&event, input.as_ref());
                    }
                }
                () = elapse(incomplete) => self.end(),
                () = elapse(unread) => {
                    if self.service.budget.is_spent() {
                        return Ok(Over::Lost);
                    }
                    self.unread_since = None;
                }
                () = released(self.connected.as_ref()), if stays => {}
                () = hung_up(hang_up.as_ref()), if is_unseen => self.lose(input.as_ref()),
                () = &mut told_to_stop, if !is_stopping => {
                    is_stopping = true;
                    if !self.ended {
                        self.ended = true;
                        self.protocol.wind_up();
                        // Its subscribers are told of the stop itself, too.
                        self.events.close();
                    }
                    self.stay.send_replace(Stay::Stopping);
                }
            }
        }
    }

    fn wants_input(&self) -> bool {
        !self.ended
            && self.calls.len() < self.protocol.in_flight(self.limits.calls_in_flight)
            && self.waiting() < MAX_WAITING
            // Where all have too much waiting, who has some reads first.
            && (self.waiting() == 0 || !self.service.budget.is_spent())
    }

    /// The bytes that wait for the peer.
    fn waiting(&self) -> usize {
        self.out.len() - self.written
    }

    fn wants_events(&self) -> bool {
        self.events.are_live() && self.waiting() < MAX_EVENTS_WAITING
    }

    /// Whether it is kept for what it holds alone.
    fn stays(&self) -> bool {
        let holds = || self.connected.as_ref().is_some_and(Connected::holds_any);
        self.is_half_closed && self.calls.is_empty() && *self.stay.borrow() == Stay::Here && holds()
    }

    /// Takes no more input; with it end the subscriptions of this connection.
    fn end(&mut self) {
        self.ended = true;
        self.events.end();
    }

    /// Takes no more input where the peer, or its last answer, has said so.
    fn end_with_protocol(&mut self) {
        if self.protocol.is_over() {
            self.end();
        }
    }

    /// The daemon is stopping, and nothing is waited for here but the last events.
    fn linger(&mut self) {
        if self.lingering.is_none() {
            self.lingering = Some(Lingering::new(&self.service.lingering));
        }
    }

    /// The peer has hung up: nobody waits for anything any more. That it left something unread comes as an error.
    fn lose(&mut self, stream: &UnixStream) {
        self.stay.send_replace(Stay::Lost);
        self.connected = None;
        self.events.end();
        if self.out.is_empty() && matches!(stream.take_error(), Ok(None)) {
            self.unread.clear();
        }
    }

    /// A peer that sends may have read its grants by now.
    fn note_read(&mut self, stream: &UnixStream) {
        if !self.unread.is_empty() && has_read_all(stream) {
            self.unread.clear();
        }
    }

    fn end_input(&mut self) {
        self.end();
        // Of the others, none says more once its input has ended.
        self.is_half_closed = self.protocol.via() == Via::Lines;
        if let Some(frame) = self.protocol.last_frame() {
            self.take(frame);
        }
    }

    /// Starts the calls that have come in, as far as there is room.
    async fn take_calls(&mut self) {
        while self.wants_input() {
            let Some(frame) = self.protocol.next_frame(&mut self.out) else { break };
            // What begins behind a message has a time of its own.
            self.partial_since = None;
            self.take(frame);
            // Whoever sends without end still lets the others have their turns.
            consume_budget().await;
        }
        // What waits here for room may be complete: only what is left when there is room is not.
        let is_partial = self.wants_input() && self.protocol.is_partial();
        self.partial_since = is_partial.then(|| self.partial_since.unwrap_or_else(|| self.service.monotonic_ms()));
    }

    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Line(line) => {
                if self.calls.is_empty() {
                    self.order.clear();
                }
                let work = dispatch::parse(&self.service.methods, &mut self.order, &line, self.limits.batch);
                // Its first bytes tell how it is asked.
                self.caller.via = self.protocol.via();
                let mut call = dispatch::run(work, self.caller.clone()).boxed();
                // Most calls are answered at once.
                match (&mut call).now_or_never() {
                    Some(answer) => self.push(answer),
                    None => self.calls.push(call),
                }
            }
            Frame::TooLong => {
                let max = self.limits.line_bytes;
                self.say(Some(&dispatch::error_line(Id::Null, error::limit("line_bytes", max + 1, max))));
                self.end();
            }
            Frame::Answered => self.end_with_protocol(),
        }
    }

    /// Takes the answers that are there.
    fn collect(&mut self) {
        while let Some(Some(answer)) = self.calls.next().now_or_never() {
            self.push(answer);
        }
    }

    /// Takes the events that are there.
    fn collect_events(&mut self, stream: &UnixStream) {
        while self.wants_events() {
            let Some(event) = self.events.ready() else { break };
            self.tell(&event, stream);
        }
    }

    /// Puts an event to what is to be written.
    fn tell(&mut self, event: &[u8], stream: &UnixStream) {
        // What it has read by now is not unread for the events that follow.
        if self.out.is_empty() {
            self.note_read(stream);
        }
        // Where it cannot be said, the subscriptions have ended.
        let _is_said = self.say(Some(event));
    }

    fn push(&mut self, answer: Answer) {
        if self.say(answer.line.as_deref()) {
            self.unread.extend(answer.granted);
        } else {
            self.unsaid.extend(answer.granted);
        }
        self.share.set(self.waiting());
        for subscription in answer.subscribed {
            self.events.carry(subscription);
        }
    }

    /// Puts a message, or that a call has no answer, to what is to be written. Answers whether it can still be said.
    fn say(&mut self, line: Option<&[u8]>) -> bool {
        let is_said = self.protocol.say(line, &mut self.out);
        self.end_with_protocol();
        is_said
    }

    /// Writes what the peer takes now.
    fn write(&mut self, output: &WriteHalf<'_>) -> io::Result<()> {
        let before = self.waiting();
        let result = self.write_out(output);
        self.share.set(self.waiting());
        if self.waiting() != before {
            self.unread_since = None;
        }
        result
    }

    fn write_out(&mut self, output: &WriteHalf<'_>) -> io::Result<()> {
        while self.written < self.out.len() {
            match output.try_write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.forget_written();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        // Nor is a buffer kept for the next answer.
        (self.out, self.written) = (Vec::new(), 0);
        Ok(())
    }

    /// Lets go of what was written. A peer that always has something to read, and to ask, never has read everything.
    fn forget_written(&mut self) {
        // Not sooner: the rest of a long answer would be moved with every part of it.
        if self.written > self.out.len() / 2 {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// For how long an incomplete message may still be so.
    fn incomplete_for(&self) -> Option<Duration> {
        let since = self.partial_since?;
        let passed = self.service.monotonic_ms().saturating_sub(since);
        Some(Duration::from_millis(self.limits.request_timeout_ms.saturating_sub(passed)))
    }

    /// For how long the peer may yet read nothing of what waits for it, where others have too much waiting as well.
    fn unread_for(&mut self) -> Option<Duration> {
        if self.waiting() == 0 {
            self.unread_since = None;
            return None;
        }
        let now = self.service.monotonic_ms();
        let passed = now.saturating_sub(*self.unread_since.get_or_insert(now));
        Some(Duration::from_millis(UNREAD_AT_MOST_MS.saturating_sub(passed)))
    }

    /// A peer that has ended its input is still to read its answers, and may yet be lost.
    async fn wait_until_read(&mut self, stream: &UnixStream, mut stopping: Stopping) -> io::Result<Over> {
        for _ in 0..ASK_AT_MOST {
            if self.unread.is_empty() || has_read_all(stream) {
                // Being told that it hung up with something unread comes as an error, and has come by now.
                return match stream.try_read(&mut [0; 64]) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock && !self.unread.is_empty() => Err(error),
                    _ => Ok(Over::Read),
                };
            }
            tokio::select! {
                () = elapse(Some(ASK_AGAIN)) => {}
                // Its caller still has the time until the daemon starts again: what it may have read is not taken back.
                () = stopping.stop() => return Ok(Over::Read),
            }
        }
        Ok(Over::Lost)
    }

    /// Brings what was taken to its end, and ends the sessions that nobody knows the token of.
    async fn finish(mut self, over: Over) {
        self.events.end();
        let was = self.stay.send_replace(Stay::Lost);
        match self.connected.take() {
            Some(connected) if was == Stay::Stopping => connected.stop(),
            connected => drop(connected),
        }
        let mut lost = std::mem::take(&mut self.unsaid);
        if matches!(over, Over::Lost) {
            lost.append(&mut self.unread);
        }
        while let Some(answer) = self.calls.next().await {
            lost.extend(answer.granted);
        }
        let coordinator = &self.service.coordinator;
        for session in lost {
            debug!(%session, "its caller was lost before it had read the grant");
            coordinator.connection_lost(session).await;
        }
    }
}

/// Comes back when the peer has hung up; never, where that is not looked at.
async fn hung_up(hang_up: Option<&HangUp>) {
    match hang_up {
        Some(hang_up) => hang_up.come().await,
        None => std::future::pending().await,
    }
}

/// Waits until a connection no longer holds any session; never returns without one.
async fn released(connected: Option<&Connected>) {
    match connected {
        Some(connected) => connected.released().await,
        None => std::future::pending().await,
    }
}

/// Comes back after `time`; never without one.
async fn elapse(time: Option<Duration>) {
    match time {
        // The time is what is waited for.
        Some(time) => drop(tokio::time::timeout(time, std::future::pending::<()>()).await),
        None => std::future::pending().await,
    }
}
