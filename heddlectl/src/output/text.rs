//! Small pieces of text: ages, wrapping, and making strange characters harmless.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Where running text is broken.
pub(crate) const WRAP: usize = 80;

/// Escapes control characters, but newlines, so that text of others cannot drive the terminal.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    let harmful = |character: char| {
        (character.is_control() && character != '\n')
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.chars().any(harmful) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if harmful(character) {
            clean.extend(character.escape_default());
        } else {
            clean.push(character);
        }
    }
    Cow::Owned(clean)
}

/// How long something took or takes, in one unit: `3s`, `4m`, `2h`, `5d`.
pub(crate) fn age(ms: i64) -> String {
    let seconds = (ms / 1000).max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        172_800.. => format!("{}d", seconds / 86_400),
        i64::MIN..0 => "0s".to_owned(),
    }
}

/// How long something still lasts, in two units: `58s`, `4m12s`, `1h05m`, `1d02h`.
pub(crate) fn left(ms: i64) -> String {
    let seconds = (ms / 1000).max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        86_400.. => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
        i64::MIN..0 => "0s".to_owned(),
    }
}

/// The text in at most `columns` columns; what was cut is shown by an ellipsis.
pub(crate) fn fit(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    let mut short = String::new();
    let mut used = 0;
    for character in text.chars() {
        let width = character.width().unwrap_or(0);
        if used + width + 1 > columns {
            break;
        }
        used += width;
        short.push(character);
    }
    short.push('…');
    Cow::Owned(short)
}

/// The text in pieces of at most `columns` columns, broken after a slash where that is not far off. Nothing is lost, for
/// it may be a name or a path.
pub(crate) fn pieces(text: &str, columns: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    loop {
        let mut used = 0;
        let over = rest.char_indices().find_map(|(start, character)| {
            used += character.width().unwrap_or(0);
            (used > columns && start > 0).then_some(start)
        });
        let Some(end) = over else {
            pieces.push(rest);
            return pieces;
        };
        let slash = rest.get(..end).and_then(|piece| piece.rfind('/')).map(|slash| slash + 1);
        let (piece, after) = rest.split_at(slash.filter(|slash| *slash > end / 2).unwrap_or(end));
        pieces.push(piece);
        rest = after;
    }
}

/// Breaks running text into lines of at most `columns`; later lines begin with `indent` spaces. Words are never broken.
pub(crate) fn wrap(first: &str, text: &str, indent: usize, columns: usize) -> String {
    let mut page = first.to_owned();
    let mut used = first.width();
    let mut fresh = true;
    for word in text.split_whitespace() {
        let width = word.width();
        if !fresh && used + 1 + width > columns {
            // Writing to a String cannot fail.
            write!(page, "\n{:indent$}", "").ok();
            used = indent;
            fresh = true;
        }
        if !fresh || (used > 0 && !page.ends_with(' ')) {
            page.push(' ');
            used += 1;
        }
        page.push_str(word);
        used += width;
        fresh = false;
    }
    page.push('\n');
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!(
            [age(-5), age(59_999), age(60_000), age(7_200_000), age(864_000_000)],
            ["0s", "59s", "1m", "2h", "10d"]
        );
        assert_eq!([left(-1), left(252_000), left(3_900_000), left(93_600_000)], ["0s", "4m12s", "1h05m", "1d02h"]);
    }

    #[test]
    fn text_is_cut_and_wrapped_by_columns() {
        assert_eq!(fit("feature/login", 8), "feature…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(pieces("feature/login-form", 10), ["feature/", "login-form"]);
        assert_eq!(pieces("a/feature-login", 10), ["a/feature-", "login"]);
        assert_eq!(pieces("日本語", 5), ["日本", "語"]);
        assert_eq!(pieces("", 5), [""]);
        assert_eq!(wrap("why:", "one two three", 5, 12), "why: one two\n     three\n");
    }

    #[test]
    fn text_of_others_cannot_drive_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\u{202e}c\n"), "a\\u{1b}[2Jb\\u{202e}c\n");
    }
}
