//! The subscriptions of one connection, whether it speaks lines or WebSocket.
//!
//! `events.subscribe` is a method like others: it makes a [`Subscription`], which leaves the call beside its answer
//! (`dispatch::Answer`). The connection writes the answer, hands the subscription to its [`Events`], and from then on takes
//! messages from there whenever its peer takes output. So the answer always comes before the first event.
//!
//! Each subscription is a task that follows the log and puts messages into the connection's channel, which is short. Where
//! the peer takes nothing the channel is full and the task waits: nothing is kept for a slow subscriber, and nobody but its
//! own task notices it. Once it is too far behind it is told so, as its last message. What is told is made once for all
//! (`telling`).

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use proto_schema::{Event, Lagged, SubscriptionId};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::debug;

use super::telling::{self, Telling};
use super::terms::Counted;
use crate::coordinator::{Coordinator, Followed, Follower};
use crate::registry::OperationRecord;

/// How many messages may wait for one connection, all its subscriptions together.
const WAITING: usize = 64;

/// A subscription that was granted and is not carried yet.
#[derive(Debug)]
pub(super) struct Subscription {
    /// Its number among those of the daemon.
    pub(super) number: u64,
    /// Its place in the log.
    pub(super) follower: Follower,
    /// How far behind it may be when its connection takes no more.
    pub(super) most_behind: u64,
    /// Counts it.
    pub(super) counted: Counted,
}

/// One that is carried.
struct Live {
    task: AbortHandle,
    _counted: Counted,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The subscriptions of a connection by their numbers. Its calls have it too.
#[derive(Default)]
pub(super) struct Subscriptions(Mutex<BTreeMap<u64, Live>>);

impl Subscriptions {
    /// Ends one; false when there is none. Nothing of it is given out after this.
    pub(super) fn end(&self, id: &SubscriptionId) -> bool {
        id.number().is_some_and(|number| self.0.lock().remove(&number).is_some())
    }
}

impl std::fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.lock().keys()).finish()
    }
}

/// A message on its way to the connection.
struct Notice {
    subscription: u64,
    event: Arc<RawValue>,
    /// Whether the subscription ends with it.
    is_last: bool,
}

/// What is to be written on a connection beside the answers of its calls.
pub(super) struct Events {
    coordinator: Coordinator,
    telling: Arc<Telling>,
    subscriptions: Arc<Subscriptions>,
    /// None until the first subscription, and when all have ended.
    notices: Option<mpsc::Receiver<Notice>>,
    sender: Option<mpsc::Sender<Notice>>,
    /// No more subscriptions are carried.
    closed: bool,
}

impl Events {
    /// Of a new connection. Costs nothing until somebody subscribes.
    pub(super) fn new(coordinator: Coordinator, telling: Arc<Telling>) -> Self {
        Self { coordinator, telling, subscriptions: Arc::default(), notices: None, sender: None, closed: false }
    }

    /// What each call of the connection is given.
    pub(super) fn subscriptions(&self) -> Arc<Subscriptions> {
        Arc::clone(&self.subscriptions)
    }

    /// Carries a subscription from now on: its answer is written, or will be before any event.
    pub(super) fn carry(&mut self, subscription: Subscription) {
        if self.closed {
            return;
        }
        let sender = self.sender.get_or_insert_with(|| {
            let (sender, notices) = mpsc::channel(WAITING);
            self.notices = Some(notices);
            sender
        });
        let Subscription { number, follower, most_behind, counted } = subscription;
        let carrier =
            Carrier { number, most_behind, coordinator: self.coordinator.clone(), telling: Arc::clone(&self.telling) };
        let task = tokio::spawn(carrier.run(follower, sender.clone())).abort_handle();
        self.subscriptions.0.lock().insert(number, Live { task, _counted: counted });
    }

    /// Whether there may be something to write, now or later.
    pub(super) fn are_live(&self) -> bool {
        self.notices.is_some()
    }

