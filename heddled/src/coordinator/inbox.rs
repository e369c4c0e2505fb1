//! The way of the messages to the writer, and how many are on it. Nothing here waits but the writer.

use std::sync::mpsc::{Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError, channel};

use prometheus::IntGauge;

use super::message::Message;

/// How many messages may wait for the writer before callers are refused.
pub(super) const INBOX: usize = 16_384;

/// Where messages are put.
pub(super) struct Inbox {
    sender: Sender<Message>,
    waiting: IntGauge,
}

/// Where the writer takes them.
pub(super) struct Outbox {
    receiver: Receiver<Message>,
    waiting: IntGauge,
}

/// Makes both ends; `waiting` shows how many messages are between them.
pub(super) fn inbox(waiting: IntGauge) -> (Inbox, Outbox) {
    let (sender, receiver) = channel();
    (Inbox { sender, waiting: waiting.clone() }, Outbox { receiver, waiting })
}

impl Inbox {
    /// Puts a caller's message in, if there is room.
    #[expect(clippy::result_large_err, reason = "the message comes back as the channel gives it")]
    pub(super) fn try_send(&self, message: Message) -> Result<(), TrySendError<Message>> {
        // Callers at the same moment may exceed the bound by a few: it is there to limit memory.
        if usize::try_from(self.waiting.get()).is_ok_and(|waiting| waiting >= INBOX) {
            return Err(TrySendError::Full(message));
        }
        self.send(message).map_err(|SendError(message)| TrySendError::Disconnected(message))
    }

    /// Puts a message in whatever the number of those that wait. For what must not be lost, and whose number is bounded
    /// elsewhere: the death of a holder, the outcome of work that the writer has allowed, the end of a wait, the stop.
    #[expect(clippy::result_large_err, reason = "the message comes back as the channel gives it")]
    pub(super) fn send(&self, message: Message) -> Result<(), SendError<Message>> {
        // Before: the writer may take it out at once.
        self.waiting.inc();
        self.sender.send(message).inspect_err(|_| self.waiting.dec())
    }
}

impl Outbox {
    /// The next message, once there is one.
    pub(super) fn recv(&self) -> Result<Message, RecvError> {
        self.receiver.recv().inspect(|_| self.waiting.dec())
    }

    /// The next message, if there is one.
    pub(super) fn try_recv(&self) -> Result<Message, TryRecvError> {
        self.receiver.try_recv().inspect(|_| self.waiting.dec())
    }
}
