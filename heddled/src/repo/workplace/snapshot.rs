//! The configuration under which Git works on a worktree, or tries a merge: one private file, made from what Git read at one
//! moment.
//!
//! What the user and the machine's administrator say counts in full, but for filters that are not allowed. Of what the
//! repository says only what is listed here counts, and none of that names a command or a place to write to. Since Git
//! reads this file alone, what happens to the repository's configuration meanwhile changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::repo::program::Setting;

/// What a repository may say for itself: how files become content, who its author is, and what is signed.
const OF_THE_REPOSITORY: &[&str] = &[
    "author.email",
    "author.name",
    "commit.gpgsign",
    "committer.email",
    "committer.name",
    "core.autocrlf",
    "core.checkroundtripencoding",
    "core.checkstat",
    "core.compression",
    "core.eol",
    "core.filemode",
    "core.ignorecase",
    "core.loosecompression",
    "core.precomposeunicode",
    "core.protecthfs",
    "core.protectntfs",
    "core.safecrlf",
    "core.sharedrepository",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
    "core.symlinks",
    "core.trustctime",
    "core.untrackedcache",
    "gpg.format",
    "index.skiphash",
    "index.sparse",
    "index.version",
    "sparse.expectfilesoutsideofpatterns",
    "user.email",
    "user.name",
    "user.signingkey",
    "user.useconfigonly",
];

/// Files of rules: what lies where the repository says is copied, and Git reads the copy.
const RULES: &[&str] = &["core.attributesfile", "core.excludesfile"];

/// What is always so.
const ALWAYS: &[(&str, &str)] = &[
    ("core.bare", "false"),
    // Every object is a file, so that it can be looked at before it is let into the repository.
    ("core.bigfilethreshold", "1024g"),
    // What is let in is synced then.
    ("core.fsync", "none"),
    ("core.fsmonitor", "false"),
    ("core.hookspath", "/dev/null"),
    ("core.splitindex", "false"),
    ("advice.addembeddedrepo", "false"),
    ("advice.updatesparsepath", "false"),
];

/// What a repository may say for itself in a merge: what it takes for a rename, and how it reads files. No merge driver.
const OF_THE_REPOSITORY_IN_A_MERGE: &[&str] = &[
    "core.autocrlf",
    "core.bigfilethreshold",
    "core.checkroundtripencoding",
    "core.eol",
    "core.ignorecase",
    "diff.algorithm",
    "diff.renamelimit",
    "diff.renames",
    "merge.conflictstyle",
    "merge.default",
    "merge.directoryrenames",
    "merge.renamelimit",
    "merge.renames",
    "merge.renormalize",
];

/// What is so for every merge.
const ALWAYS_IN_A_MERGE: &[(&str, &str)] = &[
    ("core.bare", "false"),
    // Nothing of it is kept.
    ("core.fsync", "none"),
    ("core.fsmonitor", "false"),
    ("core.hookspath", "/dev/null"),
];

/// Settings that count, in order: a later one of the same key overrules.
pub(in crate::repo) struct Snapshot {
    settings: Vec<(String, Option<String>)>,
    filters: BTreeSet<String>,
    /// The filters that somebody defines and that may not run.
    refused: BTreeSet<String>,
    /// Files of rules that the repository names, by their keys.
    rules: BTreeMap<String, String>,
}

impl Snapshot {
    pub(in crate::repo) fn new(list: &[Setting], hash: gix::hash::Kind, allowed_filters: &[String]) -> Self {
        let is_allowed = |driver: &str| driver == "lfs" || allowed_filters.iter().any(|allowed| allowed == driver);
        let (mut filters, mut refused) = (BTreeSet::new(), BTreeSet::new());
        let mut settings = Vec::new();
        let mut rules = BTreeMap::new();
        for setting in list {
            if RULES.contains(&setting.key.as_str()) {
                // The last one counts.
                rules.remove(&setting.key);
                if !setting.is_users() {
                    rules.insert(setting.key.clone(), setting.value.clone().unwrap_or_default());
                    continue;
                }
            }
            let filter = setting.key.strip_prefix("filter.").and_then(|rest| rest.rsplit_once('.'));
            let is_command = |name: &str| {
                matches!(name, "clean" | "process") && setting.value.as_deref().is_some_and(|it| !it.is_empty())
            };
            let counts = match filter {
                Some((driver, name)) => {
                    let may_run = setting.is_users() && is_allowed(driver);
                    if is_command(name) {
                        if may_run { &mut filters } else { &mut refused }.insert(driver.to_owned());
                    }
                    may_run
                }
                // What is included is in the list itself.
                None if setting.key.starts_with("include") => false,
                None => setting.is_users() || OF_THE_REPOSITORY.contains(&setting.key.as_str()),
            };
            if counts {
                settings.push((setting.key.clone(), setting.value.clone()));
            }
        }
        // A filter that fails must not leave its input to be stored.
        settings.extend(filters.iter().map(|driver| (format!("filter.{driver}.required"), Some("true".to_owned()))));
        let refused = &refused - &filters;
        let mut snapshot = Self { settings, filters, refused, rules };
        snapshot.complete(hash, ALWAYS);
        snapshot
    }

