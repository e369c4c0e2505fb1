//! What the registry keeps of a repository, a session and a thread.
//!
//! These are the stored forms too: a field is only ever added, with a default, so that older records stay readable.

use std::fmt;
use std::sync::Arc;

use proto_schema::{
    Attribution, EndReason, FencingToken, NativeKey, ObjectId, ProbeSource, RequestId, SessionId, SessionStatus, Task,
    ThreadMode, ThreadName, ThreadState, Timestamp, UsageSummary, VerificationSummary,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;

use super::HolderProcess;

/// Identity of a repository on this machine: device and inode of its common Git directory, so that linked worktrees,
/// symlinks, subfolders and bind mounts are one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RepoKey {
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

impl RepoKey {
    /// Where a repository is that has lost its place to another.
    #[must_use]
    pub fn nowhere(repo: RepoId) -> Self {
        Self { device: u64::MAX, inode: u64::from(repo.0) }
    }

    /// Whether a repository there has lost its place.
    #[must_use]
    pub fn is_nowhere(self) -> bool {
        self.device == u64::MAX
    }
}

/// Names a repository for good: drawn when it is reserved in for the first time, and kept in its mark. Unlike an inode it is never
/// given to another one, and it is the same on every way to the repository.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RepositoryId(pub [u8; 16]);

impl RepositoryId {
    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The key that a registry signs its marks with. `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkKey(pub [u8; 32]);

impl fmt::Debug for MarkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MarkKey(..)")
    }
}

/// Numbers a repository within this registry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RepoId(pub u32);

/// Paths are bytes: a record must hold every path that a file system can.
mod path_bytes {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(path.as_os_str().as_bytes())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Path>, D::Error> {
        let bytes = super::Bytes::deserialize(deserializer)?;
        Ok(Path::new(OsStr::from_bytes(&bytes.0)).into())
    }
}

/// Bytes as a store keeps them.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// A repository that was reserved in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RepoRecord {
    /// Its number.
    pub id: RepoId,
    /// Where it was last seen.
    pub key: RepoKey,
    /// The canonical path of its common Git directory.
    #[serde(with = "path_bytes")]
    pub git_dir: Arc<std::path::Path>,
    /// How it is called on the wire.
    pub shown: Arc<str>,
    /// Its name for good; none in a record of an older version, until the repository is seen again.
    #[serde(default)]
    pub mark: Option<RepositoryId>,
    /// When its common Git directory was made, in nanoseconds, where that is known.
    #[serde(default)]
    pub born: Option<i64>,
}

/// The SHA-256 of a reservation token's secret bytes. `Debug` hides it; it is compared in constant time.
#[derive(Clone, Copy)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// What no secret is hashed to.
    pub const NOBODYS: Self = Self([0; 32]);
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?.0;
        let length = bytes.len();
        let hash = bytes.try_into().map_err(|_| serde::de::Error::invalid_length(length, &"32 bytes"))?;
        Ok(Self(hash))
    }
}

/// The signs of life of a session. Kept in memory, written behind.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pulse {
    /// The last sign of life.
    pub heartbeat_at: Timestamp,
    /// The last progress.
    pub last_progress_at: Timestamp,
    /// What the agent says it has used so far.
    pub usage: Option<UsageSummary>,
}

/// What keeps a session alive.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HoldRecord {
    /// Heartbeats, within this many milliseconds of each other.
    pub ttl_ms: Option<u64>,
    /// A process.
    pub process: Option<HolderProcess>,
    /// A connection.
    #[serde(default)]
    pub connection: bool,
    /// A further secret of the session, hashed: that of a caller which proved that it descends from the process.
    #[serde(default)]
    pub further_token: Option<TokenHash>,
}

/// Who the agent is and what it does, as it said when it reserved.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the field of the same name of proto_schema::Reservation or ReserveParams")]
pub struct AgentRecord {
    pub task: Option<Task>,
    pub provider: Option<Attribution>,
    pub model: Option<Attribution>,
    pub harness: Option<Attribution>,
    pub thinking_level: Option<Attribution>,
    pub policy: Option<Attribution>,
    pub probe_source: ProbeSource,
    pub probe_confidence: f64,
    pub parent_session_id: Option<SessionId>,
    pub client_instance_id: Option<NativeKey>,
    pub native_actor_key: Option<NativeKey>,
    pub native_parent_actor_key: Option<NativeKey>,
    pub native_instance_key: Option<NativeKey>,
    /// The rules that told who the agent is, in the order they were tried.
    #[serde(default)]
    pub attach_precedence: Vec<Arc<str>>,
    /// The rule that won.
    #[serde(default)]
    pub winning_attach_rule: Option<Arc<str>>,
}

/// One parameter of a request and a digest of its value: enough to name what differs, without keeping it.
pub type ParamDigest = (Arc<str>, u64);

/// The request that made a session, so that repeating it repeats nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestRecord {
    /// The caller's id for it.
    pub id: RequestId,
    /// Its parameters as sent, without wait_ms and the token, sorted by name.
    pub params: Vec<ParamDigest>,
}

/// A change of Git that was recorded before it is made, and is settled after a crash by reading the ref.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Intent {
    /// Make the branch at the anchor.
    Create,
    /// Only make or find the worktree; the branch is there.
    Worktree,
    /// Move the branch.
    Move {
        /// From this state, or from no branch.
        expected: Option<ObjectId>,
        /// To this one.
        new: ObjectId,
    },
    /// Move the branch to a commit that has a worktree's content, and replace that worktree's index.
    Capture(Box<CaptureIntent>),
}

/// A capture under way: all that it takes to finish it or to undo it after a crash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CaptureIntent {
    /// The worktree's own Git directory, where the index is locked.
    #[serde(with = "path_bytes")]
    pub worktree_git_dir: Arc<std::path::Path>,
    /// The state that the branch is moved from.
    pub parent: ObjectId,
    /// The new commit.
    pub new: ObjectId,
    /// How many paths it changes.
    pub changed_count: u64,
}

/// One agent's reservation of one thread.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its name.
    pub id: SessionId,
    /// The repository.
    pub repo: RepoId,
    /// The thread.
    pub thread: ThreadName,
    /// The thread record's number.
    pub thread_id: u64,
    /// How far it is.
    pub status: SessionStatus,
    /// Why it ended.
    pub end_reason: Option<EndReason>,
    /// A change of Git under way.
    pub intent: Option<Intent>,
    /// The state at which it reserved.
    pub anchor_state: ObjectId,
    /// The tree of that state.
    pub anchor_root: ObjectId,
    /// Its place in the order of all grants; also the key it is stored under.
    pub fencing_token: FencingToken,
    /// Its secret, hashed.
    pub token_hash: TokenHash,
    /// What keeps it alive.
    pub hold: HoldRecord,
    /// The state it last recorded.
    pub recorded_state: ObjectId,
    /// Its signs of life, as last written behind.
    pub pulse: Pulse,
    /// When it was granted.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// The worktree it works in.
    pub path: Option<Arc<str>>,
    /// Who the agent is.
    pub agent: Arc<AgentRecord>,
    /// The request that made it.
    pub request: Option<RequestRecord>,
    /// Whether its reserve made the branch.
    pub thread_created: bool,
    /// The thread that its thread is meant for.
    pub target_thread: Option<ThreadName>,
    /// Where the work is done.
    pub mode: ThreadMode,
}

impl SessionRecord {
    /// Whether it holds its thread.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == SessionStatus::Active
    }

    /// Whether a secret is one of its own. The one that it was granted with stays valid beside a further one: whoever
    /// supervises the agent knows only that.
    #[must_use]
    pub fn accepts(&self, token_hash: TokenHash) -> bool {
        self.token_hash == token_hash || self.hold.further_token == Some(token_hash)
    }

    /// The thread it is about.
    #[must_use]
    pub fn thread_key(&self) -> ThreadKey {
        (self.repo, self.thread.clone())
    }

    /// Whether it changed its thread: by what it recorded, or by what the branch has since it was reserved, by plain Git.
    #[must_use]
    pub fn has_changes(&self, tip: Option<ObjectId>) -> bool {
        self.recorded_state != self.anchor_state || tip.is_some_and(|tip| tip != self.anchor_state)
    }
}

/// Names a thread across repositories.
pub type ThreadKey = (RepoId, ThreadName);

/// A state that was checked, and what its agent said of it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Checked {
    /// The thread's tip then.
    pub tip: ObjectId,
    /// What the agent's own checks said.
    pub verification: Option<VerificationSummary>,
    /// How sure the agent was, 0 to 1.
    pub confidence: Option<f64>,
}

impl Checked {
    /// What was said of the same state before stands until something else is said.
    #[must_use]
    pub fn with_what_was_said(self, before: Option<Self>) -> Self {
        let before = before.filter(|before| before.tip == self.tip);
        Self {
            verification: self.verification.or(before.and_then(|before| before.verification)),
            confidence: self.confidence.or(before.and_then(|before| before.confidence)),
            ..self
        }
    }
}

/// What is known of a thread beside its branch.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ThreadRecord {
    /// Its number.
    pub id: u64,
    /// The repository.
    pub repo: RepoId,
    /// Its name.
    pub thread: ThreadName,
    /// The thread it is meant for.
    pub target_thread: Option<ThreadName>,
    /// The thread it was started from.
    pub parent_thread: Option<ThreadName>,
    /// Where the work is done.
    pub mode: ThreadMode,
    /// Where it is on its way.
    pub state: ThreadState,
    /// The state at which it was first reserved.
    pub base_state: ObjectId,
    /// The tree of that state.
    pub base_root: ObjectId,
    /// The tip as last seen; none where there was no branch any more. The ref is the truth; this is a copy.
    pub current_state: Option<ObjectId>,
    /// The target's commit that has its work, once it is merged.
    #[serde(default)]
    pub merged_state: Option<ObjectId>,
    /// The last check of it.
    #[serde(default)]
    pub checked: Option<Checked>,
    /// What it is for.
    pub task: Option<Task>,
    /// The worktree where the work is done.
    pub execution_path: Option<Arc<str>>,
    /// When the record was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The revision of its last change: what was read of its branch before then may be old.
    pub revision: u64,
}

impl ThreadRecord {
    /// The thread that it is about.
    #[must_use]
    pub fn key(&self) -> ThreadKey {
        (self.repo, self.thread.clone())
    }
}
