//! The records in the database: how they are written, and read back as a whole.
//!
//! May not: call anything durable. That is [`super::base`]'s business, after the database's own flush.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto_schema::FencingToken;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::{Damage, Error, Quarantined, Tree, codec};
use super::blocks::Blocks;
use crate::registry::{Counters, Difference, Records, RepoRecord, SessionRecord, ThreadRecord};

const META_KEY: &[u8] = b"state";

/// What the database says of itself. Written last in a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Meta {
    id: (u64, u64),
    /// The last batch of the journal that is in the records.
    pub(crate) applied: u64,
    /// The numbers that only ever rise, as of that batch.
    pub(crate) counters: Counters,
}

impl Meta {
    pub(crate) fn new(id: u128, applied: u64, counters: Counters) -> Self {
        // MessagePack has no 128-bit numbers.
        let high = u64::try_from(id >> 64).unwrap_or_default();
        let low = u64::try_from(id & u128::from(u64::MAX)).unwrap_or_default();
        Self { id: (high, low), applied, counters }
    }

    /// The state that the database belongs to.
    pub(crate) fn id(&self) -> u128 {
        u128::from(self.id.0) << 64 | u128::from(self.id.1)
    }
}

/// Everything that a database has, but the operations.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) meta: Meta,
    pub(crate) records: Records,
    pub(crate) bad: Vec<Quarantined>,
}

/// The open database.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    path: PathBuf,
    db: sled::Db,
    meta: sled::Tree,
    repos: sled::Tree,
    sessions: sled::Tree,
    threads: sled::Tree,
    quarantine: sled::Tree,
    blocks: Blocks,
}

impl Tables {
    /// Opens the database, or makes it.
    pub(crate) fn open(path: &Path, cache: u64) -> sled::Result<Self> {
        let db = sled::Config::new().path(path).cache_capacity(cache).flush_every_ms(None).open()?;
        let tree = |tree: Tree| db.open_tree(tree.name());
        let blocks = Blocks::new(path.to_owned(), tree(Tree::Operations)?);
        Ok(Self {
            path: path.to_owned(),
            meta: tree(Tree::Meta)?,
            repos: tree(Tree::Repos)?,
            sessions: tree(Tree::Sessions)?,
            threads: tree(Tree::Threads)?,
            quarantine: db.open_tree("quarantine")?,
            blocks,
            db,
        })
    }

    pub(crate) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    fn tree(&self, tree: Tree) -> &sled::Tree {
        match tree {
            Tree::Meta => &self.meta,
            Tree::Repos => &self.repos,
            Tree::Sessions => &self.sessions,
            Tree::Threads => &self.threads,
            Tree::Operations => &self.blocks.tree,
        }
    }

    fn put<T: Serialize>(&self, tree: Tree, key: &[u8], record: &T) -> Result<(), Error> {
        let value = codec::encode(tree, key, record)?;
        self.tree(tree).insert(key, value).map(drop).map_err(Error::checkpoint("write", &self.path))
    }

    /// Writes one difference.
    pub(crate) fn write(&self, difference: &Difference) -> Result<(), Error> {
        match difference {
            Difference::Repo(repo) => self.put(Tree::Repos, &repo_key(repo), repo),
            Difference::Session(session) => self.put(Tree::Sessions, &session_key(session.fencing_token), session),
            Difference::Thread(thread) => self.put(Tree::Threads, &thread_key(thread), thread),
            Difference::SessionForgotten(token) => {
                let removed = self.sessions.remove(session_key(*token));
                removed.map(drop).map_err(Error::checkpoint("write", &self.path))
            }
        }
    }

    /// Says which batch the records have. Last in a checkpoint.
    pub(crate) fn finish(&self, meta: &Meta) -> Result<(), Error> {
        self.put(Tree::Meta, META_KEY, meta)
    }