    /// What counts for a merge that is tried: no content filter, and of merge drivers the user's.
    pub(in crate::repo) fn of_a_merge(list: &[Setting], hash: gix::hash::Kind) -> Self {
        let counts =
            list.iter().filter(|Setting { key, .. }| !key.starts_with("filter.") && !key.starts_with("include"));
        let counts = counts
            .filter(|it| it.is_users() || OF_THE_REPOSITORY_IN_A_MERGE.contains(&it.key.as_str()))
            .map(|it| (it.key.clone(), it.value.clone()));
        let (filters, refused, rules) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let mut snapshot = Self { settings: counts.collect(), filters, refused, rules };
        snapshot.complete(hash, ALWAYS_IN_A_MERGE);
        snapshot
    }

    /// Adds the repository's format and what is always so.
    fn complete(&mut self, hash: gix::hash::Kind, always: &[(&str, &str)]) {
        let mut set = |key: &str, value: &str| self.settings.push((key.to_owned(), Some(value.to_owned())));
        set("core.repositoryformatversion", if hash == gix::hash::Kind::Sha1 { "0" } else { "1" });
        if hash != gix::hash::Kind::Sha1 {
            set("extensions.objectformat", &hash.to_string());
        }
        always.iter().for_each(|(key, value)| set(key, value));
    }

    /// The files of rules that the repository names, by their keys. Each is to be [set](Self::set) to a copy.
    pub(super) fn take_rules(&mut self) -> BTreeMap<String, String> {
        std::mem::take(&mut self.rules)
    }

    /// Overrules a setting.
    pub(super) fn set(&mut self, key: &str, value: String) {
        self.settings.push((key.to_owned(), Some(value)));
    }

    /// The value that counts.
    pub(in crate::repo) fn get(&self, key: &str) -> Option<&str> {
        let found = self.settings.iter().rev().find(|(known, _)| known == key)?;
        // A key alone means true.
        Some(found.1.as_deref().unwrap_or("true"))
    }

    /// Whether a setting is there and true.
    pub(in crate::repo) fn is_true(&self, key: &str) -> bool {
        let value = self.get(key).map(str::to_ascii_lowercase);
        value.is_some_and(|value| !matches!(value.as_str(), "false" | "no" | "off" | "0" | ""))
    }

    /// Whether a content filter may run and is defined.
    pub(in crate::repo) fn has_filter(&self, driver: &str) -> bool {
        self.filters.contains(driver)
    }

    /// Makes Git fail where it needs one of the filters that are defined and may not run: without its filter, a file could
    /// seem to be what it is not.
    pub(super) fn stop_at_refused_filters(&mut self) {
        for driver in &self.refused {
            for (name, value) in [("clean", "false"), ("required", "true")] {
                self.settings.push((format!("filter.{driver}.{name}"), Some(value.to_owned())));
            }
        }
    }

    /// Whether a filter that somebody defines may not run.
    pub(in crate::repo) fn refuses_filters(&self) -> bool {
        !self.refused.is_empty()
    }

    /// The file as Git reads it.
    pub(in crate::repo) fn text(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.settings {
            let Some((section, name)) = key.rsplit_once('.') else { continue };
            let line = match section.split_once('.') {
                Some((section, sub)) => format!("[{section} \"{}\"]\n", sub.replace('\\', "\\\\").replace('"', "\\\"")),
                None => format!("[{section}]\n"),
            };
            text.push_str(&line);
            text.push('\t');
            text.push_str(name);
            if let Some(value) = value {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                text.extend([" = \"", &value.replace('\t', "\\t").replace('\u{8}', "\\b"), "\""]);
            }
            text.push('\n');
        }
        text
    }
}
