//! Tables and cards: the layout that every human answer shares.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use super::color::{FAINT, STRONG};
use super::text::{clean, wrap};

/// What the reader's page is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    /// The wall clock, for ages.
    pub(crate) now_ms: i64,
    /// Columns; none when nobody looks at it directly, and then nothing is shortened.
    pub(crate) width: Option<usize>,
}

impl Page {
    /// How many columns remain beside `used`, but at least `least`.
    pub(crate) fn beside(&self, used: usize, least: usize) -> usize {
        self.width.map_or(usize::MAX, |width| width.saturating_sub(used).max(least))
    }
}

/// One row: its cells, the lines below it that have the whole width, and whether it is over.
pub(crate) struct Row {
    /// The cells.
    pub(crate) cells: Vec<String>,
    /// Lines below them.
    pub(crate) below: Vec<String>,
    /// Whether it is shown faintly.
    pub(crate) faint: bool,
}

/// Renders rows below a heading. Cells are never wrapped, so an id can be copied.
pub(crate) fn table(heading: &[&str], right: &[usize], rows: &[Row]) -> String {
    let rows_of_cells: Vec<Vec<_>> =
        rows.iter().map(|row| row.cells.iter().map(|cell| clean(cell)).collect()).collect();
    let widths: Vec<usize> = heading
        .iter()
        .enumerate()
        .map(|(index, word)| {
            let cells = rows_of_cells.iter().filter_map(|cells| cells.get(index));
            cells.map(|cell| cell.width()).max().unwrap_or_default().max(word.width())
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (index, (cell, width)) in cells.zip(&widths).enumerate() {
            let gap = width.saturating_sub(cell.width());
            let (before, after) = if right.contains(&index) { (gap, 0) } else { (0, gap) };
            // Writing to a String cannot fail.
            write!(line, "{:before$}{cell}{:after$}  ", "", "").ok();
        }
        line.truncate(line.trim_end().len());
        line
    };
    let mut page = format!("{STRONG}{}{STRONG:#}\n", line(&mut heading.iter().copied()));
    for (row, cells) in rows.iter().zip(&rows_of_cells) {
        let line = line(&mut cells.iter().map(AsRef::as_ref));
        if row.faint { writeln!(page, "{FAINT}{line}{FAINT:#}") } else { writeln!(page, "{line}") }.ok();
        for below in &row.below {
            writeln!(page, "{FAINT}    {}{FAINT:#}", clean(below)).ok();
        }
    }
    page
}

/// A card: a title and facts with their words, aligned.
pub(crate) struct Card {
    page: String,
    indent: usize,
    columns: usize,
}

impl Card {
    /// Begins a card with its title; facts are aligned behind words of at most `word` columns.
    pub(crate) fn new(title: &str, word: usize, page: Page) -> Self {
        let columns = page.width.unwrap_or(usize::MAX);
        Self { page: format!("{STRONG}{}{STRONG:#}\n", clean(title)), indent: word + 4, columns }
    }

    /// Adds a fact that may be broken into lines.
    pub(crate) fn fact(mut self, word: &str, text: &str) -> Self {
        let width = self.indent - 2;
        self.page += &wrap(&format!("  {word:width$}"), &clean(text), self.indent, self.columns);
        self
    }

    /// Adds a fact where there is one.
    pub(crate) fn maybe(self, word: &str, text: Option<impl AsRef<str>>) -> Self {
        match text {
            Some(text) => self.fact(word, text.as_ref()),
            None => self,
        }
    }

    /// The card.
    pub(crate) fn end(self) -> String {
        self.page
    }
}

/// `1 session`, `2 sessions`.
pub(crate) fn count(number: u64, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {word}{plural}")
}
