//! The stored form of a record: a version, a checksum, MessagePack with named fields.
//!
//! The checksum covers tree, key and version too, so a record found under another key than its own is found out.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Damage, Error, Tree};

const VERSION: u8 = 1;
const HEAD: usize = 5;

impl Tree {
    /// The name under which it is stored.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Repos => "repos",
            Self::Sessions => "sessions",
            Self::Threads => "threads",
            Self::Operations => "operations",
        }
    }
}

fn checksum(tree: Tree, key: &[u8], version: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(tree.name().as_bytes());
    hasher.update(&[0, version]);
    hasher.update(key);
    hasher.update(payload);
    hasher.finalize()
}

/// Puts version and checksum before a payload.
pub(super) fn seal(tree: Tree, key: &[u8], payload: &[u8]) -> Vec<u8> {
    seal_as(VERSION, tree, key, payload)
}

pub(super) fn seal_as(version: u8, tree: Tree, key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEAD + payload.len());
    value.push(version);
    value.extend_from_slice(&checksum(tree, key, version, payload).to_le_bytes());
    value.extend_from_slice(payload);
    value
}

/// Checks version and checksum and gives the payload back.
pub(super) fn unseal<'a>(tree: Tree, key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Damage> {
    let Some((&[version, a, b, c, d], payload)) = value.split_first_chunk::<HEAD>() else {
        return Err(Damage::Short);
    };
    if u32::from_le_bytes([a, b, c, d]) != checksum(tree, key, version, payload) {
        return Err(Damage::Checksum);
    }
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    Ok(payload)
}

/// Encodes a record.
pub(super) fn encode<T: Serialize>(tree: Tree, key: &[u8], record: &T) -> Result<Vec<u8>, Error> {
    Ok(seal(tree, key, &rmp_serde::to_vec_named(record)?))
}

/// Decodes a record.
pub(super) fn decode<T: DeserializeOwned>(tree: Tree, key: &[u8], value: &[u8]) -> Result<T, Damage> {
    rmp_serde::from_slice(unseal(tree, key, value)?).map_err(Damage::Decode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_with_any_bit_flipped_or_under_another_key_is_refused() {
        let value = encode(Tree::Sessions, b"k", &(7u32, "text")).unwrap();
        assert_eq!(decode::<(u32, String)>(Tree::Sessions, b"k", &value).unwrap(), (7, "text".to_owned()));
        assert!(decode::<(u32, String)>(Tree::Sessions, b"l", &value).is_err());
        assert!(decode::<(u32, String)>(Tree::Threads, b"k", &value).is_err());
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<(u32, String)>(Tree::Sessions, b"k", &flipped).is_err(), "bit {bit}");
        }
        for length in 0..value.len() {
            assert!(decode::<(u32, String)>(Tree::Sessions, b"k", &value[..length]).is_err(), "length {length}");
        }
    }
}
