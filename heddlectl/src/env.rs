//! The environment, read once at the edge and passed on as a value.

use std::ffi::{OsStr, OsString};

/// The environment of this process, or of a test.
#[derive(Clone, Default)]
pub(crate) struct Env(Vec<(OsString, OsString)>);

impl Env {
    /// Reads this process's environment.
    pub(crate) fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// The variable as it is.
    pub(crate) fn os(&self, name: &str) -> Option<&OsStr> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str())
    }

    /// The variable as text, trimmed, unless it is blank.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.os(name)?.to_str().map(str::trim).filter(|value| !value.is_empty())
    }

    /// Whether a switch is on: present, and not blank, `0`, `false`, `no` or `off`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.text(name)
            .is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "0" | "false" | "no" | "off"))
    }

    /// Every variable.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(key, value)| (key.as_os_str(), value.as_os_str()))
    }

    /// An environment of these variables.
    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        Self(variables.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_that_says_no_is_off() {
        let env = Env::of(&[("A", "1"), ("B", "0"), ("C", " "), ("D", "False")]);
        assert!(env.flag("A"));
        assert!(!env.flag("B") && !env.flag("C") && !env.flag("D") && !env.flag("E"));
    }
}
