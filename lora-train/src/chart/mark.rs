//! The shapes of points.

use plotters::prelude::*;

use super::{Area, DrawResult};

/// The shape of a line's points: what tells lines apart without colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Circle,
    Triangle,
    Square,
    Diamond,
}

impl Mark {
    /// Another one for each of four neighbours.
    pub(crate) fn of(index: usize) -> Self {
        [Self::Circle, Self::Triangle, Self::Square, Self::Diamond][index % 4]
    }

    /// Draws it around a place, in the pixels of the area.
    pub(super) fn draw(self, area: &Area<'_>, (x, y): (i32, i32), color: RGBColor) -> DrawResult {
        let style = color.filled();
        let corners: &[(i32, i32)] = match self {
            Self::Circle => return Ok(area.draw(&Circle::new((x, y), 4, style))?),
            Self::Triangle => &[(0, -5), (5, 4), (-5, 4)],
            Self::Square => &[(-4, -4), (4, -4), (4, 4), (-4, 4)],
            Self::Diamond => &[(0, -6), (6, 0), (0, 6), (-6, 0)],
        };
        let corners = corners.iter().map(|corner| (x + corner.0, y + corner.1));
        Ok(area.draw(&Polygon::new(corners.collect::<Vec<_>>(), style))?)
    }
}
