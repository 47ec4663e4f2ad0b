//! A comparison for a terminal.

use super::Comparison;
use super::columns::{Column, columns};

const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

pub(super) fn table(comparison: &Comparison, bold: bool) -> String {
    let columns = columns(comparison);
    let mut lines = vec![line(&columns, None, bold)];
    lines.extend((0..comparison.runs.len()).map(|row| line(&columns, Some(row), bold)));
    lines.push("* the best of its column".to_string());
    lines.join("\n")
}

/// A row, or the titles.
fn line(columns: &[Column], row: Option<usize>, bold: bool) -> String {
    let cell = |column: &Column| {
        let found = row.and_then(|row| column.cells.get(row));
        let (text, is_best) = match found {
            Some(cell) => (printable(&cell.text), cell.is_best),
            None => (column.title.clone(), false),
        };
        let room = " ".repeat(width(column) - text.chars().count());
        let text = match bold && is_best {
            true => format!("{BOLD}{text}{PLAIN}"),
            false => text,
        };
        let mark = if is_best { "*" } else { " " };
        match column.is_text {
            true => format!("{text}{room}"),
            false => format!("{room}{text}{mark}"),
        }
    };
    let cells: Vec<String> = columns.iter().map(cell).collect();
    cells.join("  ").trim_end().to_string()
}

fn width(column: &Column) -> usize {
    let cells = column.cells.iter().map(|cell| printable(&cell.text));
    let widest = cells.map(|text| text.chars().count()).max();
    widest.unwrap_or_default().max(column.title.chars().count())
}

/// The text without what a terminal would take for a command.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}
