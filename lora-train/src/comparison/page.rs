//! A comparison as a page.

use super::Comparison;
use super::columns::columns;
use super::picture::on_page;
use crate::html::{self, escape, table};
use crate::plot::words;

pub(super) fn page(comparison: &Comparison) -> Result<String, Box<dyn std::error::Error>> {
    let columns = columns(comparison);
    let head: Vec<String> = columns.iter().map(|column| escape(&column.title)).collect();
    let cell = |column: &super::columns::Column, row: usize| match column.cells.get(row) {
        Some(cell) if cell.is_best => {
            format!("<span class=\"best\">{}&nbsp;*</span>", escape(&cell.text))
        }
        Some(cell) => escape(&cell.text),
        None => String::new(),
    };
    let row = |row| columns.iter().map(|column| cell(column, row)).collect();
    let rows: Vec<Vec<String>> = (0..comparison.runs.len()).map(row).collect();
    let title = "Runs side by side";
    let body = format!(
        "<h1>{title}</h1>\n{}<h2>Development {}</h2>\n<figure>\n{}</figure>\n",
        table("Bold, with *: the best of its column", &head, &rows, true),
        escape(&words(&comparison.metric)),
        on_page(comparison)?,
    );
    Ok(html::page(title, &body))
}
