//! How many there are of each size.

use plotters::prelude::*;

use super::tick::{tick, whole};
use super::{Area, DrawResult, FONT, Ink, LABELS};

/// Counts of neighbouring ranges.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    /// The first and the last value of each range, and how many there are.
    pub(crate) buckets: Vec<(usize, usize, usize)>,
    /// What the values are.
    pub(crate) x_label: &'static str,
}

impl Histogram {
    pub(crate) fn draw(&self, area: &Area<'_>) -> DrawResult {
        let most = self.buckets.iter().map(|bucket| bucket.2).max();
        let top = most.unwrap_or_default().max(1) as f64 * 1.06;
        let end = self.buckets.last().map_or(1, |bucket| bucket.1) as f64 + 1.0;
        let label = |size: u32| (FONT, size).into_font().color(&Ink::Muted.color());
        let mut chart = ChartBuilder::on(area)
            .margin_top(12)
            .margin_bottom(4)
            .margin_right(18)
            .margin_left(4)
            .x_label_area_size(48)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..end, 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_desc(self.x_label)
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&|value| whole(*value))
            .y_label_formatter(&|value| match value.fract() == 0.0 {
                true => tick(*value, top),
                false => String::new(),
            })
            .label_style(label(LABELS))
            .axis_desc_style(label(LABELS))
            .axis_style(Ink::Muted.color())
            .bold_line_style(Ink::Grid.color())
            .light_line_style(TRANSPARENT)
            .draw()?;
        let bar = |&(from, to, count): &(usize, usize, usize)| {
            // A gap between neighbours.
            let gap = (to + 1 - from) as f64 * 0.08;
            let corners = [
                (from as f64 - 0.5 + gap, 0.0),
                (to as f64 + 0.5 - gap, count as f64),
            ];
            Rectangle::new(corners, Ink::Strong.color().filled())
        };
        let full = self.buckets.iter().filter(|bucket| bucket.2 > 0);
        chart.draw_series(full.map(bar))?;
        Ok(())
    }
}
