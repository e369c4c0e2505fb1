//! Prints: the table of results to standard output, progress to standard error.

use crate::report::{Goal, Report, Row};

const HEADINGS: [&str; 10] = ["measure", "conns", "ours", "p50 us", "p99 us", "peer", "theirs", "ratio", "goal", "met"];

/// Prints to standard output.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Prints to standard error.
#[expect(clippy::print_stderr, reason = "a run takes minutes; this says where it is")]
pub(crate) fn progress(text: &str) {
    eprintln!("{text}");
}

/// The table in Markdown, with the remarks below it.
pub(crate) fn render(report: &Report) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(report.rows.iter().map(cells));
    let widths: Vec<_> = (0..HEADINGS.len()).map(|column| lines.iter().map(|line| line[column].len()).max()).collect();
    let joined = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    let padded = |line: &[String; 10]| {
        joined(line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<0$}", width.unwrap_or(0))).collect())
    };
    let rule = joined(widths.iter().map(|width| "-".repeat(width.unwrap_or(0))).collect());
    let mut text: Vec<_> = lines.iter().map(padded).collect();
    text.insert(1, rule);
    let noise = report.noise;
    text.push(format!(
        "\n{} slices: {} started although the machine was not quiet; {} were thrown away and repeated because other \
         processes ran meanwhile, {} count although they did.",
        noise.starts, noise.not_quiet, noise.repeated, noise.disturbed
    ));
    text.extend(report.notes.iter().cloned());
    text.join("\n")
}

fn cells(row: &Row) -> [String; 10] {
    let dash = || "-".to_owned();
    let figure = |value: f64| format!("{} {}", rounded(value), row.unit);
    let missing = || if row.peer.is_empty() { dash() } else { "peer missing".to_owned() };
    [
        row.measure.clone(),
        row.connections.map_or_else(dash, |count| count.to_string()),
        row.ours.map_or_else(dash, figure),
        row.percentiles.map_or_else(dash, |(median, _)| rounded(median)),
        row.percentiles.map_or_else(dash, |(_, tail)| rounded(tail)),
        if row.peer.is_empty() { dash() } else { row.peer.clone() },
        row.theirs.map_or_else(missing, figure),
        row.ratio.map_or_else(dash, |ratio| format!("{ratio:.2}")),
        row.goal.map_or_else(dash, |goal| match goal {
            Goal::RatioAtLeast(bound) => format!(">= {bound}"),
            Goal::RatioAtMost(bound) => format!("<= {bound}"),
            Goal::Under(bound) => format!("< {} {}", rounded(bound), row.unit),
        }),
        row.met().map_or_else(dash, |met| if met { "yes" } else { "NO" }.to_owned()),
    ]
}

/// About three figures, with thousands set apart.
fn rounded(value: f64) -> String {
    if value.abs() < 10.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
