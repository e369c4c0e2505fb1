//! The caller's part of waiting: until when, and what is to be done when its turn comes or its wait is over.

use std::future::{Future, Pending, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use proto_schema::{SessionId, WaitOutcome};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Timeout;

use super::failure::Failure;
use super::message::{Done, Leave, Message};
use super::shared::Shared;
use super::waiting::{Seat, Word};

/// Whether a caller is still there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stay {
    /// It is.
    Here,
    /// Its connection is lost.
    Lost,
    /// The daemon is stopping.
    Stopping,
}

/// How long a caller waits, and what ends that before.
#[derive(Clone, Debug)]
pub struct Patience {
    /// In milliseconds.
    pub ms: u64,
    /// Whether it is still there. It is lost when nobody can say any more.
    pub stay: watch::Receiver<Stay>,
}

/// A caller that waits.
pub(super) struct Waiting {
    seat: Seat,
    words: mpsc::UnboundedReceiver<Word>,
    end: End,
}

/// What ends a wait.
struct End {
    shared: Arc<Shared>,
    seat: SessionId,
    time: Pin<Box<Timeout<Pending<()>>>>,
    stay: watch::Receiver<Stay>,
    /// Why it is to end.
    over: Option<WaitOutcome>,
    /// The answer to giving the seat up; none comes where there was no seat.
    leaving: Option<oneshot::Receiver<Result<Done, Failure>>>,
    /// What a seat is given up for when this is dropped, should there be one.
    dropped: Option<WaitOutcome>,
}

impl Waiting {
    /// From now on.
    pub(super) fn new(shared: &Arc<Shared>, seat: SessionId, patience: &Patience, is_anchored: bool) -> Self {
        let (speak, words) = mpsc::unbounded_channel();
        let end = End {
            shared: Arc::clone(shared),
            seat,
            time: Box::pin(tokio::time::timeout(Duration::from_millis(patience.ms), pending())),
            stay: patience.stay.clone(),
            over: None,
            leaving: None,
            dropped: Some(WaitOutcome::Left),
        };
        Self { seat: Seat { id: seat, is_anchored, words: Some(speak) }, words, end }
    }

    /// Its seat, as it is now.
    pub(super) fn seat(&self) -> Seat {
        self.seat.clone()
    }

    /// It was told that it has a place in the queue.
    pub(super) fn take_seat(&mut self) {
        self.seat.words = None;
    }

    /// Waits for its turn, if it has a seat.
    pub(super) async fn turn(&mut self) -> Result<(), Failure> {
        if !self.seat.is_taken() {
            return Ok(());
        }
        match self.end.unless_over(self.words.recv()).await? {
            Some(Word::Turn) => Ok(()),
            Some(Word::Over(failure)) => Err(failure),
            // The seat is given up, which is answered once it is durable; or the writer is gone.
            None => match self.end.leaving.take() {
                Some(answer) => answer.await.unwrap_or(Err(Failure::ShuttingDown)).map(drop),
                None => Err(Failure::ShuttingDown),
            },
        }
    }

    /// Waits for the answer to what it asked at its turn.
    pub(super) async fn unless_over<T>(&mut self, event: impl Future<Output = T>) -> Result<T, Failure> {
        self.end.unless_over(event).await
    }

    /// It has been answered. Without a grant its place is free, whoever said so.
    pub(super) fn answered(mut self, is_granted: bool) {
        self.end.dropped = (!is_granted).then_some(WaitOutcome::Refused);
    }
}

impl End {
    /// Waits for something. When the wait is over before, the seat is given up; but what was decided by then counts.
    async fn unless_over<T>(&mut self, event: impl Future<Output = T>) -> Result<T, Failure> {
        let mut event = pin!(event);
        if let (Some(outcome), None) = (self.over, &self.leaving) {
            // It was over before there was a seat.
            self.leave(outcome);
        }
        loop {
            tokio::select! {
                biased;
                value = &mut event => return Ok(value),
                left = answered(&mut self.leaving) => match left {
                    Some(Err(failure)) => return Err(failure),
                    Some(Ok(_)) | None => self.leaving = None,
                },
                outcome = gone(&mut self.stay), if self.over.is_none_or(|over| over == WaitOutcome::TimedOut) => {
                    self.leave(outcome);
                }
                _ = &mut self.time, if self.over.is_none() => self.leave(WaitOutcome::TimedOut),
            }
        }
    }

    fn leave(&mut self, outcome: WaitOutcome) {
        self.over = Some(outcome);
        let (reply, answer) = oneshot::channel();
        self.leaving = Some(answer);
        self.post(Leave { seat: self.seat, outcome, reply: Some(reply) });
    }

    /// Tells the writer. What is said here is not lost when the writer is behind.
    fn post(&self, leave: Leave) {
        // Fails only when the writer has ended, and every wait with it.
        drop(self.shared.inbox.send(Message::Leave(leave)));
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(outcome) = self.dropped {
            self.post(Leave { seat: self.seat, outcome, reply: None });
        }
    }
}

/// The answer, once it is there; none when there will be none.
async fn answered(leaving: &mut Option<oneshot::Receiver<Result<Done, Failure>>>) -> Option<Result<Done, Failure>> {
    match leaving {
        Some(answer) => answer.await.ok(),
        None => pending().await,
    }
}

/// Comes back when the caller is not there any more.
async fn gone(stay: &mut watch::Receiver<Stay>) -> WaitOutcome {
    match stay.wait_for(|stay| *stay != Stay::Here).await.map(|stay| *stay) {
        Ok(Stay::Stopping) => WaitOutcome::ShuttingDown,
        Ok(Stay::Here | Stay::Lost) | Err(_) => WaitOutcome::Left,
    }
}
