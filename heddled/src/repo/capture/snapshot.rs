//! The configuration under which a capture is prepared: one private file, made from what Git read at one moment.
//!
//! What the user and the machine's administrator say counts in full, but for filters that are not allowed. Of what the
//! repository says only what is listed here counts, and none of that names a command or a place to write to. Since Git
//! reads this file alone, what happens to the repository's configuration meanwhile changes nothing.

use std::collections::BTreeSet;

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
    "core.excludesfile",
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

/// What is so for every capture.
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

/// Settings that count, in order: a later one of the same key overrules.
pub(super) struct Snapshot {
    settings: Vec<(String, Option<String>)>,
    filters: BTreeSet<String>,
}

impl Snapshot {
    pub(super) fn new(list: &[Setting], hash: gix::hash::Kind, allowed_filters: &[String]) -> Self {
        let is_allowed = |driver: &str| driver == "lfs" || allowed_filters.iter().any(|allowed| allowed == driver);
        let mut filters = BTreeSet::new();
        let mut settings = Vec::new();
        for setting in list {
            let filter = setting.key.strip_prefix("filter.").and_then(|rest| rest.rsplit_once('.'));
            let counts = match filter {
                Some((driver, name)) if setting.is_users() && is_allowed(driver) => {
                    if matches!(name, "clean" | "process") && setting.value.as_deref().is_some_and(|it| !it.is_empty())
                    {
                        filters.insert(driver.to_owned());
                    }
                    true
                }
                Some(_) => false,
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
        let version = if hash == gix::hash::Kind::Sha1 { "0" } else { "1" };
        settings.push(("core.repositoryformatversion".to_owned(), Some(version.to_owned())));
        if hash != gix::hash::Kind::Sha1 {
            settings.push(("extensions.objectformat".to_owned(), Some(hash.to_string())));
        }
        settings.extend(ALWAYS.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()))));
        Self { settings, filters }
    }

    /// The value that counts.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let found = self.settings.iter().rev().find(|(known, _)| known == key)?;
        // A key alone means true.
        Some(found.1.as_deref().unwrap_or("true"))
    }

    /// Whether a setting is there and true.
    pub(super) fn is_true(&self, key: &str) -> bool {
        let value = self.get(key).map(str::to_ascii_lowercase);
        value.is_some_and(|value| !matches!(value.as_str(), "false" | "no" | "off" | "0" | ""))
    }

    /// Whether a content filter may run and is defined.
    pub(super) fn has_filter(&self, driver: &str) -> bool {
        self.filters.contains(driver)
    }

    /// The file as Git reads it.
    pub(super) fn text(&self) -> String {
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
