//! The calls of one connection about one session are applied in the order sent; all others run concurrently.

use std::collections::HashMap;

use proto_schema::SessionId;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

/// The last call taken of each session: of those that are under way, and of some that are done.
#[derive(Debug, Default)]
pub(super) struct Order {
    last: HashMap<SessionId, oneshot::Receiver<()>>,
    /// How many there may be before those that are done are looked for. A connection on which somebody waits for hours is
    /// never without a call under way, and may speak of any number of sessions meanwhile.
    most: usize,
}

/// How many are kept without a look.
const FEW: usize = 64;

/// A call's place behind the one before it.
#[derive(Debug, Default)]
pub(super) struct Turn {
    before: Option<oneshot::Receiver<()>>,
    /// Dropped with the call, which lets the next one go.
    _done: Option<oneshot::Sender<()>>,
}

#[derive(Deserialize)]
struct About {
    session_id: Option<SessionId>,
}

impl Order {
    /// Queues a call behind those about the same session.
    pub(super) fn queue(&mut self, params: Option<&RawValue>) -> Turn {
        let about = params.and_then(|params| serde_json::from_str::<About>(params.get()).ok());
        let Some(session) = about.and_then(|about| about.session_id) else { return Turn::default() };
        if self.last.len() >= self.most.max(FEW) {
            self.last.retain(|_, after| after.try_recv() == Err(TryRecvError::Empty));
            self.most = self.last.len() * 2;
        }
        let (done, after) = oneshot::channel();
        Turn { before: self.last.insert(session, after), _done: Some(done) }
    }

    /// Forgets every call: none is under way.
    pub(super) fn clear(&mut self) {
        self.last.clear();
    }
}

impl Turn {
    /// Waits until the calls before are done.
    pub(super) async fn come(&mut self) {
        if let Some(before) = self.before.take() {
            // An error is the sender's end, which is what is waited for.
            let _done = before.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;

    use super::*;

    fn about(number: u64) -> Box<RawValue> {
        let id: String = format!("{number:020}").bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
        to_raw_value(&serde_json::json!({ "session_id": format!("agent-{id}") })).unwrap()
    }

    #[test]
    fn what_is_done_is_forgotten_while_others_are_under_way() {
        let mut order = Order::default();
        let waiting = order.queue(Some(&about(0)));
        for number in 1..10_000 {
            drop(order.queue(Some(&about(number))));
        }
        assert!(order.last.len() <= FEW, "{}", order.last.len());
        assert!(order.queue(Some(&about(0))).before.is_some(), "those under way keep their order");
        drop(waiting);
        let under_way: Vec<Turn> = (0..1000).map(|number| order.queue(Some(&about(number)))).collect();
        assert!((1000..=2000).contains(&order.last.len()));
        drop(under_way);
    }
}
