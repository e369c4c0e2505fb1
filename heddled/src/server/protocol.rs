//! What a connection speaks: lines, HTTP or WebSocket, told apart by the first byte that it sends.
//!
//! Each of them only cuts bytes into messages and wraps answers into bytes; neither waits nor reads or writes a socket. So
//! there is one loop for all (`connection`), and what it keeps holds for each of them: who may ask, what is in flight, which
//! order, how long something may be incomplete, which answers were read.

use std::sync::Arc;

use super::framing::{Frame, Framer};
use super::http::Http;
use super::limits::Limits;
use super::websocket::WebSocket;
use crate::clock::Clock;

/// How a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// As a line.
    Lines,
    /// In a request of its own, whose connection says nothing about its caller.
    Http,
    /// As a WebSocket message.
    WebSocket,
}

/// What one connection speaks.
pub(super) struct Protocol {
    speech: Speech,
    /// Whether its first byte has come in.
    is_known: bool,
    max: usize,
    clock: Arc<dyn Clock>,
}

enum Speech {
    Lines(Framer),
    Http(Box<Http>),
    WebSocket(Box<WebSocket>),
}

/// Whether what has come in begins like an HTTP request: no JSON begins with a capital letter.
pub(super) fn is_http(first: u8) -> bool {
    first.is_ascii_uppercase()
}

impl Protocol {
    pub(super) fn new(limits: &Limits, clock: Arc<dyn Clock>) -> Self {
        let max = limits.line_bytes;
        Self { speech: Speech::Lines(Framer::new(max)), is_known: false, max, clock }
    }

    /// How calls come on it.
    pub(super) fn via(&self) -> Via {
        match self.speech {
            Speech::Lines(_) => Via::Lines,
            Speech::Http(_) => Via::Http,
            Speech::WebSocket(_) => Via::WebSocket,
        }
    }

    /// How many of its calls may be in flight: the answers of HTTP have no names, and come in the order of the requests.
    pub(super) fn in_flight(&self, max: usize) -> usize {
        if matches!(self.speech, Speech::Http(_)) { 1 } else { max }
    }

    /// Where the next bytes go, with room for so many.
    pub(super) fn input(&mut self, room: usize) -> &mut Vec<u8> {
        match &mut self.speech {
            Speech::Lines(framer) => framer.input(room),
            Speech::Http(http) => http.input(room),
            Speech::WebSocket(socket) => socket.input(room),
        }
    }

    /// Keeps no buffer for what has passed: to be called before anything is waited for.
    pub(super) fn settle(&mut self) {
        match &mut self.speech {
            Speech::Lines(framer) => framer.settle(),
            Speech::Http(http) => http.settle(),
            Speech::WebSocket(socket) => socket.settle(),
        }
    }

    /// The next message, if one is complete. What is to be said to less than a message goes to `out`.
    pub(super) fn next_frame(&mut self, out: &mut Vec<u8>) -> Option<Frame> {
        if !self.is_known {
            self.tell_apart();
        }
        match &mut self.speech {
            Speech::Lines(framer) => framer.next_frame(),
            Speech::Http(http) => {
                let frame = http.next_frame(out);
                if let Some(rest) = http.upgraded() {
                    self.speech = Speech::WebSocket(Box::new(WebSocket::new(rest, self.max)));
                }
                frame
            }
            Speech::WebSocket(socket) => socket.next_frame(out),
        }
    }

    fn tell_apart(&mut self) {
        let Speech::Lines(framer) = &mut self.speech else { return };
        let Some(first) = framer.first_byte() else { return };
        self.is_known = true;
        if is_http(first) {
            let sent = std::mem::take(framer.input(0));
            self.speech = Speech::Http(Box::new(Http::new(sent, self.max, Arc::clone(&self.clock))));
        }
    }

    /// The input has ended: the last message, where that needs no ending.
    pub(super) fn last_frame(&mut self) -> Option<Frame> {
        match &mut self.speech {
            Speech::Lines(framer) => framer.last_frame(),
            Speech::Http(_) => None,
            Speech::WebSocket(socket) => {
                socket.lose();
                None
            }
        }
    }

    /// Whether a message has begun and not ended.
    pub(super) fn is_partial(&self) -> bool {
        match &self.speech {
            Speech::Lines(framer) => framer.is_partial(),
            Speech::Http(http) => http.is_partial(),
            Speech::WebSocket(socket) => socket.is_partial(),
        }
    }

    /// Whether no further message is to be taken.
    pub(super) fn is_over(&self) -> bool {
        match &self.speech {
            Speech::Lines(_) => false,
            Speech::Http(http) => http.is_over(),
            Speech::WebSocket(socket) => socket.is_over(),
        }
    }

    /// Says something: the answer of a call, without a line ending, or that there is none. Answers whether it can still be
    /// said.
    pub(super) fn say(&mut self, line: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
        match (&mut self.speech, line) {
            (Speech::Lines(_), Some(line)) => {
                out.reserve(line.len() + 1);
                out.extend_from_slice(line);
                out.push(b'\n');
                true
            }
            (Speech::Http(http), line) => {
                http.answer(line, out);
                true
            }
            (Speech::WebSocket(socket), Some(line)) => socket.say(line, out),
            (Speech::Lines(_) | Speech::WebSocket(_), None) => true,
        }
    }

    /// What is answered next is the last.
    pub(super) fn wind_up(&mut self) {
        if let Speech::Http(http) = &mut self.speech {
            http.wind_up();
        }
    }

    /// The last word before this side closes the connection; there is one at most.
    pub(super) fn farewell(&mut self, out: &mut Vec<u8>) {
        if let Speech::WebSocket(socket) = &mut self.speech {
            socket.farewell(out);
        }
    }
}
