//! Lines over steps or epochs.

use std::ops::Range;

use plotters::prelude::*;

use super::thin::thin;
use super::tick::{tick, whole};
use super::{Area, DrawResult, FONT, Ink, LABELS, Mark};

/// Finer than a screen shows.
const MOST_POINTS: usize = 1200;
/// The size of a title.
const TITLE: u32 = 20;
/// The height of a line of the legend.
const LEGEND_LINE: i32 = 22;

/// A line.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// What is not finite is left out.
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) ink: Ink,
    pub(crate) width: u32,
    /// The shape of each point; without it, a point that stands alone is a circle.
    pub(crate) mark: Option<Mark>,
}

/// What the horizontal axis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum XAxis {
    Step,
    Epoch,
    /// A transformer's layers, from 0.
    Layer,
    /// The logarithms of ranks, to base 2.
    Rank,
}

impl XAxis {
    /// What stands below it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Epoch => "epoch",
            Self::Layer => "layer",
            Self::Rank => "rank",
        }
    }
}

/// Lines over the same axis.
#[derive(Debug, Clone)]
pub(crate) struct LineChart {
    /// Written above, if it is not empty.
    pub(crate) title: String,
    pub(crate) x_axis: XAxis,
    /// Written beside the axis, if it is not empty.
    pub(crate) y_label: String,
    /// Whether the axis begins at 0 even if that leaves room below the lines.
    pub(crate) from_zero: bool,
    /// The highest that a value can be.
    pub(crate) highest: Option<f64>,
    pub(crate) series: Vec<Series>,
}

impl LineChart {
    /// Whether there is anything to draw.
    pub(crate) fn is_empty(&self) -> bool {
        self.finite().next().is_none()
    }

    pub(crate) fn draw(&self, area: &Area<'_>) -> DrawResult {
        let (width, _) = area.dim_in_pixel();
        let mut top = 8;
        if !self.title.is_empty() {
            let style = (FONT, TITLE).into_font().color(&Ink::Text.color());
            let left = (width as i32 - estimated_width(&self.title, TITLE)) / 2;
            area.draw_text(&self.title, &style, (left.max(8), top))?;
            top += 30;
        }
        if self.series.len() > 1 {
            top = self.draw_legend(area, top, width as i32)?;
        }
        let (_, below) = area.split_vertically(top);
        let (x, y) = (self.x_range(), self.y_range());
        let label = |size: u32, ink: Ink| (FONT, size).into_font().color(&ink.color());
        let mut chart = ChartBuilder::on(&below)
            .margin_top(8)
            .margin_bottom(4)
            .margin_right(18)
            .margin_left(if self.y_label.is_empty() { 4 } else { 12 })
            .x_label_area_size(48)
            .y_label_area_size(if self.y_label.is_empty() { 60 } else { 78 })
            .build_cartesian_2d(x.clone(), y.clone())?;
        let (x_span, y_span) = (x.end - x.start, y.end - y.start);
        let x_text = |value: &f64| match self.x_axis {
            XAxis::Epoch if x_span < 2.0 => tick(*value, x_span),
            XAxis::Rank => whole(value.exp2()),
            _ => whole(*value),
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_desc(self.x_axis.name())
            .y_desc(self.y_label.as_str())
            .x_labels(if self.x_axis == XAxis::Rank { 10 } else { 6 })
            .y_labels(6)
            .x_label_formatter(&x_text)
            .y_label_formatter(&|value| tick(*value, y_span))
            .label_style(label(LABELS, Ink::Muted))
            .axis_desc_style(label(LABELS, Ink::Muted))
            .axis_style(Ink::Muted.color())
            .bold_line_style(Ink::Grid.color())
            .light_line_style(TRANSPARENT)
            .draw()?;
        for series in &self.series {
            let finite = |point: &(f64, f64)| point.0.is_finite() && point.1.is_finite();
            let points: Vec<_> = series.points.iter().copied().filter(finite).collect();
            let points = thin(&points, MOST_POINTS);
            let color = series.ink.color();
            let alone = (points.len() == 1).then_some(Mark::Circle);
            if let Some(mark) = series.mark.or(alone) {
                let inside = chart.plotting_area().strip_coord_spec();
                let (left, top) = inside.get_base_pixel();
                for point in &points {
                    let (x, y) = chart.backend_coord(point);
                    mark.draw(&inside, (x - left, y - top), color)?;
                }
            }
            chart.draw_series(LineSeries::new(points, color.stroke_width(series.width)))?;
        }
        Ok(())
    }

    /// The height that the legend takes in a picture of that width.
    pub(crate) fn legend_height(&self, width: u32) -> u32 {
        let last = self.legend(width as i32).last().map_or(0, |place| place.1);
        (last + LEGEND_LINE) as u32
    }

    /// Where each line of the legend begins, from the left and from the legend's top.
    fn legend(&self, width: i32) -> Vec<(i32, i32)> {
        let (mut x, mut y) = (16, 0);
        let place = |series: &Series| {
            let needed = 36 + estimated_width(&series.name, LABELS) + 16;
            if x > 16 && x + needed > width {
                (x, y) = (16, y + LEGEND_LINE);
            }
            let found = (x, y);
            x += needed;
            found
        };
        self.series.iter().map(place).collect()
    }

    /// Returns where it ends.
    fn draw_legend(
        &self,
        area: &Area<'_>,
        top: i32,
        width: i32,
    ) -> Result<i32, Box<dyn std::error::Error>> {
        let style = (FONT, LABELS).into_font().color(&Ink::Text.color());
        for (series, (x, y)) in self.series.iter().zip(self.legend(width)) {
            let middle = top + y + 8;
            let color = series.ink.color();
            let line = vec![(x, middle), (x + 28, middle)];
            area.draw(&PathElement::new(line, color.stroke_width(series.width)))?;
            if let Some(mark) = series.mark {
                mark.draw(area, (x + 14, middle), color)?;
            }
            area.draw_text(&series.name, &style, (x + 36, top + y))?;
        }
        Ok(top + self.legend_height(width as u32) as i32)
    }

    fn finite(&self) -> impl Iterator<Item = (f64, f64)> {
        let all = self.series.iter().flat_map(|series| &series.points);
        all.copied().filter(|(x, y)| x.is_finite() && y.is_finite())
    }

    fn x_range(&self) -> Range<f64> {
        let (low, high) = ends(self.finite().map(|point| point.0)).unwrap_or((0.0, 1.0));
        let is_marked = self.series.iter().any(|series| series.mark.is_some());
        match self.x_axis {
            // The first measurement is seldom at once; the mark of the last is not cut.
            XAxis::Epoch => 0.0..high.max(1e-3) * 1.02,
            XAxis::Layer | XAxis::Rank => -0.25..high.max(1.0) + 0.25,
            XAxis::Step if is_marked => 0.0..high.max(1.0) * 1.02,
            XAxis::Step if high - low < 1.0 => low - 0.5..high + 0.5,
            XAxis::Step => low..high,
        }
    }

    fn y_range(&self) -> Range<f64> {
        let (low, high) = ends(self.finite().map(|point| point.1)).unwrap_or((0.0, 1.0));
        let near = low >= 0.0 && (self.from_zero || low < 0.4 * high);
        let bottom = if near { 0.0 } else { low };
        // A flat line still needs some height.
        let room = match high - bottom {
            0.0 => (0.1 * high.abs()).max(1e-9),
            span => 0.06 * span,
        };
        let top = self.highest.map_or(f64::INFINITY, |highest| {
            // The mark of a value up there is not cut.
            highest + 0.02 * (highest - bottom).max(1.0)
        });
        let bottom = if near { 0.0 } else { low - room };
        bottom..(high + room).min(top).max(bottom + 1e-9)
    }
}

/// The lowest and the highest.
fn ends(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |ends, value| match ends {
        None => Some((value, value)),
        Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
    })
}

