//! Numbers as shades, in rows and columns.

use plotters::prelude::*;

use super::line_chart::estimated_width;
use super::{Area, DrawResult, FONT, Ink};

/// The size of the words beside the cells.
const WORDS: u32 = 13;
const TITLE: u32 = 15;
/// Room for the title, and for a line of words below.
const LINE: i32 = 22;

/// A square of numbers, each a shade between the page (0) and the strongest colour (`highest`).
#[derive(Debug, Clone)]
pub(crate) struct HeatMap {
    /// Written above.
    pub(crate) title: String,
    /// What the rows are, and the first and last of them; from top to bottom.
    pub(crate) rows: Ends,
    /// What the columns are, from left to right.
    pub(crate) columns: Ends,
    pub(crate) highest: f64,
    /// What is not finite is left out.
    pub(crate) values: Vec<Vec<f64>>,
}

/// What an axis is called, and what stands at its ends.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    pub(crate) name: String,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl HeatMap {
    pub(crate) fn draw(&self, area: &Area<'_>) -> DrawResult {
        let (width, height) = area.dim_in_pixel();
        let words = |size: u32, ink: Ink| (FONT, size).into_font().color(&ink.color());
        area.draw_text(&self.title, &words(TITLE, Ink::Text), (8, 4))?;
        let numbers = [self.rows.first, self.rows.last].map(|number| number.to_string());
        let beside = numbers
            .iter()
            .map(|number| estimated_width(number, WORDS))
            .max()
            .unwrap_or_default();
        let (left, top) = (8 + LINE + beside + 6, LINE + 6);
        let (right, bottom) = (width as i32 - 10, height as i32 - LINE - 4);
        let across = self.values.first().map_or(0, Vec::len).max(1);
        let down = self.values.len().max(1);
        let edge = |from: i32, to: i32, index: usize, count: usize| {
            from + ((to - from) as i64 * index as i64 / count as i64) as i32
        };
        for (row, values) in self.values.iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                if !value.is_finite() {
                    continue;
                }
                let corner = |row, column| {
                    (
                        edge(left, right, column, across),
                        edge(top, bottom, row, down),
                    )
                };
                let corners = [corner(row, column), corner(row + 1, column + 1)];
                let shade = shade(value / self.highest);
                area.draw(&Rectangle::new(corners, shade.filled()))?;
            }
        }
        let frame = Rectangle::new([(left, top), (right, bottom)], Ink::Muted.color());
        area.draw(&frame)?;

        let muted = words(WORDS, Ink::Muted);
        let below = bottom + 4;
        area.draw_text(&self.columns.first.to_string(), &muted, (left, below))?;
        let last = self.columns.last.to_string();
        area.draw_text(
            &last,
            &muted,
            (right - estimated_width(&last, WORDS), below),
        )?;
        let name = &self.columns.name;
        let middle = (left + right - estimated_width(name, WORDS)) / 2;
        area.draw_text(name, &muted, (middle, below))?;
        for (number, y) in numbers.iter().zip([top, bottom - WORDS as i32 - 2]) {
            let x = left - 6 - estimated_width(number, WORDS);
            area.draw_text(number, &muted, (x, y))?;
        }
        let turned = muted.transform(FontTransform::Rotate270);
        let middle = (top + bottom + estimated_width(&self.rows.name, WORDS)) / 2;
        area.draw_text(&self.rows.name, &turned, (6, middle))?;
        Ok(())
    }
}

/// Between the page's colour and the strongest.
fn shade(part: f64) -> RGBColor {
    let part = part.clamp(0.0, 1.0);
    let (page, strong) = (Ink::Page.color(), Ink::Strong.color());
    let mix = |from: u8, to: u8| (f64::from(from) * (1.0 - part) + f64::from(to) * part).round();
    RGBColor(
        mix(page.0, strong.0) as u8,
        mix(page.1, strong.1) as u8,
        mix(page.2, strong.2) as u8,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::standalone;
    use crate::testing::assert_well_formed;

    fn drawn(values: Vec<Vec<f64>>) -> String {
        let ends = |name: &str, last: usize| Ends {
            name: name.to_string(),
            first: 1,
            last,
        };
        let map = HeatMap {
            title: "φ".to_string(),
            rows: ends("i", values.len()),
            columns: ends("j", values[0].len()),
            highest: 2.0,
            values,
        };
        let svg = standalone((200, 160), |area| map.draw(area)).unwrap();
        assert_well_formed(&svg);
        svg
    }

    #[test]
    fn a_cell_for_each_number_in_its_shade() {
        let svg = drawn(vec![vec![0.0, 1.0, 2.0], vec![f64::NAN, 2.0, 9.0]]);
        let strong = Ink::Strong.light();
        assert_eq!(svg.matches(&format!("fill=\"{strong}\"")).count(), 3);
        // Half way between white and the strongest.
        assert!(svg.contains("#85A7CB"), "{svg}");
        assert!(!svg.contains("NaN"));
        for text in ["φ", "\ni\n", "\nj\n", "\n3\n", "\n2\n"] {
            assert!(svg.contains(text), "no {text:?} in {svg}");
        }
    }

    #[test]
    fn nothing_can_be_drawn() {
        drawn(vec![vec![]]);
    }
}
