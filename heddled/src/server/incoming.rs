//! Bytes that have come in and were not taken yet.

/// What a connection has sent, from the first byte that nobody has taken.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    buffer: Vec<u8>,
    start: usize,
}

impl Incoming {
    /// Begins with what has come in already.
    pub(super) fn new(buffer: Vec<u8>) -> Self {
        Self { buffer, start: 0 }
    }

    /// Where the next bytes go, with room for so many.
    pub(super) fn input(&mut self, room: usize) -> &mut Vec<u8> {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.reserve(room);
        &mut self.buffer
    }

    /// Keeps no buffer for what was taken.
    pub(super) fn settle(&mut self) {
        if self.start == self.buffer.len() {
            self.buffer = Vec::new();
            self.start = 0;
        }
    }

    /// What was not taken.
    pub(super) fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Takes so many bytes, or all that there are.
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        let from = self.start;
        self.start = from.saturating_add(count).min(self.buffer.len());
        self.buffer.get(from..self.start).unwrap_or_default()
    }

    /// Lets somebody else go on with what was not taken.
    pub(super) fn into_rest(mut self) -> Vec<u8> {
        self.buffer.split_off(self.start)
    }
}