/// About as wide as most fonts make it.
pub(super) fn estimated_width(text: &str, size: u32) -> i32 {
    text.chars().count() as i32 * size as i32 / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::standalone;
    use crate::testing::assert_well_formed;

    fn chart(points: Vec<(f64, f64)>) -> LineChart {
        let series = Series {
            name: "one".into(),
            points,
            ink: Ink::Strong,
            width: 2,
            mark: None,
        };
        LineChart {
            title: String::new(),
            x_axis: XAxis::Step,
            y_label: String::new(),
            from_zero: false,
            highest: None,
            series: vec![series],
        }
    }

    fn drawn(chart: &LineChart) -> String {
        let svg = standalone((460, 280), |area| chart.draw(area)).unwrap();
        assert_well_formed(&svg);
        svg
    }

    #[test]
    fn a_single_point_is_visible() {
        let svg = drawn(&chart(vec![(1.0, 0.7)]));
        assert_eq!(svg.matches("<circle").count(), 1);
        // Its step is written below.
        assert!(svg.contains(">\n1\n</text>"), "{svg}");
        let svg = drawn(&chart(vec![(1.0, 0.7), (2.0, 0.6)]));
        assert!(!svg.contains("<circle"));
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let points = vec![
            (1.0, f64::NAN),
            (2.0, 0.5),
            (3.0, f64::INFINITY),
            (4.0, 0.6),
        ];
        let chart = chart(points);
        assert!(!chart.is_empty());
        let svg = drawn(&chart);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let nothing = LineChart {
            series: Vec::new(),
            ..chart
        };
        assert!(nothing.is_empty());
        drawn(&nothing);
    }

    #[test]
    fn the_axis_holds_every_value() {
        for points in [
            vec![(1.0, 5.0), (2.0, 5.0)],
            vec![(1.0, -0.5), (2.0, 0.5)],
            vec![(1.0, 0.0), (2.0, 0.0)],
            vec![(1.0, 99.0), (2.0, 100.0)],
        ] {
            let range = chart(points.clone()).y_range();
            for (_, value) in points {
                assert!(range.start <= value && value < range.end, "{range:?}");
            }
        }
        let percent = LineChart {
            highest: Some(100.0),
            ..chart(vec![(1.0, 50.0), (2.0, 100.0)])
        };
        assert!(percent.y_range().end <= 102.0);
    }

    #[test]
    fn a_long_legend_takes_more_lines() {
        let mut chart = chart(vec![(1.0, 1.0)]);
        let one = chart.series[0].clone();
        chart.series = (0..9)
            .map(|index| Series {
                name: format!("a run with a long name, number {index}"),
                mark: Some(Mark::of(index)),
                ..one.clone()
            })
            .collect();
        let places = chart.legend(460);
        assert!(places.iter().all(|(x, _)| *x < 400));
        let rows: std::collections::BTreeSet<i32> = places.iter().map(|place| place.1).collect();
        assert!(rows.len() > 4);
        drawn(&chart);
    }
}