    /// The next message, without its line ending. None when there will be none: before the first subscription, and once all
    /// have ended and no more are carried. Nothing is lost when it is dropped.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let Some(notice) = self.notices.as_mut()?.recv().await else {
                self.notices = None;
                return None;
            };
            if let Some(message) = self.due(notice) {
                return Some(message);
            }
        }
    }

    /// The next message that is there.
    pub(super) fn ready(&mut self) -> Option<Vec<u8>> {
        loop {
            let notice = self.notices.as_mut()?.try_recv().ok()?;
            if let Some(message) = self.due(notice) {
                return Some(message);
            }
        }
    }

    /// The message, unless its subscription was ended meanwhile.
    fn due(&self, notice: Notice) -> Option<Vec<u8>> {
        let mut live = self.subscriptions.0.lock();
        let is_due = if notice.is_last {
            live.remove(&notice.subscription).is_some()
        } else {
            live.contains_key(&notice.subscription)
        };
        drop(live);
        is_due.then(|| message(notice.subscription, &notice.event))
    }

    /// Carries no more: what is carried ends with the log, when the daemon stops.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.sender = None;
    }

    /// Ends all.
    pub(super) fn end(&mut self) {
        self.close();
        self.notices = None;
        self.subscriptions.0.lock().clear();
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.end();
    }
}

/// A notification as it stands on the wire: `events.event`, and its parameters as `proto_schema::EventParams` has them.
#[derive(Serialize)]
struct Notification<'a> {
    jsonrpc: &'static str,
    method: &'static str,
    params: Params<'a>,
}

#[derive(Serialize)]
struct Params<'a> {
    subscription: SubscriptionId,
    result: &'a RawValue,
}

/// What one subscriber is sent.
fn message(subscription: u64, event: &RawValue) -> Vec<u8> {
    let params = Params { subscription: SubscriptionId::new(subscription), result: event };
    // With room for what is put around the event.
    let mut message = Vec::with_capacity(event.get().len() + 128);
    // Into memory, and of text: it does not fail.
    let _written =
        serde_json::to_writer(&mut message, &Notification { jsonrpc: "2.0", method: "events.event", params });
    message
}

/// Why a carrier does not go on.
enum Over {
    /// The subscriber is to go on after this revision, by another subscription.
    Lagged(u64),
    /// The daemon has stopped, or the connection is gone.
    Done,
}

/// Carries one subscription.
struct Carrier {
    number: u64,
    most_behind: u64,
    coordinator: Coordinator,
    telling: Arc<Telling>,
}

impl Carrier {
    async fn run(self, mut follower: Follower, sender: mpsc::Sender<Notice>) {
        let over = self.follow(&mut follower, &sender).await;
        if let Over::Lagged(resume_after) = over {
            debug!(subscription = %SubscriptionId::new(self.number), resume_after, "a subscriber fell behind");
            let lagged = Event::Lagged(Lagged::new(resume_after, self.coordinator.now()));
            if let Some(event) = telling::text(&lagged) {
                // Its place is behind what waits already, and it waits itself as long as its peer takes nothing.
                drop(sender.send(Notice { subscription: self.number, event, is_last: true }).await);
            }
        }
    }

    async fn follow(&self, follower: &mut Follower, sender: &mpsc::Sender<Notice>) -> Over {
        loop {
            let followed = tokio::select! {
                followed = follower.next() => followed,
                () = sender.closed() => return Over::Done,
            };
            let operations = match followed {
                Ok(Followed::Operations(operations)) => operations,
                Ok(Followed::Stopped) => return Over::Done,
                // Subscribing again tells what is kept, or why the log cannot be read.
                Ok(Followed::Compacted) | Err(_) => return Over::Lagged(follower.place()),
            };
            if let Err(over) = self.tell(operations, follower, sender).await {
                return over;
            }
            // Whoever catches up leaves the others their turns.
            tokio::task::yield_now().await;
        }
    }

    /// Gives operations to the connection.
    async fn tell(
        &self,
        operations: Vec<Arc<OperationRecord>>,
        follower: &mut Follower,
        sender: &mpsc::Sender<Notice>,
    ) -> Result<(), Over> {
        let snapshot = self.coordinator.snapshot();
        for record in operations {
            // What was passed over up to here did not match.
            let given = record.revision.saturating_sub(1);
            let room = self.room(follower, sender, given).await?;
            let event = self.telling.operation(&snapshot.registry, &record).ok_or(Over::Lagged(given))?;
            room.send(Notice { subscription: self.number, event, is_last: false });
        }
        Ok(())
    }

    /// Waits for room for one message, unless the subscriber is too far behind by then.
    async fn room<'a>(
        &self,
        follower: &mut Follower,
        sender: &'a mpsc::Sender<Notice>,
        given: u64,
    ) -> Result<mpsc::Permit<'a, Notice>, Over> {
        if let Ok(room) = sender.try_reserve() {
            return Ok(room);
        }
        loop {
            if follower.behind(given) > self.most_behind {
                return Err(Over::Lagged(given));
            }
            tokio::select! {
                biased;
                room = sender.reserve() => return room.map_err(|_| Over::Done),
                () = follower.more() => {}
            }
        }
    }
}
