//! The way of the messages to the writer, and how many are on it.

use std::sync::mpsc::{Receiver, RecvError, SendError, SyncSender, TryRecvError, TrySendError, sync_channel};

use prometheus::IntGauge;

use super::message::Message;

/// How many messages may wait for the writer.
pub(super) const INBOX: usize = 16_384;

/// Where messages are put.
pub(super) struct Inbox {
    sender: SyncSender<Message>,
    waiting: IntGauge,
}

/// Where the writer takes them.
pub(super) struct Outbox {
    receiver: Receiver<Message>,
    waiting: IntGauge,
}

/// Makes both ends; `waiting` shows how many messages are between them.
pub(super) fn inbox(waiting: IntGauge) -> (Inbox, Outbox) {
    let (sender, receiver) = sync_channel(INBOX);
    (Inbox { sender, waiting: waiting.clone() }, Outbox { receiver, waiting })
}

impl Inbox {
    /// Puts a message in if there is room.
    #[expect(clippy::result_large_err, reason = "the message comes back as the channel gives it")]
    pub(super) fn try_send(&self, message: Message) -> Result<(), TrySendError<Message>> {
        // Before: the writer may take it out at once.
        self.waiting.inc();
        self.sender.try_send(message).inspect_err(|_| self.waiting.dec())
    }

    /// Puts a message in once there is room.
    #[expect(clippy::result_large_err, reason = "the message comes back as the channel gives it")]
    pub(super) fn send(&self, message: Message) -> Result<(), SendError<Message>> {
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
