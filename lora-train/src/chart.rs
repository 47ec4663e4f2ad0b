//! Charts as SVG: for files of their own, and for pages that are light or dark.

mod heat_map;
mod histogram;
mod ink;
mod line_chart;
mod mark;
mod thin;
mod tick;

use std::path::Path;

use lora_core::file::write_atomically;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::TrainError;

pub(crate) use heat_map::{Ends, HeatMap};
pub(crate) use histogram::Histogram;
pub(crate) use ink::{Ink, PALETTE};
pub(crate) use line_chart::{LineChart, Series, XAxis};
pub(crate) use mark::Mark;

/// A part of a picture.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// What drawing gives.
pub(crate) type DrawResult = Result<(), Box<dyn std::error::Error>>;

const FONT: &str = "sans-serif";
/// The size of the words at the axes and in the legend; what is drawn is a fifth smaller.
const LABELS: u32 = 16;

/// A picture on white paper, for a file.
pub(crate) fn standalone(
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> DrawResult,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    root.fill(&Ink::Page.color())?;
    draw(&root)?;
    root.present()?;
    drop(root);
    Ok(svg)
}

/// Writes a chart as a file, with room for its legend, in one step.
pub(crate) fn write(
    chart: &LineChart,
    (width, height): (u32, u32),
    path: &Path,
) -> Result<(), TrainError> {
    let size = (width, height + chart.legend_height(width));
    let svg = standalone(size, |area| chart.draw(area)).map_err(|e| TrainError::Plot {
        path: path.to_path_buf(),
        message: e.to_string(),
    })?;
    Ok(write_atomically(path, svg.as_bytes())?)
}

/// A picture for a page: it takes the page's colours and width, and `label` says what it shows to
/// those who do not see it.
pub(crate) fn inline(
    size: (u32, u32),
    label: &str,
    draw: impl FnOnce(&Area<'_>) -> DrawResult,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    draw(&root)?;
    root.present()?;
    drop(root);
    for ink in Ink::all() {
        svg = svg.replace(&format!("\"{}\"", ink.light()), &ink.reference());
    }
    let (width, height) = size;
    let sized = format!("<svg width=\"{width}\" height=\"{height}\"");
    let named = format!(
        "<svg role=\"img\" aria-label=\"{}\"",
        crate::html::escape(label)
    );
    Ok(svg.replacen(&sized, &named, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_lends_its_colours() {
        let draw = |area: &Area<'_>| -> DrawResult {
            let style = Ink::Strong.color().stroke_width(2);
            area.draw(&PathElement::new(vec![(0, 0), (9, 9)], style))?;
            Ok(())
        };
        let file = standalone((10, 10), draw).unwrap();
        assert!(file.contains(Ink::Strong.light()) && file.contains("width=\"10\""));
        let page = inline((10, 10), "a <line>", draw).unwrap();
        assert!(page.starts_with("<svg role=\"img\" aria-label=\"a &lt;line&gt;\" viewBox"));
        assert!(page.contains("stroke=\"var(--strong)\""), "{page}");
        assert!(!page.contains('#'), "{page}");
    }
}
