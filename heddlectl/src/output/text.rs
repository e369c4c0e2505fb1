//! Small pieces of text: ages, wrapping, and making strange characters harmless.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Where running text is broken.
pub(crate) const WRAP: usize = 80;

/// Escapes what drives a terminal or cannot be seen, but newlines: text of others must be shown as what it is. Two names that
/// look alike must not be two.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_hidden(character) {
            clean.extend(character.escape_default());
        } else {
            clean.push(character);
        }
    }
    Cow::Owned(clean)
}

/// Escapes what cannot be seen and is no control character, in text that has our own styles. A page goes through this as a
/// whole, so that no value is forgotten.
pub(crate) fn without_invisible(page: &str) -> Cow<'_, str> {
    let is_invisible = |character: char| !character.is_control() && is_hidden(character);
    if !page.chars().any(is_invisible) {
        return Cow::Borrowed(page);
    }
    let escaped = |character: char| match character {
        invisible if is_invisible(invisible) => invisible.escape_default().to_string(),
        other => other.to_string(),
    };
    Cow::Owned(page.chars().map(escaped).collect())
}

/// Whether a character is a control or cannot be seen: general categories Cc, Cf, Zl and Zp, and what has the property
/// Default_Ignorable_Code_Point (Unicode 17).
fn is_hidden(character: char) -> bool {
    match character {
        '\n' => false,
        // All of Latin-1 but the soft hyphen and the controls: most text ends here.
        '\u{0}'..='\u{ff}' => character.is_control() || character == '\u{ad}',
        _ => HIDDEN.iter().any(|range| range.contains(&character)),
    }
}

const HIDDEN: &[RangeInclusive<char>] = &[
    '\u{34f}'..='\u{34f}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

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
