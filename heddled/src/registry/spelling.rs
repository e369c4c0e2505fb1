//! Names that are spelled differently and that the ref store of a repository takes for one.

use std::borrow::Cow;

use proto_schema::ThreadName;
use unicode_normalization::UnicodeNormalization as _;

/// What the ref store does not tell apart, besides what is the same byte for byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Folding {
    /// Nothing: each byte counts.
    #[default]
    None,
    /// The composed and the decomposed form of a character, as on macOS.
    Unicode,
    /// That, and upper and lower case: file systems that fold case compare characters, not bytes.
    Case,
}

impl Folding {
    /// Whether two names, or two parts of names, are one.
    #[must_use]
    pub fn same(self, one: &str, other: &str) -> bool {
        one == other || (self != Self::None && self.key(one) == self.key(other))
    }

    /// Whether two branches cannot be told apart, or lie in folders that cannot: `Fix` and `fix`, `Feat/x` and `feat/y`.
    #[must_use]
    pub fn confuses(self, one: &ThreadName, other: &ThreadName) -> bool {
        let mut parts = one.as_str().split('/').zip(other.as_str().split('/'));
        self != Self::None && parts.find(|(one, other)| one != other).is_some_and(|(one, other)| self.same(one, other))
    }

    fn key(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::None => text.into(),
            Self::Unicode => text.nfd().collect(),
            // First to upper case: some letters have one capital for two small ones.
            Self::Case => text.nfd().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfd().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confuses(folding: Folding, one: &str, other: &str) -> bool {
        let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
        assert_eq!(folding.confuses(&one, &other), folding.confuses(&other, &one));
        folding.confuses(&one, &other)
    }

    #[test]
    fn names_are_compared_as_the_ref_store_does() {
        let (composed, decomposed) = ("b\u{fc}cher", "bu\u{308}cher");
        for (one, other, unicode, case) in [
            ("fix", "fix", false, false),
            ("fix", "Fix", false, true),
            ("Feat/x", "feat/y", false, true),
            ("Fix", "fix/a", false, true),
            ("a/fix", "b/Fix", false, false),
            ("a/b/C", "a/b/c", false, true),
            ("straße", "STRASSE", false, true),
            ("ΣΑΣ", "σας", false, true),
            (composed, decomposed, true, true),
            ("B\u{dc}CHER", decomposed, false, true),
            ("fix", "fix2", false, false),
            ("fix-a", "fix_a", false, false),
        ] {
            assert!(!confuses(Folding::None, one, other), "{one} {other}");
            assert_eq!(confuses(Folding::Unicode, one, other), unicode, "{one} {other}");
            assert_eq!(confuses(Folding::Case, one, other), case, "{one} {other}");
        }
    }
}