    /// Hands everything to the system. Not durable yet.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.db.flush().map(drop).map_err(Error::checkpoint("flush", &self.path))
    }

    /// Reads all records. What cannot be read is listed; without readable meta record the database is damaged.
    pub(crate) fn load(&self) -> Result<Loaded, Damage> {
        let value = self.meta.get(META_KEY).map_err(Damage::Database)?.ok_or(Damage::Missing)?;
        let meta: Meta = codec::decode(Tree::Meta, META_KEY, &value)?;
        let mut bad = Vec::new();
        let repos = self.read::<RepoRecord>(Tree::Repos, &mut bad, |repo| repo_key(repo).to_vec())?;
        let sessions = self
            .read::<SessionRecord>(Tree::Sessions, &mut bad, |session| session_key(session.fencing_token).to_vec())?;
        let threads = self.read::<ThreadRecord>(Tree::Threads, &mut bad, thread_key)?;
        let mut counters = meta.counters;
        for key in bad.iter().filter(|bad| bad.tree == Tree::Sessions).map(|bad| bad.key.as_slice()) {
            // R2: a fencing token whose session cannot be read was granted all the same.
            counters.fencing = counters.fencing.max(key.try_into().map_or(0, u64::from_be_bytes));
        }
        Ok(Loaded { meta, records: Records { counters, repos, sessions, threads }, bad })
    }

    fn read<T: DeserializeOwned>(
        &self,
        tree: Tree,
        bad: &mut Vec<Quarantined>,
        key_of: impl Fn(&T) -> Vec<u8>,
    ) -> Result<Vec<Arc<T>>, Damage> {
        let mut records = Vec::new();
        for item in self.tree(tree) {
            let (key, value) = item.map_err(Damage::Database)?;
            let record = codec::decode::<T>(tree, &key, &value)
                .and_then(|record| if key_of(&record) == *key { Ok(record) } else { Err(Damage::Misplaced) });
            match record {
                Ok(record) => records.push(Arc::new(record)),
                // Not spoiled: a later version wrote it, and whoever put it aside would lose what that one knows.
                Err(why @ Damage::Version(_)) => return Err(why),
                Err(why) => bad.push(Quarantined { tree, key: key.to_vec(), why }),
            }
        }
        Ok(records)
    }

    /// How many records are in the quarantine.
    pub(crate) fn set_aside(&self) -> usize {
        self.quarantine.len()
    }

    /// Moves what cannot be read to the quarantine.
    pub(crate) fn put_aside(&self, bad: &[Quarantined]) -> Result<(), Error> {
        for Quarantined { tree, key, .. } in bad {
            let aside = [tree.name().as_bytes(), b"/", key].concat();
            self.tree(*tree)
                .remove(key)
                .and_then(|value| value.map_or(Ok(None), |value| self.quarantine.insert(aside, value)))
                .map_err(Error::checkpoint("put a record aside in", &self.path))?;
        }
        Ok(())
    }
}

fn repo_key(repo: &RepoRecord) -> [u8; 4] {
    repo.id.0.to_be_bytes()
}

fn session_key(token: FencingToken) -> [u8; 8] {
    token.0.to_be_bytes()
}

fn thread_key(thread: &ThreadRecord) -> Vec<u8> {
    [&thread.repo.0.to_be_bytes(), thread.thread.as_str().as_bytes()].concat()
}

#[cfg(test)]
impl Tables {
    /// Spoils a record, as nothing but an error of the database or of this module can.
    pub(crate) fn spoil(&self, tree: Tree, key: &[u8]) {
        let mut value = self.tree(tree).get(key).unwrap().unwrap().to_vec();
        *value.last_mut().unwrap() ^= 1;
        self.tree(tree).insert(key, value).unwrap();
        self.db.flush().unwrap();
    }

    /// Makes a record one of another version, as that version would have written it.
    pub(crate) fn of_version(&self, tree: Tree, key: &[u8], version: u8) {
        let value = self.tree(tree).get(key).unwrap().unwrap();
        let payload = codec::unseal(tree, key, &value).unwrap();
        self.tree(tree).insert(key, codec::seal_as(version, tree, key, payload)).unwrap();
        self.db.flush().unwrap();
    }
}
