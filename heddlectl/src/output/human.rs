//! Tables and cards: the layout that every human answer shares.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use super::color::{FAINT, STRONG};
use super::text::{clean, fit, pieces, wrap};

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

    /// Running text as one line below a row of a table.
    pub(crate) fn line(&self, text: &str) -> String {
        fit(&clean(text), self.beside(INDENT, 20)).into_owned()
    }
}

/// One row: its cells, the facts below it that have the whole width, and whether it is over.
pub(crate) struct Row {
    /// The cells.
    pub(crate) cells: Vec<String>,
    /// What is told below them.
    pub(crate) facts: Vec<String>,
    /// Whether it is shown faintly.
    pub(crate) faint: bool,
}

/// The columns of a table.
pub(crate) struct Columns<'a> {
    /// Their headings.
    pub(crate) heading: &'a [&'a str],
    /// Those that are aligned to the right.
    pub(crate) right: &'a [usize],
    /// The one that is cut where the page is too narrow; what was cut is then told whole below the row.
    pub(crate) elastic: usize,
}

/// Between two columns, and before the facts below a row.
const GAP: usize = 2;
const INDENT: usize = 4;

/// Renders rows below a heading. Cells are never broken, so an id can be copied.
pub(crate) fn table(columns: &Columns<'_>, rows: &[Row], page: Page) -> String {
    /// The least that the elastic column gets.
    const LEAST: usize = 6;
    let mut cells: Vec<Vec<_>> = rows.iter().map(|row| row.cells.iter().map(|cell| clean(cell)).collect()).collect();
    let mut widths: Vec<usize> = columns.heading.iter().map(|word| word.width()).collect();
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    let whole: usize = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    let elastic = widths.get(columns.elastic).copied().unwrap_or_default();
    let room = page.beside(whole.saturating_sub(elastic), LEAST).min(elastic);
    if let Some(width) = widths.get_mut(columns.elastic) {
        *width = room;
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (index, (cell, width)) in cells.zip(&widths).enumerate() {
            let gap = width.saturating_sub(cell.width());
            let (before, after) = if columns.right.contains(&index) { (gap, 0) } else { (0, gap) };
            // Writing to a String cannot fail.
            write!(line, "{:before$}{cell}{:after$}{:GAP$}", "", "", "").ok();
        }
        line.truncate(line.trim_end().len());
        line
    };
    let mut text = format!("{STRONG}{}{STRONG:#}\n", line(&mut columns.heading.iter().copied()));
    for (row, cells) in rows.iter().zip(&mut cells) {
        let mut facts: Vec<_> = row.facts.iter().map(|fact| clean(fact)).collect();
        if let Some(cell) = cells.get_mut(columns.elastic).filter(|cell| cell.width() > room) {
            let short = fit(cell, room).into_owned();
            facts.insert(0, std::mem::replace(cell, short.into()));
        }
        let line = line(&mut cells.iter().map(AsRef::as_ref));
        if row.faint { writeln!(text, "{FAINT}{line}{FAINT:#}") } else { writeln!(text, "{line}") }.ok();
        for below in fill(&facts, page.beside(INDENT, 20)) {
            writeln!(text, "{FAINT}{:INDENT$}{below}{FAINT:#}", "").ok();
        }
    }
    text
}

/// Facts one after another, in as few lines as the page allows; one that is longer than a line has lines of its own.
fn fill(facts: &[Cow<'_, str>], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for fact in facts {
        if let Some(line) = lines.last_mut() {
            let joined = format!("{line} · {fact}");
            if joined.width() <= width {
                *line = joined;
                continue;
            }
        }
        lines.extend(pieces(fact, width).into_iter().map(str::to_owned));
    }
    lines
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
