//! WebSocket, as RFC 6455 has it: a message is one call or batch, as a line is.
//!
//! The protocol is tungstenite's. It is fed from memory, a frame at a time: so the loop of the connection keeps the socket,
//! and knows whether a message has begun and not ended.

use std::io::{self, Cursor, Read, Write};

use tungstenite::protocol::frame::coding::{CloseCode, OpCode};
use tungstenite::protocol::frame::{CloseFrame, FrameHeader, Utf8Bytes};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message};

use super::framing::Frame;
use super::incoming::Incoming;

/// The longest message that may leave its buffer behind, in bytes.
const USUAL: usize = 64 * 1024;

/// What a connection that is upgraded speaks.
pub(super) struct WebSocket {
    incoming: Incoming,
    socket: tungstenite::WebSocket<Pipe>,
    max: usize,
    /// A message has begun whose last fragment has not come.
    is_fragmented: bool,
    /// The peer has closed, or is told that this side does.
    is_over: bool,
    /// What the last word says.
    code: CloseCode,
}

/// One frame on its way in, and what goes out.
#[derive(Default)]
struct Pipe {
    frame: Cursor<Vec<u8>>,
    out: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.frame.read(into)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the beginning of the input is.
enum Head {
    /// Less than a frame.
    Partial,
    /// A frame of so many bytes.
    Frame(usize),
    /// A frame of more than a message may have.
    TooLong,
    /// No frame.
    Malformed,
}

/// The protocol from the first message on.
fn socket(max: usize) -> tungstenite::WebSocket<Pipe> {
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_message_size(Some(max))
        .max_frame_size(Some(max));
    tungstenite::WebSocket::from_raw_socket(Pipe::default(), Role::Server, Some(config))
}

impl WebSocket {
    /// Goes on after the handshake with what has come in behind it; messages may have `max` bytes.
    pub(super) fn new(rest: Vec<u8>, max: usize) -> Self {
        Self {
            incoming: Incoming::new(rest),
            socket: socket(max),
            max,
            is_fragmented: false,
            is_over: false,
            code: CloseCode::Away,
        }
    }

    pub(super) fn input(&mut self, room: usize) -> &mut Vec<u8> {
        self.incoming.input(room)
    }

    pub(super) fn settle(&mut self) {
        self.incoming.settle();
    }

    pub(super) fn is_partial(&self) -> bool {
        self.is_fragmented || !self.incoming.rest().is_empty()
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The next message, if one is complete. Pings are answered on the way.
    pub(super) fn next_frame(&mut self, out: &mut Vec<u8>) -> Option<Frame> {
        loop {
            if self.is_over {
                return None;
            }
            let length = match self.head() {
                Head::Partial => return None,
                Head::Frame(length) => length,
                Head::TooLong => return Some(self.too_long()),
                Head::Malformed => {
                    self.fail(CloseCode::Protocol, out);
                    return Some(Frame::Answered);
                }
            };
            let pipe = self.socket.get_mut();
            pipe.frame = Cursor::new(self.incoming.take(length).to_vec());
            let frame = match self.socket.read() {
                Ok(Message::Text(text)) => Some(Frame::Line(text.as_bytes().to_vec())),
                Ok(Message::Binary(bytes)) => Some(Frame::Line(bytes.to_vec())),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => None,
                Ok(Message::Close(_)) => {
                    self.is_over = true;
                    None
                }
                // It was a fragment.
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(Error::Capacity(_)) => return Some(self.too_long()),
                Err(Error::Utf8(_)) => {
                    self.fail(CloseCode::Invalid, out);
                    None
                }
                Err(_) => {
                    self.fail(CloseCode::Protocol, out);
                    None
                }
            };
            self.flush(out);
            self.forget(length);
            // What comes between the fragments of a message gives that message no more time.
            match frame {
                None if self.is_fragmented => {}
                None => return Some(Frame::Answered),
                message => return message,
            }
        }
    }

    /// Looks at the frame that comes next, and notes whether it ends its message.
    fn head(&mut self) -> Head {
        let rest = self.incoming.rest();
        let mut cursor = Cursor::new(rest);
        let (header, payload) = match FrameHeader::parse(&mut cursor) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return Head::Partial,
            Err(_) => return Head::Malformed,
        };
        let Some(payload) = usize::try_from(payload).ok().filter(|payload| *payload <= self.max) else {
            return Head::TooLong;
        };
        let head = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        if rest.len() < head.saturating_add(payload) {
            return Head::Partial;
        }
        if matches!(header.opcode, OpCode::Data(_)) {
            self.is_fragmented = !header.is_final;
        }
        Head::Frame(head + payload)
    }

    fn too_long(&mut self) -> Frame {
        self.code = CloseCode::Size;
        Frame::TooLong
    }

    /// Closes because of what the peer sent.
    fn fail(&mut self, code: CloseCode, out: &mut Vec<u8>) {
        self.code = code;
        self.farewell(out);
    }

    /// Says something, if the peer still listens.
    pub(super) fn say(&mut self, text: &[u8], out: &mut Vec<u8>) -> bool {
        if self.is_over {
            return false;
        }
        let message = match Utf8Bytes::try_from(text.to_vec()) {
            Ok(text) => Message::Text(text),
            Err(_) => Message::Binary(text.to_vec().into()),
        };
        let is_said = self.socket.write(message).is_ok();
        self.flush(out);
        self.forget(text.len());
        is_said
    }

    /// Tells the peer that this side closes, unless one of the two has already.
    pub(super) fn farewell(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.is_over, true) {
            // Fails only when there is nothing more to say.
            let _said = self.socket.close(Some(CloseFrame { code: self.code, reason: Utf8Bytes::default() }));
            self.flush(out);
        }
    }

    /// The peer is gone without a word.
    pub(super) fn lose(&mut self) {
        self.is_over = true;
    }

    /// Lets go of the buffers that so long a message has left in the library, where nothing is under way: a connection may
    /// idle for hours.
    fn forget(&mut self, length: usize) {
        if length > USUAL && !self.is_fragmented && !self.is_over {
            self.socket = socket(self.max);
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        // Into memory; it fails only to say that the connection is closed.
        let _flushed = self.socket.flush();
        out.append(&mut self.socket.get_mut().out);
    }
}
