//! The calls of one connection about one session are applied in the order sent; all others run concurrently.

use std::collections::HashMap;

use proto_schema::SessionId;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

/// The last call taken of each session.
#[derive(Debug, Default)]
pub(super) struct Order(HashMap<SessionId, oneshot::Receiver<()>>);

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
        let (done, after) = oneshot::channel();
        Turn { before: self.0.insert(session, after), _done: Some(done) }
    }

    /// Forgets every call: none is under way.
    pub(super) fn clear(&mut self) {
        self.0.clear();
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
