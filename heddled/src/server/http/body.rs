//! Bodies: of a length that is told before, or in chunks.

use crate::server::incoming::Incoming;

/// The longest line before a chunk, and the longest trailers, in bytes.
const MAX_LINES: usize = 4 * 1024;

/// How the body is told from what follows it, and what of it has come in.
#[derive(Debug)]
pub(super) enum Body {
    /// So many bytes.
    Length(usize),
    /// Chunks.
    Chunked(Chunked),
}

/// The chunks so far.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    body: Vec<u8>,
    at: At,
    /// Bytes of trailers so far.
    trailers: usize,
}

/// Where in the chunks the input stands.
#[derive(Clone, Copy, Debug, Default)]
enum At {
    #[default]
    Size,
    Data(usize),
    DataEnd,
    Trailers,
}

/// What has become of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    Partial,
    /// This is all of it.
    Complete(Vec<u8>),
    /// It is longer than a message may be.
    TooLong,
    /// It is none.
    Malformed(&'static str),
}

impl Body {
    /// Takes what has come in of it.
    pub(super) fn take(&mut self, incoming: &mut Incoming, max: usize) -> Progress {
        match self {
            Self::Length(length) if *length > max => Progress::TooLong,
            Self::Length(length) if incoming.rest().len() < *length => Progress::Partial,
            Self::Length(length) => Progress::Complete(incoming.take(*length).to_vec()),
            Self::Chunked(chunked) => chunked.take(incoming, max),
        }
    }
}

impl Chunked {
    fn take(&mut self, incoming: &mut Incoming, max: usize) -> Progress {
        loop {
            match self.at {
                // No digit at all is read as none by httparse.
                At::Size if incoming.rest().first().is_some_and(|byte| !byte.is_ascii_hexdigit()) => {
                    return Progress::Malformed("a chunk has no size");
                }
                At::Size => match httparse::parse_chunk_size(incoming.rest()) {
                    Ok(httparse::Status::Complete((line, size))) => {
                        incoming.take(line);
                        let room = max - self.body.len();
                        let Some(size) = usize::try_from(size).ok().filter(|size| *size <= room) else {
                            return Progress::TooLong;
                        };
                        self.at = if size == 0 { At::Trailers } else { At::Data(size) };
                    }
                    Ok(httparse::Status::Partial) if incoming.rest().len() <= MAX_LINES => return Progress::Partial,
                    Ok(httparse::Status::Partial) | Err(_) => return Progress::Malformed("a chunk has no size"),
                },
                At::Data(size) => {
                    let part = incoming.take(size);
                    self.body.extend_from_slice(part);
                    let left = size - part.len();
                    if left > 0 {
                        self.at = At::Data(left);
                        return Progress::Partial;
                    }
                    self.at = At::DataEnd;
                }
                At::DataEnd => match incoming.rest() {
                    [b'\r', b'\n', ..] => {
                        incoming.take(2);
                        self.at = At::Size;
                    }
                    [] | [b'\r'] => return Progress::Partial,
                    _ => return Progress::Malformed("a chunk is longer than it says"),
                },
                At::Trailers => match memchr::memchr(b'\n', incoming.rest()) {
                    Some(end) => {
                        let is_last = matches!(incoming.take(end + 1), b"\n" | b"\r\n");
                        if is_last {
                            return Progress::Complete(std::mem::take(&mut self.body));
                        }
                        self.trailers += end + 1;
                        if self.trailers > MAX_LINES {
                            return Progress::Malformed("its trailers have no end");
                        }
                    }
                    None if incoming.rest().len() <= MAX_LINES => return Progress::Partial,
                    None => return Progress::Malformed("its trailers have no end"),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked(parts: &[&[u8]], max: usize) -> (Progress, Vec<u8>) {
        let (mut body, mut incoming) = (Body::Chunked(Chunked::default()), Incoming::default());
        let mut progress = Progress::Partial;
        for part in parts {
            incoming.input(0).extend_from_slice(part);
            if progress == Progress::Partial {
                progress = body.take(&mut incoming, max);
            }
        }
        (progress, incoming.into_rest())
    }

    #[test]
    fn where_chunks_are_cut_makes_no_difference() {
        let sent = b"3;x=\"y\"\r\nabc\r\n0A\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\nGET";
        for cut in 0..=sent.len() {
            let (progress, rest) = chunked(&[&sent[..cut], &sent[cut..]], 100);
            assert_eq!(progress, Progress::Complete(b"abc0123456789".to_vec()), "cut at {cut}");
            assert_eq!(rest, b"GET", "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = sent.chunks(1).collect();
        assert_eq!(chunked(&bytes, 13).0, Progress::Complete(b"abc0123456789".to_vec()));
    }

    #[test]
    fn a_chunked_body_may_have_exactly_the_limit() {
        assert_eq!(chunked(&[b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"], 3).0, Progress::Complete(b"abc".to_vec()));
        assert_eq!(chunked(&[b"2\r\nab\r\n2\r\n"], 3).0, Progress::TooLong, "before it has come");
        assert_eq!(chunked(&[b"ffffffffffffffff\r\n"], 3).0, Progress::TooLong);
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for sent in [&b"x\r\n"[..], b"1\r\nab", b"-1\r\n", b"1ffffffffffffffff\r\n", b"\r\n", &[b'1'; 8000]] {
            assert!(matches!(chunked(&[sent], 100).0, Progress::Malformed(_)), "{sent:?}");
        }
        let endless = [&b"0\r\n"[..], &b"a: b\r\n".repeat(1000)].concat();
        assert!(matches!(chunked(&[&endless], 100).0, Progress::Malformed(_)));
    }
}
