//! An image of a state at one moment, taken from outside while the daemon may be writing it.
//!
//! May not: write anything, or lock anything. Nothing has to be asked of the daemon, because of S4: a base is replaced as
//! a whole, and a segment is reused only when a base that has all of it is in place.
//!
//! # Invariants
//!
//! - I1: everything that was acknowledged before the image was begun is in it. Its base is still the newest one when the
//!   journal has been read, so at that moment no batch that the base lacks had been overwritten; and a batch that was
//!   acknowledged before was whole in its segment, whose header was older still, before the reading began.
//! - I2: an image is what the daemon had after one of its batches: nothing of a later batch, all of the earlier ones. The
//!   batches that were read follow one another without a gap. A gap, or a batch torn before another, is what a daemon that
//!   goes on writing looks like, and is read again; when it stays, it is damage.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checkpoint::base::Base;
use super::journal::frame;
use super::journal::recover::recover;
use super::layout::Layout;
use super::{Damage, Error, ceiling};
use crate::registry::{Counters, Entry};

/// How often an image is taken anew when a base was replaced meanwhile.
const TRIES: usize = 50;
/// How often what looks like damage is looked at again.
const DAMAGE_TRIES: usize = 10;
/// How long apart. Not worth waiting for: whatever it is, it is over in a moment.
const PAUSE: Duration = Duration::from_millis(5);

/// The name of the batches that a base lacks, beside its parts.
pub(super) const BATCHES: &str = "batches";
/// Before each batch: its number, its length.
const HEAD: usize = 12;

/// A state at one moment.
#[derive(Debug)]
pub struct Image {
    id: u128,
    files: Vec<(String, File)>,
    /// The batches after the base, each as the journal has it.
    batches: Vec<u8>,
}

impl Image {
    /// Takes the image of a state directory, whether its daemon runs or not.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::NewerFormat`], [`Error::Damaged`], [`Error::Unfinished`]; [`Error::Restless`] when the
    /// daemon replaced its base each time.
    pub fn take(state_dir: &Path) -> Result<Self, Error> {
        let layout = Layout::new(state_dir);
        let mut damaged = 0;
        for _ in 0..TRIES {
            match Self::try_take(&layout, || {}) {
                Ok(Some(image)) => return Ok(image),
                Ok(None) => {}
                Err(Error::Damaged { .. }) if damaged < DAMAGE_TRIES => damaged += 1,
                Err(error) => return Err(error),
            }
            std::thread::park_timeout(PAUSE);
        }
        Err(Error::Restless { path: layout.state })
    }

    /// `meanwhile` happens when the base is open and the journal not read yet: the daemon goes on, and tests say how.
    pub(super) fn try_take(layout: &Layout, meanwhile: impl FnOnce()) -> Result<Option<Self>, Error> {
        if layout.restored.try_exists().map_err(Error::io("look at", &layout.restored))? {
            return Err(Error::Unfinished { path: layout.state.clone() });
        }
        if layout.format()?.is_none() {
            return Err(layout.missing()?);
        }
        let base = Base::find(layout)?;
        let Some(files) = base.open_all()? else { return Ok(None) };
        meanwhile();
        let recovered = recover(layout, base.meta().id(), base.meta().applied)?;
        let ceiling = ceiling::read(layout, base.meta().id())?;
        if !base.is_newest(layout) {
            return Ok(None);
        }
        if ceiling.is_none() && recovered.has_ceiling {
            return Err(layout.damaged(&layout.ceiling, Damage::Missing));
        }
        let mut batches = Vec::new();
        let first = base.meta().applied + 1;
        for (number, entries) in (first..).zip(&recovered.batches) {
            put(&mut batches, number, entries)?;
        }
        Ok(Some(Self { id: base.meta().id(), files, batches }))
    }

    /// Names the state for ever.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.id
    }

    /// Everything that it is made of, by name.
    pub(super) fn into_parts(self) -> impl Iterator<Item = (String, Box<dyn Read>)> {
        let files = self.files.into_iter().map(|(name, file)| (name, Box::new(file) as Box<dyn Read>));
        let batches: Box<dyn Read> = Box::new(io::Cursor::new(self.batches));
        files.chain(std::iter::once((BATCHES.to_owned(), batches)))
    }

    /// Writes it down in a directory of its own, so that it can be examined.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn unpack(self, directory: &Path) -> Result<(), Error> {
        for (name, mut content) in self.into_parts() {
            let (path, mut file) = make_part(directory, &name)?;
            io::copy(&mut content, &mut file).map_err(Error::io("write", &path))?;
        }
        Ok(())
    }
}

/// What the base and the fencing ceiling of a state say that it has counted, also where the rest cannot be read.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Names the state for ever.
    pub id: u128,
    /// The numbers that only ever rise, as of that base; of the fencing tokens, the last that may have been granted.
    pub counters: Counters,
}

/// Looks what a state has counted, without trusting anything else of it.
#[must_use]
pub fn counted(state_dir: &Path) -> Option<Counted> {
    let layout = Layout::new(state_dir);
    let base = Base::find(&layout).ok()?;
    let (id, mut counters) = (base.meta().id(), base.meta().counters);
    let ceiling = ceiling::read(&layout, id).ok().flatten();
    counters.fencing = counters.fencing.max(ceiling.map_or(0, |ceiling| ceiling.saturating_sub(1)));
    Some(Counted { id, counters })
}

/// Makes the file of that name in an unpacked image: the parts of the base are where a state has its base.
pub(super) fn make_part(directory: &Path, name: &str) -> Result<(PathBuf, File), Error> {
    let path = match name {
        BATCHES => directory.join(BATCHES),
        part => Layout::new(directory).base.join(part),
    };
    let parent = path.parent().unwrap_or(directory);
    fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    made.map_err(Error::io("make", &path)).map(|file| (path, file))
}

fn put(batches: &mut Vec<u8>, number: u64, entries: &[Entry]) -> Result<(), Error> {
    let mut buffer = Vec::new();
    frame::encode(&mut buffer, entries)?;
    let payload = buffer.get(frame::HEAD..).unwrap_or_default();
    // No batch is longer than a segment, whose length is 32 bits wide.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    batches.extend_from_slice(&number.to_le_bytes());
    batches.extend_from_slice(&length.to_le_bytes());
    batches.extend_from_slice(payload);
    Ok(())
}

/// Reads the batches of an unpacked image, which follow the one of that number.
pub(super) fn read_batches(layout: &Layout, applied: u64) -> Result<Vec<Vec<Entry>>, Error> {
    let path = layout.state.join(BATCHES);
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let damaged = |why| layout.damaged(&path, why);
    let (mut batches, mut rest) = (Vec::new(), &*bytes);
    while !rest.is_empty() {
        let (head, behind) = rest.split_first_chunk::<HEAD>().ok_or_else(|| damaged(Damage::Short))?;
        let [n0, n1, n2, n3, n4, n5, n6, n7, l0, l1, l2, l3] = *head;
        let number = u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]);
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let expected = applied + 1 + batches.len() as u64;
        if number != expected {
            return Err(damaged(Damage::Lost { expected, found: number }));
        }
        let (payload, behind) = behind.split_at_checked(length).ok_or_else(|| damaged(Damage::Short))?;
        batches.push(frame::decode(number, payload).map_err(damaged)?);
        rest = behind;
    }
    Ok(batches)
}
