//! Cuts a stream of bytes into lines. Pure, so that it can be fed anything.

/// What the bytes so far amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// One message: the line without its ending.
    Line(Vec<u8>),
    /// A line longer than is allowed.
    TooLong,
    /// Something that was answered on the spot, or needs no answer. Lines have none.
    Answered,
}

/// Bytes that have come in, and how far they have been looked at.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    start: usize,
    searched: usize,
    max: usize,
}

impl Framer {
    /// Allows lines of `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, searched: 0, max }
    }

    /// Where the next bytes go, with room for so many.
    pub fn input(&mut self, room: usize) -> &mut Vec<u8> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            (self.start, self.searched) = (0, 0);
        } else if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.buffer.reserve(room);
        &mut self.buffer
    }

    /// Keeps no buffer for what has passed: a connection may idle for hours, and there are thousands.
    pub fn settle(&mut self) {
        if self.start == self.buffer.len() {
            self.buffer = Vec::new();
            (self.start, self.searched) = (0, 0);
        }
    }

    /// The next message, if one is complete. Blank lines are passed over.
    pub fn next_frame(&mut self) -> Option<Frame> {
        loop {
            let Some(end) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
                self.searched = self.buffer.len();
                // One more for the `\r` that may come before the ending.
                return (self.searched - self.start > self.max + 1).then_some(Frame::TooLong);
            };
            let line = &self.buffer[self.start..self.searched + end];
            self.start = self.searched + end + 1;
            self.searched = self.start;
            match frame(line, self.max) {
                None => {}
                some => return some,
            }
        }
    }

    /// The last message, when the input has ended without a line ending.
    pub fn last_frame(&mut self) -> Option<Frame> {
        let line = std::mem::take(&mut self.buffer);
        let rest = line.get(self.start..).unwrap_or_default();
        (self.start, self.searched) = (0, 0);
        frame(rest, self.max)
    }

    /// The first byte that has come in, while nothing was taken.
    pub(super) fn first_byte(&self) -> Option<u8> {
        self.buffer.first().copied()
    }

    /// Whether a message has begun and not ended.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.buffer[self.start..].iter().any(|byte| !byte.is_ascii_whitespace())
    }
}

fn frame(line: &[u8], max: usize) -> Option<Frame> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    Some(if line.len() > max { Frame::TooLong } else { Frame::Line(line.to_vec()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(chunks: &[&[u8]], max: usize) -> Vec<Frame> {
        let mut framer = Framer::new(max);
        let mut frames = Vec::new();
        for chunk in chunks {
            framer.input(0).extend_from_slice(chunk);
            while let Some(frame) = framer.next_frame() {
                let stop = frame == Frame::TooLong;
                frames.push(frame);
                if stop {
                    return frames;
                }
            }
        }
        frames.extend(framer.last_frame());
        frames
    }

    #[test]
    fn lines_end_with_or_without_carriage_return_and_the_last_needs_no_ending() {
        let line = |text: &str| Frame::Line(text.into());
        assert_eq!(frames(&[b"a\r\n\n  \nb\nc"], 10), [line("a"), line("b"), line("c")]);
    }

    #[test]
    fn a_line_may_have_exactly_the_limit() {
        assert_eq!(frames(&[b"12345\r\n"], 5), [Frame::Line(b"12345".to_vec())]);
        assert_eq!(frames(&[b"123456\n"], 5), [Frame::TooLong]);
        assert_eq!(frames(&[b"1234567"], 5), [Frame::TooLong], "also before its ending has come");
    }

    proptest! {
        #[test]
        fn where_the_input_is_cut_makes_no_difference(input: Vec<u8>, cut in 0usize..64) {
            let cut = cut.min(input.len());
            let whole = frames(&[&input], 16);
            let parts = frames(&[&input[..cut], &input[cut..]], 16);
            prop_assert_eq!(whole, parts);
        }
    }
}
