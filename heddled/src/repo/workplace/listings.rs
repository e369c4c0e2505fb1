//! The configurations that Git has listed, each while the files that it was read from are as they were.
//!
//! To start a process for a listing takes as long as to look at a thousand files. A configuration that includes others is
//! listed anew each time: which files count then may depend on the branch, or on files that are not there yet.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use proto_schema::Timestamp;

use crate::repo::error::Error;
use crate::repo::program::{Environment, Setting};
use crate::repo::settings::usual_files;
use crate::repo::stamp::Stamp;

/// The most worktrees whose configuration is remembered.
const WORKTREES: NonZeroUsize = NonZeroUsize::new(256).unwrap();

type Version = Vec<(PathBuf, Option<Stamp>)>;

struct Listing {
    version: Version,
    settings: Arc<Vec<Setting>>,
}

/// The listings that are remembered, by the worktrees' own Git directories.
pub(super) struct Listings(Mutex<LruCache<PathBuf, Arc<Listing>>>);

impl Listings {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(WORKTREES)))
    }

    /// The settings that apply in a worktree, from `list` where a file that they were read from has changed, `now` being
    /// the wall time.
    pub(super) fn of(
        &self,
        (private, common): (&Path, &Path),
        environment: &Environment,
        now: Timestamp,
        list: impl FnOnce() -> Result<Vec<Setting>, Error>,
    ) -> Result<Arc<Vec<Setting>>, Error> {
        let known = self.0.lock().get(private).map(Arc::clone);
        if let Some(known) = known
            && known.version.iter().all(|(file, stamp)| matches!(Stamp::at(file), Ok(now) if now == *stamp))
        {
            return Ok(Arc::clone(&known.settings));
        }
        // The versions are taken before the content is read: a change in between is then noticed the next time.
        let mut files = usual_files(environment);
        files.extend([common.join("config"), private.join("config.worktree")]);
        let version: Option<Version> =
            files.into_iter().map(|file| Some((file.clone(), Stamp::at(&file).ok()?))).collect();
        let settings = Arc::new(list()?);
        if let Some(version) = version.filter(|version| may_be_kept(version, &settings, now)) {
            let listing = Listing { version, settings: Arc::clone(&settings) };
            self.0.lock().put(private.to_owned(), Arc::new(listing));
        }
        Ok(settings)
    }
}

/// Whether a change of what was listed would show in the versions of these files.
fn may_be_kept(version: &Version, settings: &[Setting], now: Timestamp) -> bool {
    let is_known = |file: &PathBuf| version.iter().any(|(known, _)| known == file);
    version.iter().all(|(_, stamp)| stamp.is_none_or(|stamp| stamp.is_settled(now)))
        && settings
            .iter()
            .all(|setting| !setting.key.starts_with("include") && setting.file.as_ref().is_some_and(is_known))
}
