//! A backup: an image in one file, which says of itself whether it is whole.
//!
//! Layout: a line of text that says what it is; then pieces, each with a letter, the length of what follows, 4 bytes,
//! little-endian, and that: `h`, who made it when, as MessagePack; `p`, the name of the part that begins; `d`, some of its
//! content, packed (zlib), behind its length; `e`, the SHA-256 of everything before this piece. What has no `e` is cut off.
//!
//! May not: trust a name or a length that it reads. A backup may come from anywhere.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use proto_schema::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zlib_rs::{DeflateConfig, InflateConfig, ReturnCode};

use super::checkpoint::base::Base;
use super::error::BackupDamage;
use super::image::{BATCHES, Image, make_part};
use super::{Error, layout};

/// The format of the backups that are written here, and the newest one that is read.
const FORMAT: u32 = 1;
const FIRST: &str = "heddled backup, format ";
/// The longest first line.
const LINE: usize = 64;
/// How much of a part one piece has, before it is packed.
const PIECE: usize = 256 << 10;
/// No piece is longer: packing what cannot be packed adds a little.
const LONGEST: u32 = 512 << 10;
/// Letter and length.
const HEAD: usize = 5;
const DIGEST: usize = 32;

/// What a backup says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackupHead {
    /// The version that made it.
    pub version: String,
    /// When.
    pub made_at: Timestamp,
    /// The format of the state in it.
    pub format: u32,
    /// The state's id, as repositories are marked with it.
    pub registry: String,
}

impl BackupHead {
    /// What this version says of a backup that is made now.
    #[must_use]
    pub fn new(image: &Image, made_at: Timestamp) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made_at,
            format: layout::FORMAT,
            registry: format!("{:032x}", image.id()),
        }
    }
}

struct Hashed<W> {
    to: W,
    hasher: Sha256,
}

impl<W: Write> Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.to.write_all(bytes)
    }

    fn piece(&mut self, letter: u8, content: &[&[u8]]) -> io::Result<()> {
        let length: usize = content.iter().map(|part| part.len()).sum();
        let length = u32::try_from(length).map_err(io::Error::other)?;
        self.write(&[letter])?;
        self.write(&length.to_le_bytes())?;
        content.iter().try_for_each(|part| self.write(part))
    }
}

/// Writes a backup. The caller makes it durable.
///
/// # Errors
/// The image cannot be read, or the file not be written.
pub fn pack(image: Image, head: &BackupHead, path: &Path, file: &File) -> Result<(), Error> {
    let failed = Error::io("write", path);
    let head = rmp_serde::to_vec_named(head)?;
    let write = || {
        let mut out = Hashed { to: BufWriter::with_capacity(PIECE, file), hasher: Sha256::new() };
        out.write(format!("{FIRST}{FORMAT}\n").as_bytes())?;
        out.piece(b'h', &[&head])?;
        let (mut buffer, mut packed) = (vec![0; PIECE], vec![0; zlib_rs::compress_bound(PIECE)]);
        for (name, mut content) in image.into_parts() {
            out.piece(b'p', &[name.as_bytes()])?;
            loop {
                let count = read_full(&mut content, &mut buffer)?;
                let content = buffer.get(..count).unwrap_or_default();
                if content.is_empty() {
                    break;
                }
                let (piece, code) = zlib_rs::compress_slice(&mut packed, content, DeflateConfig::best_speed());
                if code != ReturnCode::Ok {
                    return Err(io::Error::other("it cannot be packed"));
                }
                out.piece(b'd', &[&u32::try_from(count).map_err(io::Error::other)?.to_le_bytes(), piece])?;
            }
        }
        let digest = out.hasher.clone().finalize();
        out.piece(b'e', &[&digest])?;
        out.to.flush()
    };
    write().map_err(failed)
}

fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while let Some(room) = buffer.get_mut(count..).filter(|room| !room.is_empty()) {
        match from.read(room) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// Reads a backup and writes the image in it down in a directory. All of the file is checked before any of it is used.
///
/// # Errors
/// [`Error::Backup`]: it is not what was written. Others: it cannot be read, or the image not be written.
pub fn unpack(path: &Path, directory: &Path) -> Result<BackupHead, Error> {
    let unknown = || Error::Backup { path: path.to_owned(), why: BackupDamage::Unknown };
    let mut source = Source::open(path)?;
    let (mut head, mut part) = (None, None);
    while let Some((letter, content)) = source.piece()? {
        match (letter, &mut part) {
            (b'h', None) => head = Some(rmp_serde::from_slice::<BackupHead>(&content).map_err(|_| unknown())?),
            (b'p', _) => {
                let name = std::str::from_utf8(&content).ok().filter(|name| *name == BATCHES || Base::is_part(name));
                part = Some(make_part(directory, name.ok_or_else(unknown)?)?);
            }
            (b'd', Some((place, file))) => {
                let content = inflate(&content).ok_or_else(unknown)?;
                file.write_all(&content).map_err(Error::io("write", place))?;
            }
            _ => return Err(unknown()),
        }
    }
    let mut head = head.ok_or_else(unknown)?;
    // They are shown.
    head.version.retain(|character| character.is_ascii_graphic());
    head.registry.retain(|character| character.is_ascii_hexdigit());
    Ok(head)
}

fn inflate(piece: &[u8]) -> Option<Vec<u8>> {
    let (length, packed) = piece.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= PIECE)?;
    let mut content = vec![0; length];
    let (found, code) = zlib_rs::decompress_slice(&mut content, packed, InflateConfig::default());
    let is_whole = code == ReturnCode::Ok && found.len() == length;
    is_whole.then_some(content)
}

fn digest(mut from: impl Read) -> io::Result<(Sha256, u64)> {
    let (mut hasher, mut length, mut buffer) = (Sha256::new(), 0, vec![0; PIECE]);
    loop {
        let count = read_full(&mut from, &mut buffer)?;
        if count == 0 {
            return Ok((hasher, length));
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        length += count as u64;
    }
}

/// A backup that is whole, between its first line and its checksum.
struct Source<'a> {
    path: &'a Path,
    from: io::Take<BufReader<File>>,
}

impl<'a> Source<'a> {
    fn open(path: &'a Path) -> Result<Self, Error> {
        let failed = |error| Error::io("read", path)(error);
        let damaged = |why| Error::Backup { path: path.to_owned(), why };
        // Before it is opened: a pipe would be waited for.
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(damaged(BackupDamage::Foreign));
        }
        let mut file = BufReader::with_capacity(PIECE, File::open(path).map_err(Error::io("open", path))?);
        let mut line = Vec::new();
        file.by_ref().take(LINE as u64).read_until(b'\n', &mut line).map_err(failed)?;
        let number = line.strip_suffix(b"\n").and_then(|line| line.strip_prefix(FIRST.as_bytes()));
        let number = number.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
        match number {
            Some(1..=FORMAT) => {}
            Some(found) if found > FORMAT => return Err(damaged(BackupDamage::Newer { found, known: FORMAT })),
            _ => return Err(damaged(BackupDamage::Foreign)),
        }
        let start = line.len() as u64;
        let end = metadata.len().checked_sub((HEAD + DIGEST) as u64).filter(|end| *end >= start);
        let end = end.ok_or_else(|| damaged(BackupDamage::CutOff))?;
        file.rewind().map_err(failed)?;
        let (hasher, hashed) = digest(file.by_ref().take(end)).map_err(failed)?;
        let mut last = [0; HEAD + DIGEST];
        let read = read_full(&mut file, &mut last).map_err(failed)?;
        let (head, digest) = last.split_at(HEAD);
        if hashed != end || read != last.len() || head != [b'e', 32, 0, 0, 0] {
            return Err(damaged(BackupDamage::CutOff));
        }
        if digest != hasher.finalize().as_slice() {
            return Err(damaged(BackupDamage::Altered));
        }
        file.seek(SeekFrom::Start(start)).map_err(failed)?;
        Ok(Self { path, from: file.take(end - start) })
    }

    /// The next piece; none at the end.
    fn piece(&mut self) -> Result<Option<(u8, Vec<u8>)>, Error> {
        let failed = |error| Error::io("read", self.path)(error);
        let unknown = || Error::Backup { path: self.path.to_owned(), why: BackupDamage::Unknown };
        let mut head = [0; HEAD];
        let [letter, l0, l1, l2, l3] = match read_full(&mut self.from, &mut head).map_err(failed)? {
            0 => return Ok(None),
            HEAD => head,
            _ => return Err(unknown()),
        };
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if length > LONGEST {
            return Err(unknown());
        }
        let mut content = vec![0; length as usize];
        let read = read_full(&mut self.from, &mut content).map_err(failed)?;
        if read != content.len() {
            return Err(unknown());
        }
        Ok(Some((letter, content)))
    }
}
