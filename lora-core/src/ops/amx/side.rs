//! The two sides of a product.

use std::ops::Range;

use super::instructions::{SIZE, available, piece};
use super::split::{LINES, Line, Runs, VALUES, Values, lines, pairs, transpose};
use crate::ops::panels::Panels;

/// The rows of a product's left side, or the columns of its right side.
pub(crate) trait Side: Sync {
    /// How many there are.
    fn lines(&self) -> usize;

    /// How many values each of them has.
    fn depth(&self) -> usize;

    /// Writes [`SIZE`] lines from `line` on, and as much of their depth, from `depth` on, as `to` has
    /// room for, in `PARTS` 16-bit parts; two values of each line in turns if they are `in_pairs`. What
    /// is beyond the last line and the last value is 0.
    ///
    /// # Panics
    ///
    /// Panics on a processor without the instructions.
    fn split<const PARTS: usize>(&self, line: usize, depth: usize, in_pairs: bool, to: &mut [Line]);
}

/// Values in memory.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    values: &'a [f32],
    lines: usize,
    depth: usize,
    /// Whether the values of a line lie side by side, and not those of a place in all lines.
    line_by_line: bool,
}

impl<'a> Strided<'a> {
    /// `lines` lines of `depth` values, one line after the other, or one place of all lines after the
    /// other.
    ///
    /// # Panics
    ///
    /// Panics if there are more or fewer values.
    pub(crate) fn new(values: &'a [f32], [lines, depth]: [usize; 2], line_by_line: bool) -> Self {
        assert_eq!(values.len(), lines * depth, "the size of a matrix");
        Self {
            values,
            lines,
            depth,
            line_by_line,
        }
    }

    /// Writes one tile.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn tile<const PARTS: usize>(&self, line: usize, depth: usize, in_pairs: bool, to: &mut [Line]) {
        let used = [
            LINES.min(self.lines.saturating_sub(line)),
            VALUES.min(self.depth - depth),
        ];
        // A run is what lies side by side: part of a line, or one place of some lines.
        let (first, apart, [runs, run], size) = match self.line_by_line {
            true => (line * self.depth + depth, self.depth, used, VALUES),
            false => (
                depth * self.lines + line,
                self.lines,
                [used[1], used[0]],
                LINES,
            ),
        };
        let mut from = Runs {
            values: self.values.get(first..).unwrap_or_default(),
            run: apart,
        };
        let mut edge = Values([0.0; LINES * VALUES]);
        if used != [LINES, VALUES] {
            // There may be none, behind the last line.
            let runs = if run == 0 { 0 } else { runs };
            for (index, to) in edge.0.chunks_exact_mut(size).take(runs).enumerate() {
                to[..run].copy_from_slice(&from.values[index * from.run..][..run]);
            }
            from = Runs {
                values: &edge.0,
                run: size,
            };
        }
        let mut turned = Values([0.0; LINES * VALUES]);
        match (self.line_by_line, in_pairs) {
            (true, false) => lines::<PARTS>(from, to, 2 * LINES),
            (false, true) => pairs::<PARTS>(from, to, 2 * LINES),
            (true, true) => {
                transpose(from, 0, &mut turned.0, LINES);
                transpose(from, 16, &mut turned.0[16 * LINES..], LINES);
                let from = Runs {
                    values: &turned.0,
                    run: LINES,
                };
                pairs::<PARTS>(from, to, 2 * LINES);
            }
            (false, false) => {
                transpose(from, 0, &mut turned.0, VALUES);
                let second = Runs {
                    values: &from.values[16 * from.run..],
                    ..from
                };
                transpose(second, 0, &mut turned.0[16..], VALUES);
                let from = Runs {
                    values: &turned.0,
                    run: VALUES,
                };
                lines::<PARTS>(from, to, 2 * LINES);
            }
        }
    }
}

impl Side for Strided<'_> {
    fn lines(&self) -> usize {
        self.lines
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn split<const PARTS: usize>(
        &self,
        line: usize,
        depth: usize,
        in_pairs: bool,
        to: &mut [Line],
    ) {
        assert!(available(), "this processor has no tiles");
        for (index, to) in to.chunks_exact_mut(piece(PARTS)).enumerate() {
            for tile in 0..2 {
                let to = &mut to[tile * LINES..];
                // SAFETY: the processor has the instructions.
                unsafe {
                    self.tile::<PARTS>(line + tile * LINES, depth + index * SIZE, in_pairs, to)
                };
            }
        }
    }
}

/// The columns of a matrix that is stored in another form.
pub(crate) struct Decoded<'a, P>(pub(crate) &'a P);

/// How many values of a line are decoded at a time.
const DEPTH: usize = 128;

impl<P: Panels> Side for Decoded<'_, P> {
    fn lines(&self) -> usize {
        self.0.dims()[1]
    }

    fn depth(&self) -> usize {
        self.0.dims()[0]
    }

    fn split<const PARTS: usize>(
        &self,
        line: usize,
        depth: usize,
        in_pairs: bool,
        to: &mut [Line],
    ) {
        let [all, lines] = self.0.dims();
        let mut values = [0.0; DEPTH * SIZE];
        let width = SIZE.min(lines - line);
        for (part, to) in to.chunks_mut(DEPTH / SIZE * piece(PARTS)).enumerate() {
            let start = depth + part * DEPTH;
            let rows: Range<usize> = start..all.min(start + DEPTH);
            let values = &mut values[..rows.len() * width];
            self.0.fill(rows.clone(), line, width, values);
            Strided::new(values, [width, rows.len()], false).split::<PARTS>(0, 0, in_pairs, to);
        }
    }
}
