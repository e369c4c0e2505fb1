//! What a mark says, and whether that can be believed.
//!
//! Whoever can write in a repository can write its mark. A mark of this registry therefore has a code that only this registry
//! can make (HMAC-SHA256, RFC 2104): what has none, or a wrong one, moves no counter of the registry.
//!
//! The first two lines are all that a mark of version 0.1.0 has: the registry's id with its era, and its state directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Claim, Owner, Surroundings};
use crate::registry::{MarkKey, RepositoryId};

/// No token has a later era than this, for it would be over 2^53.
pub(super) const LAST_ERA: u64 = (1 << 13) - 1;

/// The file in a state directory with the key of its registry's marks, for another registry that takes a repository over.
const KEY: &str = "mark.key";

/// What the mark of a repository says of it, whoever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkSeen {
    /// There is none: nothing was ever reserved in it.
    Absent,
    /// It has no id: version 0.1.0 made it.
    Unsigned,
    /// The repository has this id, unless it is a copy of the one that has.
    Id(RepositoryId),
}

/// Which repository a registry takes a directory for when it claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// One that it does not know yet.
    New,
    /// A copy of one that it knows, with that one's mark: it gets an id of its own.
    Copy,
    /// One that it knows, by its id where the record has one.
    Known(Option<RepositoryId>),
    /// One that it knows and whose mark was removed: the mark is made again, with the same id.
    Unmarked(RepositoryId),
}

/// A mark as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) owner: Owner,
    pub(super) era: u64,
    pub(super) signed: Option<Signed>,
}

/// What marks have since they are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) repository: RepositoryId,
    pub(super) surroundings: Surroundings,
    code: Vec<u8>,
}

impl Mark {
    /// Reads a mark, or says what is wrong with it as a clause.
    pub(super) fn parse(content: &[u8]) -> Result<Self, &'static str> {
        let content = content.strip_suffix(b"\n").ok_or("it is cut off")?;
        let at = content.iter().position(|byte| *byte == b'\n').ok_or("it has one line")?;
        let first = std::str::from_utf8(&content[..at]).map_err(|_| "its first line is no id")?;
        let (id, era) = match first.split_once(' ') {
            Some((id, era)) => {
                let era = era.parse().ok().filter(|era| *era <= LAST_ERA);
                (id, era.ok_or("its first line has no era")?)
            }
            None => (first, 0),
        };
        let (state_dir, signed) = split_signed(&content[at + 1..])?;
        let state_dir = PathBuf::from(OsStr::from_bytes(state_dir));
        if id.is_empty() || !state_dir.is_absolute() {
            return Err("it names no registry");
        }
        Ok(Self { owner: Owner { id: id.into(), state_dir }, era, signed })
    }

    /// The content of a mark of this registry.
    pub(super) fn content(registry: &Claim, era: u64, repository: RepositoryId) -> Vec<u8> {
        let owner = Owner { id: Arc::clone(&registry.id), state_dir: registry.state_dir.clone() };
        let mut content = text(&owner, era, repository, &registry.surroundings);
        let code = code(&content, registry.key).finalize().into_bytes();
        content.extend(format!("mac {}\n", HEXLOWER.encode(&code)).bytes());
        content
    }

    /// The repository's id, where the mark was made with this key.
    pub(super) fn verified(&self, key: MarkKey) -> Option<RepositoryId> {
        let signed = self.signed.as_ref()?;
        let text = text(&self.owner, self.era, signed.repository, &signed.surroundings);
        // Compared in constant time.
        code(&text, key).verify_slice(&signed.code).is_ok().then_some(signed.repository)
    }

    /// Whether the state directory that the mark names is there and is that of the registry which made the mark. Without
    /// that, anything may be at its path.
    pub(super) fn is_verified_by_owner(&self) -> bool {
        read_key(&self.owner.state_dir).is_some_and(|key| self.verified(key).is_some())
    }
}

/// The state directory, and what stands behind it in a signed mark. A path may have line ends in it.
fn split_signed(content: &[u8]) -> Result<(&[u8], Option<Signed>), &'static str> {
    let mut lines = content.rsplitn(5, |byte| *byte == b'\n');
    let mut value = |name: &str| lines.next().and_then(|line| std::str::from_utf8(line).ok()?.strip_prefix(name));
    let Some(code) = value("mac ") else { return Ok((content, None)) };
    let broken = "what it is signed with cannot be read";
    let code = HEXLOWER.decode(code.as_bytes()).map_err(|_| broken)?;
    let mounts = value("mounts ").and_then(|mounts| mounts.parse().ok()).ok_or(broken)?;
    let boot = value("boot ").ok_or(broken)?.into();
    let repository = value("repository ").and_then(RepositoryId::parse).ok_or(broken)?;
    let state_dir = lines.next().ok_or(broken)?;
    Ok((state_dir, Some(Signed { repository, surroundings: Surroundings { boot, mounts }, code })))
}

/// Everything but the code.
fn text(owner: &Owner, era: u64, repository: RepositoryId, surroundings: &Surroundings) -> Vec<u8> {
    let Surroundings { boot, mounts } = surroundings;
    let mut text = format!("{} {era}\n", owner.id).into_bytes();
    text.extend(owner.state_dir.as_os_str().as_bytes());
    text.extend(format!("\nrepository {repository}\nboot {boot}\nmounts {mounts}\n").bytes());
    text
}

fn code(text: &[u8], key: MarkKey) -> Hmac<Sha256> {
    // A shorter key is filled up with zeros to the hash's block.
    let mut block = [0; 64];
    block[..key.0.len()].copy_from_slice(&key.0);
    let mut code = Hmac::<Sha256>::new(&block.into());
    code.update(text);
    code
}

/// Writes the key where another registry of this user finds it.
///
/// # Errors
/// It cannot be written.
pub fn write_key(state_dir: &Path, key: MarkKey) -> std::io::Result<()> {
    if read_key(state_dir) == Some(key) {
        return Ok(());
    }
    let mut file = tempfile::Builder::new().prefix(KEY).tempfile_in(state_dir)?;
    std::io::Write::write_all(&mut file, HEXLOWER.encode(&key.0).as_bytes())?;
    file.persist(state_dir.join(KEY))?;
    Ok(())
}

/// The key in a state directory of this user, unless others could have written it.
fn read_key(state_dir: &Path) -> Option<MarkKey> {
    use std::os::unix::fs::MetadataExt as _;
    let path = state_dir.join(KEY);
    let user = nix::unistd::geteuid().as_raw();
    let is_ours = |path: &Path, others: u32| {
        std::fs::symlink_metadata(path).is_ok_and(|data| data.uid() == user && data.mode() & others == 0)
    };
    if !is_ours(state_dir, 0o022) || !is_ours(&path, 0o077) {
        return None;
    }
    let content = super::files::read_small(&path).ok()??;
    HEXLOWER.decode(&content).ok()?.try_into().ok().map(MarkKey)
}
