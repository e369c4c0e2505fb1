//! The bytes of an index, made safe for the library to read.
//!
//! An agent may have written each of them, and the library is careless of two things: it walks the extensions that nest by
//! recursion, and it unfolds compressed paths without a bound. Either ends the daemon. So what the daemon needs (the
//! entries, the trees that Git knows) is looked over and taken out here, and the library is given that alone.

use std::io::{self, Read as _};
use std::path::Path;

use gix::index::State;
use gix::index::decode::Options;

use crate::repo::error::Error;
use crate::repo::files::{absent_as_none, open_plain};
use crate::repo::trees::DEEPEST;

const OPERATION: &str = "read the index";

/// The most bytes of an index, and of its paths when they are unfolded.
pub(super) const MOST_BYTES: usize = 512 * 1024 * 1024;

/// The longest path, which is the longest that the system takes.
const LONGEST_PATH: usize = 4095;

/// What the library may read of an index.
pub(in crate::repo) struct Stored {
    bytes: Vec<u8>,
    /// Whether there is more of it in another file.
    pub(super) is_split: bool,
}

impl Stored {
    /// Takes out what is needed of the index at a path, which the repository has at `place`; none where there is none. Fails
    /// where it is no index, or one that nobody can need.
    pub(in crate::repo) fn read(path: &Path, place: &Path, hash: gix::hash::Kind) -> Result<Option<Self>, Error> {
        let data = absent_as_none(whole(path)).map_err(|source| Error::io(OPERATION, place, source))?;
        let stored = data.map(|data| Self::of(&data, hash.len_in_bytes())).transpose();
        stored.map_err(|problem| Error::malformed(OPERATION, place, problem))
    }

    /// What the library makes of it. The time of the file is of no use to those who read it here.
    pub(in crate::repo) fn state(&self, hash: gix::hash::Kind) -> Result<State, Error> {
        let time = State::new(hash).timestamp();
        let read = State::from_bytes(&self.bytes, time, hash, Options::default());
        read.map(|(state, _)| state).map_err(|error| Error::library(OPERATION, error))
    }

    fn of(data: &[u8], hash: usize) -> Result<Self, &'static str> {
        let mut reader = Reader { rest: data };
        entries(&mut reader, hash)?;
        let mut bytes = data[..data.len() - reader.rest.len()].to_vec();
        let mut is_split = false;
        while reader.rest.len() > hash {
            let begin = reader.rest;
            let (signature, length) = (reader.take(4)?, reader.number()?);
            let content = reader.take(length)?;
            let is_needed = match signature {
                b"TREE" => {
                    trees(content, hash)?;
                    true
                }
                b"link" => {
                    is_split = true;
                    true
                }
                // Git ignores it where it does not know it, if it begins with a capital.
                other => !other.first().is_some_and(u8::is_ascii_uppercase),
            };
            if is_needed {
                bytes.extend_from_slice(&begin[..8 + length]);
            }
        }
        bytes.extend_from_slice(reader.take(hash)?);
        Ok(Self { bytes, is_split })
    }
}

fn whole(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_plain(path)?;
    let data = file.metadata()?;
    if !data.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if data.len() > MOST_BYTES as u64 {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut content = Vec::new();
    file.take(data.len()).read_to_end(&mut content)?;
    Ok(content)
}

/// Reads over the entries, as the library does.
fn entries(reader: &mut Reader<'_>, hash: usize) -> Result<(), &'static str> {
    if reader.take(4)? != b"DIRC" {
        return Err("it is no index");
    }
    let (version, count) = (reader.number()?, reader.number()?);
    let (mut unfolded, mut path) = (0_usize, 0_usize);
    for number in 0..count {
        let before = reader.rest.len();
        reader.take(40 + hash)?;
        let flags = reader.take(2)?;
        let flags = u16::from_be_bytes([flags[0], flags[1]]);
        if flags & 0x4000 != 0 {
            reader.take(2)?;
        }
        if version == 4 {
            let cut = reader.varint()?;
            let kept = if number == 0 { 0 } else { path.checked_sub(cut).ok_or("a path is shorter than nothing")? };
            path = kept + reader.until(0)?.len();
        } else {
            path = usize::from(flags & 0xfff);
            reader.take(path)?;
            let length = before - reader.rest.len();
            reader.take(((length + 8) & !7) - length)?;
        }
        unfolded += path;
        // The length of such a path is told in another way, too.
        if path >= LONGEST_PATH || unfolded > MOST_BYTES {
            return Err("its paths are too long");
        }
    }
    Ok(())
}

/// Walks the trees that Git knows, which nest by how many follow each.
fn trees(content: &[u8], hash: usize) -> Result<(), &'static str> {
    let mut reader = Reader { rest: content };
    let mut open: Vec<usize> = Vec::new();
    loop {
        reader.until(0)?;
        let is_known = !reader.until(b' ')?.starts_with(b"-");
        let below = std::str::from_utf8(reader.until(b'\n')?).ok().and_then(|text| text.parse().ok());
        let below: usize = below.ok_or("a tree has no number of folders")?;
        if is_known {
            reader.take(hash)?;
        }
        open.push(below);
        if open.len() > DEEPEST {
            return Err("its folders nest too deep");
        }
        while let Some(left) = open.pop() {
            if let Some(left) = left.checked_sub(1) {
                open.push(left);
                break;
            }
        }
        if open.is_empty() {
            return Ok(());
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("it is cut off")?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<usize, &'static str> {
        let bytes = self.take(4)?.try_into().map_err(|_| "it is cut off")?;
        usize::try_from(u32::from_be_bytes(bytes)).map_err(|_| "a number is too large")
    }

    fn until(&mut self, byte: u8) -> Result<&'a [u8], &'static str> {
        let at = memchr::memchr(byte, self.rest).ok_or("it is cut off")?;
        let found = &self.rest[..at];
        self.rest = &self.rest[at + 1..];
        Ok(found)
    }

    /// A number as Git writes offsets: seven bits a byte, and one more for each that follows.
    fn varint(&mut self) -> Result<usize, &'static str> {
        let mut byte = self.take(1)?[0];
        let mut value = usize::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = self.take(1)?[0];
            value = value.checked_add(1).and_then(|value| value.checked_mul(128)).ok_or("a number is too large")?;
            value += usize::from(byte & 0x7f);
        }
        Ok(value)
    }
}
